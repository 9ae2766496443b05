//! `lonewatch alerts`: what a centre reads. `follow` shows alerts as they come, and says when nobody could have seen one.

use std::time::Duration;

use super::run::answering;
use super::{ConfigOpts, Failure, Output, terminal};
use crate::alert::{Alert, CentreMessage, schema_json};
use crate::clock;
use crate::ids::CentreName;
use crate::kafka::{FaultKind, StartAt, TailItem, TopicNames, TopicTail};
use crate::limits;
use crate::runbook::Entry;
use crate::time::clock_text;
use crate::watch::{Sighted, Watch};

/// How long Kafka may take to answer at the start.
const WITHIN: Duration = Duration::from_secs(20);

/// Options of `alerts`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  lonewatch alerts follow --centre north --from-beginning")]
pub(super) struct Opts {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Shows a centre's alerts as they come, one line each, and when a partition or a feed is not watched.
    Follow {
        /// The centre.
        #[arg(long, value_parser = CentreName::parse)]
        centre: CentreName,
        /// Begin with the oldest alert that Kafka still holds.
        #[arg(long)]
        from_beginning: bool,
        /// Lines for people, or the messages as they are.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        config: ConfigOpts,
    },
    /// Prints the JSON Schema of what stands on a centre's alerts topic.
    Schema,
}

/// Runs the command.
pub(super) fn run(opts: &Opts) -> Result<(), Failure> {
    match &opts.what {
        What::Schema => {
            terminal::say(schema_json().trim_end());
            Ok(())
        }
        What::Follow { centre, from_beginning, output, config } => {
            let settings = config.load()?;
            let topic = TopicNames::new(&settings.kafka.prefix).alerts(centre);
            let start = if *from_beginning { StartAt::Beginning } else { StartAt::End };
            let (cluster, reached) = answering(&settings)?;
            if reached.topics.get(&*topic).is_none_or(Vec::is_empty) {
                let mend =
                    format!("write [centres.{centre}] into the rulebook's installation.toml and `lonewatch rules apply DIR`");
                let line = format!("there is no Kafka topic {topic}: the rulebook in force has no centre {centre}. Mend: {mend}");
                return Err(Failure::new(line));
            }
            let tail = TopicTail::open(&cluster, &topic, start, WITHIN)?;
            follow(tail, *output)
        }
    }
}

fn follow(mut tail: TopicTail, output: Output) -> Result<(), Failure> {
    let mut watch = Watch::new(clock::wall_millis());
    // The last that was said: Kafka's client repeats itself.
    let mut lasting = String::new();
    loop {
        match tail.poll(Duration::from_millis(250)) {
            TailItem::Record { payload: Some(payload), .. } => message(&payload, &mut watch, output),
            TailItem::Record { payload: None, .. } | TailItem::End { .. } | TailItem::Idle => {}
            TailItem::Anew => {
                let what = "the Kafka topic was made anew, has other partitions now, or its oldest records are gone: what was not shown \
                            yet is shown from the beginning";
                terminal::complain(&format!("{} {what}", terminal::noted("?")));
            }
            TailItem::Fault(fault) => match fault.kind {
                FaultKind::Fatal => return Err(fault.into()),
                FaultKind::Lasting if fault.text != lasting => {
                    terminal::complain(&format!("{} {fault}; still trying", terminal::bad("cannot read:")));
                    lasting = fault.text;
                }
                FaultKind::Lasting | FaultKind::Passing => tracing::debug!(%fault, "following alerts"),
            },
        }
        if output == Output::Text {
            let now_millis = clock::wall_millis();
            watch.unread(tail.behind(), now_millis);
            for sighted in watch.judge(now_millis) {
                terminal::say(&sighted_line(&sighted));
            }
        }
    }
}

fn message(payload: &[u8], watch: &mut Watch, output: Output) {
    if output == Output::Json {
        return terminal::say(&format!("{}", String::from_utf8_lossy(payload)));
    }
    match serde_json::from_slice(payload) {
        Ok(CentreMessage::Alert(alert)) => show(&alert, watch),
        Ok(CentreMessage::Heartbeat(beat)) => watch.beat(&beat, clock::wall_millis()),
        Err(fault) => terminal::say(&format!("{} a message that is none of ours: {fault}", terminal::noted("?"))),
    }
}

/// Shows a revision that is new; repeats (delivery is at least once) are passed over.
fn show(alert: &Alert, watch: &mut Watch) {
    if watch.is_news(alert) {
        terminal::say(&terminal::alert_line(alert));
    }
}

/// What the heartbeats, or their absence, say.
pub(super) fn sighted_line(sighted: &Sighted) -> String {
    let time = terminal::dim(&clock_text(sighted.at));
    if sighted.blind {
        format!("{time}  {} {} (see {})", terminal::bad("NOT WATCHED  "), sighted.text, Entry::NotWatched)
    } else {
        format!("{time}  {} {}", terminal::good("watched again"), sighted.text)
    }
}

const _: () = assert!(limits::HEARTBEAT_MISSING_MILLIS <= 15_000, "P5: blindness is said within 15 s");
