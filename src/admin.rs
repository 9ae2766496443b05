//! The SRE's door: `/metrics` for Prometheus, `/livez` and `/readyz` for Kubernetes and for people.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::health::Health;
use crate::metrics;
use crate::runbook::Entry;
use crate::shutdown::Ending;

/// Seconds: from a tenth of a hop to the longest replay.
const BUCKETS_SECONDS: &[f64] =
    &[0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0];

/// Why the door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AdminFault {
    /// The address is taken or not ours.
    #[error("cannot listen on {0} for /metrics and /readyz: {1}; set admin.listen to a free address")]
    Listen(SocketAddr, std::io::Error),
    /// Metrics were begun twice in one process, or the recorder refuses its buckets.
    #[error("cannot begin metrics: {0}")]
    Metrics(String),
}

impl AdminFault {
    /// What to do about it.
    pub const fn entry(&self) -> Entry {
        match self {
            Self::Listen(..) => Entry::AdminPort,
            Self::Metrics(_) => Entry::SystemResources,
        }
    }
}

#[derive(Clone)]
struct Door {
    metrics: PrometheusHandle,
    health: Health,
}

/// Begins to collect metrics.
///
/// # Errors
/// An [`AdminFault`] where this process collects already.
pub fn collect() -> Result<PrometheusHandle, AdminFault> {
    let fault = |fault: &dyn std::fmt::Display| AdminFault::Metrics(fault.to_string());
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS_SECONDS)
        .map_err(|error| fault(&error))?;
    let handle = builder.install_recorder().map_err(|error| fault(&error))?;
    metrics::describe();
    Ok(handle)
}

/// Opens the door; it is served by a thread of its own until the end.
///
/// # Errors
/// An [`AdminFault`] where the address cannot be had.
pub fn open(
    listen: SocketAddr,
    metrics: PrometheusHandle,
    health: Health,
    mut ending: Ending,
) -> Result<(SocketAddr, JoinHandle<()>), AdminFault> {
    let refused = |fault| AdminFault::Listen(listen, fault);
    let listener = std::net::TcpListener::bind(listen).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
    let router = Router::new()
        .route("/metrics", get(render))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .with_state(Door { metrics, health });
    let serve = async move {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(fault) => return tracing::error!(%fault, "cannot serve /metrics"),
        };
        tokio::select! {
            served = axum::serve(listener, router) => if let Err(fault) = served { tracing::error!(%fault, "/metrics has ended") },
            () = ending.wait() => {}
        }
    };
    let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || runtime.block_on(serve)).map_err(refused)?;
    Ok((address, thread))
}

async fn render(State(door): State<Door>) -> String {
    metrics::ready(door.health.report().0);
    door.metrics.run_upkeep();
    door.metrics.render()
}

async fn ready(State(door): State<Door>) -> (StatusCode, String) {
    let (ready, lines) = door.health.report();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, lines.join("\n") + "\n")
}
