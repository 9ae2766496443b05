//! Background load, in a process of its own so that its CPU shows apart: open loop, every message has its intended time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::clock;
use crate::payload;
use crate::rig::{Guarded, Mosquitto};
use crate::say;
use crate::wire::Connection;

/// How long the broker may take for the last acknowledgements.
const FINISH: Duration = Duration::from_mins(2);

/// The load that a workload asks for.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Load {
    /// Connections; the devices share them evenly.
    #[arg(long)]
    pub(crate) connections: u64,
    /// Devices.
    #[arg(long)]
    pub(crate) devices: u64,
    /// Messages a second in all; 0 is as fast as the broker takes them.
    #[arg(long)]
    pub(crate) rate: u64,
    /// Messages in all.
    #[arg(long)]
    pub(crate) messages: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Offered(pub(crate) Value);

impl Offered {
    fn number(&self, field: &str) -> f64 {
        self.0[field].as_f64().unwrap_or_default()
    }

    /// Messages a second that it managed to send.
    pub(crate) fn rate(&self) -> f64 {
        self.number("messages") / self.number("seconds")
    }

    pub(crate) fn messages(&self) -> u64 {
        self.0["messages"].as_u64().unwrap_or_default()
    }
}

/// A running load.
pub(crate) struct Running(Guarded);

impl Load {
    /// Starts it, and returns when all its devices are connected and it sends.
    pub(crate) fn start(&self, mosquitto: &Mosquitto, nice: u8) -> Running {
        let itself = std::env::current_exe().expect("a running program has a file");
        let mut running = Guarded::start("load", std::path::Path::new("/usr/bin/nice"), |command| {
            command.args(["-n", &nice.to_string()]).arg(itself).args(["load", "--port", &mosquitto.port().to_string()]);
            command.args(["--connections", &self.connections.to_string(), "--devices", &self.devices.to_string()]);
            command.args(["--rate", &self.rate.to_string(), "--messages", &self.messages.to_string()]);
        });
        running.wait_said(FINISH, "connected");
        Running(running)
    }

    /// The role's own work.
    pub(crate) fn send(&self, port: u16) -> std::io::Result<()> {
        let open = |number| Connection::open(port, &format!("load-{number}"));
        let mut connections = (0..self.connections).map(open).collect::<std::io::Result<Vec<_>>>()?;
        let topics: Vec<String> = (0..self.devices).map(|device| format!("lw/v1/{}/report", device_name(device))).collect();
        say("connected");
        let began = clock::now();
        let mut late = Vec::new();
        for (number, topic) in (0..self.messages).zip(topics.iter().cycle()) {
            if self.rate > 0 {
                let intended = began + due(number, self.rate);
                clock::wait_till(intended);
                late.push(clock::now().saturating_duration_since(intended));
            }
            let at = usize::try_from(number % self.connections).expect("connections fit in memory");
            connections[at].publish(topic, &payload::report(number, false))?;
        }
        let seconds = elapsed(began);
        for connection in &mut connections {
            connection.finish(FINISH)?;
        }
        let late = crate::figures::Latencies::new(late);
        let sum = |of: fn(&Connection) -> u64| connections.iter().map(of).sum::<u64>();
        say(&json!({
            "messages": self.messages,
            "seconds": seconds,
            "unheard": sum(|connection| connection.unheard),
            "stalls": sum(|connection| connection.stalls),
            "late_p50_ms": late.per_mille(500),
            "late_p99_ms": late.per_mille(990),
        })
        .to_string());
        Ok(())
    }
}

fn elapsed(began: Instant) -> f64 {
    clock::now().saturating_duration_since(began).as_secs_f64()
}

/// When the message of that number is due after the beginning, at so many a second.
pub(crate) fn due(number: u64, rate: u64) -> Duration {
    Duration::from_nanos(number.saturating_mul(1_000_000_000) / rate)
}

pub(crate) fn device_name(number: u64) -> String {
    format!("d-{number}")
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Waits for the end of it, and gives what came of it.
    pub(crate) fn finish(mut self, within: Duration) -> Offered {
        let status = self.0.wait_ended(within + FINISH);
        assert!(status.success(), "the load ended with {status}; {}", self.0.tail());
        let said = String::from_utf8_lossy(&self.0.stdout()).into_owned();
        let line = said.lines().last().unwrap_or_default();
        let offered: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("the load said {line:?}"));
        assert_eq!(offered["unheard"], 0, "nobody subscribed to what the load sent");
        Offered(offered)
    }
}
