//! The workloads, by the question that each answers. All systems and conditions of a round stand beside each other in time, in an
//! order that turns from round to round; every run has fresh topics, a fresh Mosquitto and fresh processes, on one warm Kafka.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::answer::Answer;
use crate::clock;
use crate::figures::Spread;
use crate::load::Load;
use crate::marks::Say;
use crate::options::Opts;
use crate::rig::{Kafka, KafkaOptions, wait_for};
use crate::run::{Plan, measure, per_second};
use crate::systems::{Kind, System};
use crate::usage::Watch;
use clap::ValueEnum;

/// BENCHMARKS' publishers: the background's devices share so many connections.
const CONNECTIONS: u64 = 200;
/// The background's devices.
const DEVICES: u64 = 10_000;
/// The background.
const REPORTS_RATE: u64 = 1_000;
/// Crossings a second; every second one is an exit. Presses a second.
const CROSSINGS_RATE: u64 = 100;
const PRESSES_RATE: u64 = 100;
/// Messages that warm the JVM on each way before anything counts.
const WARM_MESSAGES: u64 = 120_000;
const WARM_RATE: u64 = 10_000;
/// More than a generator beside everything else on two cores gets through: a flood lasts longer than what is measured in it.
const FLOOD_RATE: u64 = 60_000;
const BACKLOG: Duration = Duration::from_mins(10);
/// The longest that is measured in an overload: millions of messages wait in the MQTT broker for it.
const OVERLOADED: Duration = Duration::from_secs(20);
/// Until everything that was sent stands in the journal.
const JOURNALED: Duration = Duration::from_mins(3);

/// A Kafka as operators run it: a gigabyte of heap, and segments of Kafka's own size (the rig's are small, for its tests).
pub(crate) fn kafka() -> Arc<Kafka> {
    let further_lines = vec!["log.segment.bytes=1073741824".to_owned(), "log.retention.check.interval.ms=300000".to_owned()];
    Arc::new(Kafka::start_with(&KafkaOptions { heap: "1g".to_owned(), further_lines }))
}

/// Does a fence's exit reach the centre as fast as the hops allow? (W2a)
pub(crate) fn fence(opts: &Opts, kafka: &Arc<Kafka>) -> Answer {
    let mut answer = Answer::new(format!(
        "fence: report -> fence_exited (dwell 0) on the alerts topic; {REPORTS_RATE} reports/s of {DEVICES} devices, {CROSSINGS_RATE} crossings/s; \
         {} runs of {} s",
        opts.runs(),
        opts.seconds()
    ));
    let progress = progress(2 + 2 * opts.runs());
    for kind in Kind::BOTH {
        tell(&progress, format!("warming up {}", kind.name()));
        warm(opts, kafka, kind, "fence");
        progress.inc(1);
    }
    for round in 0..opts.runs() {
        for kind in in_turn(round) {
            tell(&progress, format!("round {}: {}", round + 1, kind.name()));
            let mut system = System::new(kind, kafka, &format!("fence-{round}"), DEVICES);
            system.start();
            let seconds = opts.warm().as_secs() + opts.seconds();
            let load =
                Load { connections: CONNECTIONS, devices: DEVICES, rate: REPORTS_RATE, messages: REPORTS_RATE * (seconds + 1) };
            let run = measure(&system, kafka, &plan(opts, Say::Crossings, CROSSINGS_RATE, Some(load), round));
            answer.series("at 1,000/s", kind).runs.push(run);
            system.end();
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    let (ours, null) = (("at 1,000/s", Kind::Ours), ("at 1,000/s", Kind::Null));
    answer.compare(ours, null, 500, Some(1.10));
    answer.compare(ours, null, 990, Some(1.25));
    answer
}

/// What a duress run happens under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Condition {
    /// No reports.
    Idle,
    /// Reports that leave the cores room.
    Beside,
    /// The reports lane always has more waiting than it can take: its whole backlog stands in the MQTT broker.
    Backlog,
    /// Reports are meant to arrive at twice the rate that the system took of a backlog; what the machine can offer of that is said with
    /// the figures.
    Flood,
}

impl Condition {
    const ALL: [Self; 4] = [Self::Idle, Self::Beside, Self::Backlog, Self::Flood];

    fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Beside => "at 1,000/s",
            Self::Backlog => "with a backlog",
            Self::Flood => "in a flood",
        }
    }
}

/// Does a press owe anything to the reports? (W2d, and duress idle)
pub(crate) fn duress(opts: &Opts, kafka: &Arc<Kafka>) -> Answer {
    let mut answer = Answer::new(format!(
        "duress: press -> revision 1 on the alerts topic; {PRESSES_RATE} presses/s; {} runs of {} s",
        opts.runs(),
        opts.seconds()
    ));
    let conditions: Vec<Condition> = Condition::ALL.into_iter().filter(|condition| opts.has(*condition)).collect();
    let progress = progress(4 + 2 * conditions.len() as u64 * opts.runs());
    for kind in Kind::BOTH {
        tell(&progress, format!("warming up {}", kind.name()));
        // In the first drains the JVM's compiler has a core for itself.
        capacity(opts, kafka, kind);
        progress.inc(1);
    }
    let capacities = Kind::BOTH.map(|kind| {
        tell(&progress, format!("what {} can take", kind.name()));
        let capacity = capacity(opts, kafka, kind);
        progress.inc(1);
        tell(&progress, format!("{} takes {capacity} reports/s", kind.name()));
        answer.notes.push(format!("{} takes {capacity} reports/s of a backlog", kind.name()));
        capacity
    });
    for round in 0..opts.runs() {
        for condition in conditions.iter().copied() {
            for kind in in_turn(round) {
                if kind == Kind::Null && opts.null_idles && condition != Condition::Idle {
                    continue;
                }
                tell(&progress, format!("round {}: {} {}", round + 1, kind.name(), condition.name()));
                let capacity = if kind == Kind::Ours { capacities[0] } else { capacities[1] };
                let run = under(opts, kafka, kind, condition, capacity, round);
                answer.series(condition.name(), kind).runs.push(run);
                progress.inc(1);
            }
        }
    }
    progress.finish_and_clear();
    let name = Condition::name;
    for per_mille in [500, 990] {
        answer.compare((name(Condition::Idle), Kind::Ours), (name(Condition::Idle), Kind::Null), per_mille, Some(1.25));
    }
    for condition in conditions.iter().copied().filter(|condition| *condition != Condition::Idle) {
        answer.compare((name(condition), Kind::Ours), (name(Condition::Idle), Kind::Ours), 500, None);
        answer.compare((name(condition), Kind::Ours), (name(Condition::Idle), Kind::Ours), 990, Some(1.2));
        if !opts.null_idles {
            answer.compare((name(condition), Kind::Null), (name(Condition::Idle), Kind::Null), 990, None);
            answer.compare((name(condition), Kind::Ours), (name(condition), Kind::Null), 990, None);
        }
    }
    answer.further = json!({ "capacity": { "lonewatch": capacities[0], "null": capacities[1] } });
    answer
}

fn under(opts: &Opts, kafka: &Arc<Kafka>, kind: Kind, condition: Condition, capacity: u64, round: u64) -> crate::run::Run {
    let mut system = System::new(kind, kafka, &format!("duress-{}-{round}", condition as u8), DEVICES);
    let mut plan = plan(opts, Say::Presses, PRESSES_RATE, None, round);
    if matches!(condition, Condition::Backlog | Condition::Flood) {
        plan.measured = plan.measured.min(OVERLOADED);
    }
    let seconds = (plan.warm + plan.measured).as_secs();
    // A third more than it took before.
    let waiting = capacity * (seconds + 5) * 4 / 3;
    if condition == Condition::Backlog {
        backlog(&mut system, waiting);
        system.launch_ingest();
    } else {
        system.start();
    }
    let before = system.journaled();
    let load = |rate, messages| Load { connections: CONNECTIONS, devices: DEVICES, rate, messages };
    plan.load = match condition {
        Condition::Idle | Condition::Backlog => None,
        Condition::Beside => Some(load(REPORTS_RATE, REPORTS_RATE * (seconds + 1))),
        Condition::Flood => Some(load(2 * capacity, FLOOD_RATE * seconds)),
    };
    let run = measure(&system, kafka, &plan);
    if condition == Condition::Backlog {
        let taken = system.journaled() - before;
        assert!(taken < waiting, "the backlog of {waiting} was gone before the end: its figures are those of idling");
    }
    system.end();
    run
}

/// Leaves so many reports in the session of an ingester that is away. The detector is up.
fn backlog(system: &mut System, messages: u64) {
    system.start();
    system.kill_ingest();
    let load = Load { connections: CONNECTIONS, devices: DEVICES, rate: 0, messages };
    load.start(system.mosquitto(), 0).finish(BACKLOG);
}

/// How many reports a second a system takes of a backlog, with both its roles at work and nothing else.
fn capacity(opts: &Opts, kafka: &Arc<Kafka>, kind: Kind) -> u64 {
    let mut system = System::new(kind, kafka, "capacity", DEVICES);
    let messages = if opts.quick { 2 * WARM_MESSAGES } else { 10 * WARM_MESSAGES };
    backlog(&mut system, messages);
    let before = system.journaled();
    // Its beginning and its end are left out: there it starts, and there it runs dry.
    system.launch_ingest();
    let wait = |wanted: u64| {
        wait_for(JOURNALED, &format!("{} to take a backlog", kind.name()), || {
            let taken = system.journaled() - before;
            if taken >= wanted { Ok((taken, clock::now())) } else { Err(format!("{taken} of {wanted}")) }
        })
    };
    let (from, began) = wait(messages / 10);
    let (taken, ended) = wait(messages * 9 / 10);
    system.end();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive rate far below 2^52")]
    let rate = per_second(taken - from, ended.saturating_duration_since(began).as_secs_f64()) as u64;
    rate
}

/// What does ingest cost per message? (W3b)
pub(crate) fn ingest(opts: &Opts, kafka: &Arc<Kafka>) -> Answer {
    let mut answer = Answer::new(format!(
        "ingest: CPU seconds of the ingester per million reports of 200 bytes at QoS 1, {CONNECTIONS} publishers; {} runs of {} s",
        opts.runs(),
        opts.seconds()
    ));
    let rates = [(5_000, 12.0), (20_000, 6.0)];
    let progress = progress(2 + 4 * opts.runs());
    for kind in Kind::BOTH {
        tell(&progress, format!("warming up {}", kind.name()));
        warm(opts, kafka, kind, "ingest");
        progress.inc(1);
    }
    let mut found: Vec<(u64, Kind, f64, f64, serde_json::Value)> = Vec::new();
    for round in 0..opts.runs() {
        for (rate, _) in rates {
            for kind in in_turn(round) {
                tell(&progress, format!("round {}: {} at {rate}/s", round + 1, kind.name()));
                let (per_million, offered, usage) = ingest_run(opts, kafka, kind, rate, round);
                found.push((rate, kind, per_million, offered, usage));
                progress.inc(1);
            }
        }
    }
    progress.finish_and_clear();
    for (rate, target) in rates {
        for kind in Kind::BOTH {
            let runs = || found.iter().filter(|run| run.0 == rate && run.1 == kind);
            let (cost, offered) = (Spread::of(runs().map(|run| run.2)), Spread::of(runs().map(|run| run.3)));
            let met = if cost.median <= target { "met" } else { "missed" };
            let target = if kind == Kind::Ours { format!("  (target {target}: {met})") } else { String::new() };
            answer.notes.push(format!(
                "{:<10} {rate:>6}/s: {} CPU s per million, offered {:.0}/s{target}",
                kind.name(),
                cost.text(1),
                offered.median
            ));
        }
    }
    let runs = found.iter().map(|(rate, kind, cost, offered, usage)| {
        json!({ "rate": rate, "system": kind.name(), "cpu_seconds_per_million": cost, "offered_rate": offered, "usage": usage })
    });
    answer.further = runs.collect();
    answer
}

fn ingest_run(opts: &Opts, kafka: &Arc<Kafka>, kind: Kind, rate: u64, round: u64) -> (f64, f64, serde_json::Value) {
    let mut system = System::new(kind, kafka, &format!("ingest-{rate}-{round}"), DEVICES);
    system.start_ingest();
    let seconds = opts.warm().as_secs() + opts.seconds();
    let load = Load { connections: CONNECTIONS, devices: DEVICES, rate, messages: rate * (seconds + 1) };
    let running = load.start(system.mosquitto(), 0);
    let from = clock::now() + opts.warm();
    clock::wait_till(from);
    let mut processes = system.processes();
    processes.push(("load", running.pid()));
    let watch = Watch::begin(&processes);
    clock::wait_till(from + Duration::from_secs(opts.seconds()));
    let usage = watch.end();
    let offered = running.finish(Duration::from_secs(seconds));
    wait_for(JOURNALED, "every report to be in the journal", || {
        let journaled = system.journaled();
        if journaled >= offered.messages() { Ok(()) } else { Err(format!("{journaled} of {}", offered.messages())) }
    });
    system.end();
    let cost = usage.roles.get("ingest").expect("the ingester was watched").cpu_seconds;
    (1e6 * cost / (offered.rate() * usage.wall_seconds), offered.rate(), usage.json())
}

/// Sends what warms the JVM through a system, both roles at work.
fn warm(opts: &Opts, kafka: &Arc<Kafka>, kind: Kind, name: &str) {
    let mut system = System::new(kind, kafka, &format!("{name}-warm"), DEVICES);
    system.start();
    let messages = if opts.quick { WARM_MESSAGES / 10 } else { WARM_MESSAGES };
    let load = Load { connections: CONNECTIONS, devices: DEVICES, rate: WARM_RATE, messages };
    load.start(system.mosquitto(), 0).finish(Duration::from_mins(1));
    wait_for(JOURNALED, "the warm-up to be in the journal", || {
        let journaled = system.journaled();
        if journaled >= messages { Ok(()) } else { Err(journaled) }
    });
    system.end();
}

fn plan(opts: &Opts, what: Say, marks_rate: u64, load: Option<Load>, round: u64) -> Plan {
    let measured = Duration::from_secs(opts.seconds());
    Plan { what, marks_rate, load, load_nice: 10, warm: opts.warm(), measured, seed: opts.seed + round }
}

/// Who goes first changes from round to round.
fn in_turn(round: u64) -> [Kind; 2] {
    if round.is_multiple_of(2) { [Kind::Ours, Kind::Null] } else { [Kind::Null, Kind::Ours] }
}

/// What is done now; a line of its own where no terminal shows the bar.
fn tell(progress: &ProgressBar, message: String) {
    if progress.is_hidden() {
        let (done, steps) = (progress.position(), progress.length().unwrap_or_default());
        let _written_or_gone = writeln!(anstream::stderr(), "{done}/{steps} after {:.0?}: {message}", progress.elapsed());
    }
    progress.set_message(message);
}

fn progress(steps: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}").expect("a sound template");
    let progress = ProgressBar::new(steps).with_style(style);
    progress.enable_steady_tick(Duration::from_secs(1));
    progress
}
