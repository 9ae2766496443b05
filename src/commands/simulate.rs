//! `lonewatch simulate`: a fleet of devices over real MQTT, each on a connection of its own, in real time.
//!
//! Devices know nothing of lonewatch but docs/DEVICES.md: they publish, and listen for receipts. What the fleet does is decided
//! in [`crate::simulator`]; this file moves bytes and reads the clock.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use rumqttc::NetworkOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::terminal;
use crate::clock::wall_millis;
use crate::device::mqtt_topic::receipt_topic;
use crate::ids::DeviceId;
use crate::limits;
use crate::simulator::{Deed, Fleet, Limits, Plan, rules};
use crate::time::{SECOND_MILLIS, clock_text};

/// The grain of the fleet's time: what is due waits no longer than this.
const TICK_MILLIS: u64 = 10;
/// Messages that wait for a device's connection; past it they are lost and counted, as on a device whose memory is full.
const WAITING_MAX: usize = 256;
/// Receipts on their way to the fleet.
const RECEIPTS_MAX: usize = 1_024;
/// At the end connections get this long to send what they still hold.
const FLUSH_MILLIS: u64 = 200;

/// Simulates devices over MQTT: they walk, press, leave their fences, fall silent, report late.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: lonewatch simulate --broker mqtt://127.0.0.1:1883 --devices 50 --seconds 30")]
pub struct Opts {
    /// The MQTT broker
    #[arg(long, default_value = "mqtt://127.0.0.1:1883")]
    broker: MqttAddress,
    /// How many devices
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=8_000))]
    devices: u16,
    /// Stop after this time; from 30 on everything happens at least once. Without it, until Ctrl-C
    #[arg(long)]
    seconds: Option<u32>,
    /// Decides all chance
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The rulebook's silence limit, in seconds: some devices stay silent for longer, none of the others for half as long
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(5..=86_400))]
    silence_seconds: u32,
    /// The dwell of the rulebook's fences, in seconds
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=3_600))]
    dwell_seconds: u32,
    /// Between two reports of a device, in seconds; at most a fifth of the silence limit is used
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    report_seconds: u32,
    /// Write the rulebook folder that fits these devices, and do nothing else
    #[arg(long, value_name = "DIR")]
    rules: Option<PathBuf>,
    /// What to print: deeds as they happen, or one JSON object at the end
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// What to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// One line for each deed.
    Text,
    /// One object at the end.
    Json,
}

/// Why a simulation cannot run.
#[derive(Debug, thiserror::Error)]
pub enum SimulateFault {
    /// The folder for the rulebook holds something.
    #[error("{0}: the folder is not empty; name a new one")]
    FolderInUse(PathBuf),
    /// A file cannot be written.
    #[error("{0}: {1}")]
    Write(PathBuf, std::io::Error),
    /// No runtime.
    #[error("cannot start: {0}")]
    Start(std::io::Error),
}

/// Where a MQTT broker listens: `mqtt://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttAddress {
    /// Name or number of the host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl FromStr for MqttAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("mqtt://").ok_or("write mqtt://host:port")?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => {
                (host, port.parse().map_err(|_| format!("{port:?} is not a port; write a number up to 65535"))?)
            }
            None => (rest, 1883),
        };
        if host.is_empty() || host.contains(['/', '@']) {
            return Err(format!("{host:?} is not a host; write mqtt://host:port"));
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

/// What the simulation prints at its end.
#[derive(Debug, Serialize)]
struct Summary {
    devices: usize,
    messages_sent: u64,
    messages_lost: u64,
    longest_stall_millis: i64,
    presses_receipted: usize,
    deeds: BTreeMap<&'static str, u64>,
}

/// Runs the command.
///
/// # Errors
/// A [`SimulateFault`]; an unreachable broker is none: devices keep trying.
pub fn run(opts: &Opts) -> Result<(), SimulateFault> {
    let plan = plan(opts);
    if let Some(folder) = &opts.rules {
        return write_rules(folder, &plan);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(SimulateFault::Start)?;
    let fleet = runtime.block_on(simulate(opts, plan));
    let summary = summary(&fleet);
    match opts.output {
        Output::Json => {
            let line = serde_json::to_string(&summary).expect("numbers and words only");
            terminal::say(&line);
        }
        Output::Text => {
            let Summary { devices, messages_sent, presses_receipted, .. } = summary;
            terminal::say(&format!(
                "{devices} devices sent {messages_sent} messages; {presses_receipted} presses have their receipt"
            ));
        }
    }
    Ok(())
}

fn plan(opts: &Opts) -> Plan {
    let millis = |seconds: u32| i64::from(seconds) * SECOND_MILLIS;
    let silence_millis = millis(opts.silence_seconds);
    let limits = Limits {
        silence_millis,
        dwell_millis: millis(opts.dwell_seconds),
        report_every_millis: millis(opts.report_seconds).min(silence_millis / 5),
    };
    Plan { devices: usize::from(opts.devices), seed: opts.seed, seconds: opts.seconds, limits }
}

async fn simulate(opts: &Opts, plan: Plan) -> Fleet {
    let text = opts.output == Output::Text;
    if text {
        let MqttAddress { host, port } = &opts.broker;
        terminal::say(&format!("{} devices report to mqtt://{host}:{port}; Ctrl-C ends it", plan.devices));
    }
    let fleet = Fleet::new(plan, wall_millis());
    let mut told = 0;
    let watch = |fleet: &Fleet| {
        if text {
            fleet.deeds()[told..].iter().for_each(tell);
            told = fleet.deeds().len();
        }
    };
    drive(fleet, &opts.broker, interrupted(), watch).await
}

fn tell(deed: &Deed) {
    terminal::say(&format!("{} {} {}", clock_text(deed.began_at), deed.device, deed.act.as_str()));
}

/// Ends at Ctrl-C; never where signals cannot be watched.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn summary(fleet: &Fleet) -> Summary {
    let mut deeds = BTreeMap::new();
    for deed in fleet.deeds() {
        *deeds.entry(deed.act.as_str()).or_default() += 1;
    }
    Summary {
        devices: fleet.plan().devices,
        messages_sent: fleet.messages_sent(),
        messages_lost: fleet.messages_lost(),
        longest_stall_millis: fleet.longest_stall_millis(),
        presses_receipted: fleet.presses_receipted(),
        deeds,
    }
}

fn write_rules(folder: &Path, plan: &Plan) -> Result<(), SimulateFault> {
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(SimulateFault::FolderInUse(folder.to_owned()));
    }
    for (path, text) in rules::folder(plan) {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(|fault| SimulateFault::Write(parent.to_owned(), fault))?;
        fs::write(&path, text).map_err(|fault| SimulateFault::Write(path.clone(), fault))?;
    }
    let shown = folder.display();
    terminal::say(&format!(
        "{shown} has the rulebook of {} devices; put it in force on a system of its own, because it replaces all rules there: lonewatch rules \
         apply {shown}",
        plan.devices
    ));
    Ok(())
}

/// Drives the fleet in real time until its run ends or `until` does, and returns it with its record. `watch` sees it after every step.
pub async fn drive(
    mut fleet: Fleet,
    broker: &MqttAddress,
    until: impl Future<Output = ()>,
    mut watch: impl FnMut(&Fleet),
) -> Fleet {
    let (receipts_in, mut receipts) = mpsc::channel(RECEIPTS_MAX);
    let mut connections = JoinSet::new();
    let mut clients = BTreeMap::new();
    for device in fleet.devices() {
        let (client, events) = AsyncClient::new(options(device, broker), WAITING_MAX);
        connections.spawn(connection(device.clone(), client.clone(), events, receipts_in.clone()));
        clients.insert(device.clone(), client);
    }
    let mut tick = tokio::time::interval(Duration::from_millis(TICK_MILLIS));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    tokio::pin!(until);
    loop {
        tokio::select! {
            () = &mut until => break,
            Some((device, payload)) = receipts.recv() => fleet.receipt(&device, &payload),
            _ = tick.tick() => {
                let now = wall_millis();
                step(&mut fleet, &clients, now);
                watch(&fleet);
                if fleet.ends_at().is_some_and(|at| at <= now) {
                    break;
                }
            }
        }
    }
    for client in clients.values() {
        let _ = client.try_disconnect();
    }
    let flushed = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(Duration::from_millis(FLUSH_MILLIS), flushed).await;
    fleet
}

/// Hands what devices send by now to their connections. One that holds too much already loses it, and the fleet is told.
fn step(fleet: &mut Fleet, clients: &BTreeMap<DeviceId, AsyncClient>, now: i64) {
    for send in fleet.advance(now) {
        let qos = if send.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let client = clients.get(&send.device);
        if client.is_none_or(|client| client.try_publish(send.mqtt_topic, qos, false, send.payload).is_err()) {
            fleet.lost_one();
        }
    }
}

fn options(device: &DeviceId, broker: &MqttAddress) -> MqttOptions {
    let mut options = MqttOptions::new(device.as_str(), &broker.host, broker.port);
    options.set_keep_alive(Duration::from_secs(30)).set_clean_start(true);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    options
}

/// One device's connection: it comes back after every error, and hears receipts.
async fn connection(device: DeviceId, client: AsyncClient, mut events: EventLoop, receipts: mpsc::Sender<(DeviceId, Vec<u8>)>) {
    let mut wait_millis = limits::RECONNECT_MILLIS_MIN;
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                wait_millis = limits::RECONNECT_MILLIS_MIN;
                // Room is there unless reports wait; without the subscription the device repeats its press, which harms nobody.
                let _ = client.try_subscribe(receipt_topic(device.as_str()), QoS::AtLeastOnce);
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                // A full channel loses the receipt: the device repeats and gets the next.
                let _ = receipts.try_send((device.clone(), publish.payload.to_vec()));
            }
            Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) => return,
            Ok(Event::Incoming(_) | Event::Outgoing(_)) => {}
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(wait_millis)).await;
                wait_millis = (wait_millis * 2).min(limits::RECONNECT_MILLIS_MAX);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broker_addresses_are_read() {
        let read = |text: &str| text.parse::<MqttAddress>().map(|address| (address.host, address.port));
        assert_eq!(read("mqtt://broker.example:1884"), Ok(("broker.example".to_owned(), 1884)));
        assert_eq!(read("mqtt://127.0.0.1/"), Ok(("127.0.0.1".to_owned(), 1883)));
        for wrong in ["127.0.0.1:1883", "mqtts://a:1", "mqtt://:1883", "mqtt://a:b", "mqtt://user@host"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
