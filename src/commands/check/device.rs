//! `lonewatch check device`: one device, watched live over a connection of its own. Reads only.

use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::SubscribeReasonCode;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::client::{Came, Client, Login, refused};
use super::nonce;
use super::report::Report;
use crate::clock;
use crate::commands::run::cluster;
use crate::commands::{ConfigOpts, Failure, Output, rules, terminal};
use crate::config::{FeedSettings, IngestSettings, Settings};
use crate::diagnosis::{DeviceWatch, Finding, Known, Part, Seen, Target};
use crate::ids::{DeviceId, FeedName};
use crate::kafka::TopicNames;
use crate::rulebook::Rulebook;
use crate::time::clock_text;

/// How long Kafka may take to tell the rulebook; without it limits are not known, and the device is watched all the same.
const RULEBOOK_WITHIN: Duration = Duration::from_secs(5);
/// Messages read and not yet shown.
const WAITING_MAX: usize = 256;

/// Options of `check device`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  lonewatch check device joe.phone --seconds 120\n\nPress the device's button while this watches: \
                        the repeats and the receipt that ends them are what most devices get wrong."
)]
pub(super) struct Opts {
    /// The device's id, as in the rulebook; of OwnTracks `user.device`.
    #[arg(value_name = "ID", value_parser = id)]
    device: String,
    #[command(flatten)]
    config: ConfigOpts,
    /// The feed that it speaks on; needed where the configuration has several.
    #[arg(long, value_parser = FeedName::parse)]
    feed: Option<FeedName>,
    /// For how long; without it, until Ctrl-C.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: Option<u32>,
    /// Lines for people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Anything that can stand in an MQTT topic: that an id is illegal is a finding, and what such a device does can be watched.
fn id(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(['/', '+', '#', '\0']) {
        return Err("a device's id has no '/', '+' or '#'".to_owned());
    }
    Ok(text.to_owned())
}

/// A message, for machines.
#[derive(Serialize)]
struct MessageLine<'a> {
    at: i64,
    mqtt_topic: &'a str,
    qos: u8,
    retained: bool,
    bytes: usize,
    says: &'a str,
}

/// Runs the command.
pub(super) fn run(opts: &Opts) -> Result<(), Failure> {
    let settings = opts.config.load()?;
    let feed = feed(settings.ingest()?, opts.feed.as_ref())?;
    let mut report = Report::new(opts.output);
    report.waits(format!("reading the rulebook at {}", settings.kafka.brokers));
    let known = known(&settings, feed, &opts.device);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let target = Target::new(feed, &opts.device);
    let watch = runtime.block_on(watch(opts, feed, target, &mut report))?;
    if let Some(watch) = watch {
        report.say_all(watch.findings(clock::wall_millis(), known.as_ref()));
    }
    report.conclude()
}

fn feed<'a>(ingest: &'a IngestSettings, wanted: Option<&FeedName>) -> Result<&'a FeedSettings, Failure> {
    let names = || ingest.feeds.iter().map(|feed| feed.name.to_string()).collect::<Vec<_>>().join(", ");
    match wanted {
        Some(wanted) => ingest
            .feeds
            .iter()
            .find(|feed| feed.name == *wanted)
            .ok_or_else(|| Failure::new(format!("the configuration has no feed {wanted}; it has {}", names()))),
        None if ingest.feeds.len() == 1 => Ok(&ingest.feeds[0]),
        None => Err(Failure::new(format!("name the feed with --feed, one of {}", names()))),
    }
}

/// What the rulebook says of the device; none where it cannot be read.
fn known(settings: &Settings, feed: &FeedSettings, device: &str) -> Option<Known> {
    let cluster = cluster(settings).ok()?;
    let (_, rulebook) = rules::in_force(&cluster, &TopicNames::new(&settings.kafka.prefix), RULEBOOK_WITHIN).ok()?;
    Some(of_rulebook(&rulebook, feed, device))
}

fn of_rulebook(rulebook: &Rulebook, feed: &FeedSettings, device: &str) -> Known {
    let Some(entry) = DeviceId::parse(device).ok().and_then(|id| rulebook.device(&id)) else { return Known::default() };
    let carried = rulebook.carries_tenant(&feed.name, &entry.tenant);
    Known {
        tenant: Some(entry.tenant.clone()),
        feed_carries_tenant: carried,
        silence_millis: entry.rules.lost_contact.map(|rule| rule.silence_millis),
    }
}

/// Watches until the time is over; none where it never came to that.
async fn watch(opts: &Opts, feed: &FeedSettings, target: Target, report: &mut Report) -> Result<Option<DeviceWatch>, Failure> {
    let subject = format!("feed {}", feed.name);
    report.waits(format!("{subject}: connecting to {}:{}", feed.host, feed.port));
    let login = Login::new(feed, nonce()?)
        .map_err(|fault| Failure::new(format!("cannot read the MQTT password of {subject}: {fault}")))?;
    let client = match Client::connect(feed, &login, 0).await {
        Ok(client) => client,
        Err(fault) => {
            let (says, mend) = refused(&fault, feed);
            report.say(&Finding::wrong(Part::Mqtt, subject, says, mend));
            return Ok(None);
        }
    };
    let subscriptions = target.subscriptions();
    client.subscribe(&subscriptions, QoS::AtLeastOnce).map_err(Failure::new)?;
    if opts.output == Output::Text {
        let until = opts.seconds.map_or_else(|| "until Ctrl-C".to_owned(), |seconds| format!("for {seconds} s"));
        report.line(&format!("watching {} on {}, {until}", opts.device, subscriptions.join(", ")));
    }
    report.waits("listening");
    let mut watch = DeviceWatch::new(target, clock::wall_millis());
    let (sender, mut came) = mpsc::channel(WAITING_MAX);
    // The client is polled by a task of its own: a turn of the loop below never cuts one of its turns short.
    let reading = tokio::spawn(read(client, sender));
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let end =
        Instant::now() + opts.seconds.map_or(Duration::from_hours(24 * 365), |seconds| Duration::from_secs(u64::from(seconds)));
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(end) => break,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            next = came.recv() => match next {
                Some(Ok(came)) => take(came, &subscriptions, &mut watch, report),
                Some(Err(fault)) => {
                    report.say(&Finding::wrong(Part::Mqtt, subject, fault, "see the broker's log; then watch again"));
                    break;
                }
                None => break,
            },
        }
    }
    reading.abort();
    Ok(Some(watch))
}

async fn read(mut client: Client, sender: mpsc::Sender<Result<Came, String>>) {
    loop {
        let came = client.next().await;
        let over = came.is_err();
        if sender.send(came).await.is_err() || over {
            return;
        }
    }
}

fn take(came: Came, subscriptions: &[String], watch: &mut DeviceWatch, report: &mut Report) {
    match came {
        Came::Granted(codes) => {
            for (filter, code) in subscriptions.iter().zip(codes) {
                if !matches!(code, SubscribeReasonCode::Success(_)) {
                    let says = format!("the broker does not grant it ({code:?}): what comes there is not seen");
                    let mend = format!("allow this user to read {filter} in the broker's access list");
                    report.say(&Finding::wrong(Part::Mqtt, filter.clone(), says, mend));
                }
            }
        }
        Came::Message(message) => {
            let mqtt_topic = String::from_utf8_lossy(&message.topic);
            let seen = Seen {
                at_millis: clock::wall_millis(),
                mqtt_topic: &mqtt_topic,
                qos: message.qos as u8,
                retained: message.retain,
                payload: &message.payload,
            };
            if let Some(says) = watch.saw(&seen) {
                report.line(&line(&seen, &says, report.output()));
            }
        }
        // Nothing of ours goes out.
        Came::Sent(_) | Came::Answered(..) => {}
    }
}

fn line(seen: &Seen<'_>, says: &str, output: Output) -> String {
    let (qos, retained, bytes) = (seen.qos, seen.retained, seen.payload.len());
    if output == Output::Json {
        let line = MessageLine { at: seen.at_millis, mqtt_topic: seen.mqtt_topic, qos, retained, bytes, says };
        return serde_json::to_string(&line).expect("words and numbers only: nothing in it that JSON cannot hold");
    }
    let time = terminal::dim(&clock_text(seen.at_millis));
    let flags = format!("QoS {qos}{}", if retained { ", RETAINED" } else { "" });
    format!("{time}  {}  {flags}  {bytes} bytes  {says}", seen.mqtt_topic)
}
