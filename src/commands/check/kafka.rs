//! Kafka, as a check sees it: who answers, how our topics are kept, what we may do there, whose clock is wrong, and the rulebook.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::report::Report;
use super::{Look, Wanted};
use crate::commands::run::cluster;
use crate::commands::{Failure, rules};
use crate::config::Settings;
use crate::diagnosis::{Finding, Part, rulebook_findings};
use crate::ids::CentreName;
use crate::journal::{self, Record};
use crate::kafka::{
    Cluster, PartitionKept, Permission, Reached, Topic, TopicNames, Weight, check_topics, may_know_group, may_read, may_write,
    reach, read_clocks,
};
use crate::limits;
use crate::runbook::Entry;

/// How long Kafka may take for each question.
const WITHIN: Duration = Duration::from_secs(10);
/// How we call ourselves in the one record that we write.
const DETECTOR: &str = "_check";

/// Checks all of it that is wanted.
pub(super) fn check(runtime: &Runtime, settings: &Settings, wanted: &Wanted<'_>, report: &mut Report) -> Result<(), Failure> {
    let cluster = cluster(settings)?;
    report.waits(format!("asking Kafka at {}", cluster.brokers()));
    let reached = match reach(&cluster, WITHIN) {
        Ok(reached) => reached,
        Err(fault) => {
            let mend =
                "are the brokers running, are kafka.brokers and the network right? With SASL: user, password and mechanism";
            report.say(&Finding::wrong(Part::Kafka, cluster.brokers(), format!("does not answer: {fault}"), mend));
            report.say(&Finding::unchecked(Part::Kafka, "the rest", "topics, permissions, clocks and rulebook need Kafka"));
            report.see(Entry::KafkaUnreachable);
            return Ok(());
        }
    };
    let mut site = Site { settings, names: TopicNames::new(&settings.kafka.prefix), cluster, reached, centres: Vec::new() };
    site.rulebook(wanted.is(Look::Rulebook), report);
    if wanted.is(Look::Kafka) {
        site.kept(report);
    }
    let mut journal_is_right = true;
    if wanted.any(&[Look::Topics, Look::Clocks]) {
        journal_is_right = site.topics(runtime, wanted.is(Look::Topics), report);
    }
    if wanted.is(Look::Permissions) {
        site.permissions(runtime, report);
    }
    if wanted.is(Look::Clocks) {
        site.clocks(journal_is_right, report);
    }
    Ok(())
}

struct Site<'a> {
    settings: &'a Settings,
    names: TopicNames,
    cluster: Cluster,
    reached: Reached,
    /// Those of the rulebook in force.
    centres: Vec<CentreName>,
}

impl Site<'_> {
    /// Reads the rulebook to its end; it names the centres, whose topics the other checks need.
    fn rulebook(&mut self, say: bool, report: &mut Report) {
        let name = self.names.rulebook();
        report.waits(format!("reading {name}"));
        if !self.has(&name) {
            if say {
                report.say(&Finding::unchecked(Part::Rulebook, &*name, "there is no such Kafka topic yet"));
            }
            return;
        }
        match rules::in_force(&self.cluster, &self.names, WITHIN) {
            Ok((entries, rulebook)) => {
                self.centres = rulebook.centres().map(|centre| centre.name.clone()).collect();
                if say {
                    report.say_all(rulebook_findings(&rulebook, entries.faults(), self.settings.ingest().ok()));
                }
            }
            Err(fault) => {
                let mend = format!("allow this principal to read {name}; no role starts without it");
                report.say(&Finding::wrong(Part::Rulebook, &*name, fault.to_string(), mend));
            }
        }
    }

    fn has(&self, topic: &str) -> bool {
        self.reached.topics.get(topic).is_some_and(|partitions| !partitions.is_empty())
    }

    fn ours(&self) -> Vec<Topic> {
        Topic::all(&self.centres)
    }

    /// Whether brokers are enough, and every partition of ours has a leader and its copies.
    fn kept(&self, report: &mut Report) {
        let brokers: Vec<&str> = self.reached.brokers.values().map(String::as_str).collect();
        report.say(&Finding::ok(Part::Kafka, "brokers", format!("{} known: {}", brokers.len(), brokers.join(", "))));
        let (mut single, mut all_well) = (Vec::new(), 0);
        for name in self.ours().iter().map(|topic| self.names.of(topic)) {
            let Some(partitions) = self.reached.topics.get(&*name).filter(|partitions| !partitions.is_empty()) else { continue };
            let numbers = |wanted: &dyn Fn(&PartitionKept) -> bool| {
                let found: Vec<String> =
                    partitions.iter().filter(|kept| wanted(kept)).map(|kept| kept.partition.to_string()).collect();
                found.join(", ")
            };
            let headless = numbers(&|kept| kept.leader.is_none());
            let behind = numbers(&|kept| kept.leader.is_some() && kept.in_sync < kept.replicas);
            let mend = "start the brokers that are missing; see Kafka's logs";
            if !headless.is_empty() {
                let says = format!("nobody leads partition {headless}: it can be neither read nor written");
                report.say(&Finding::wrong(Part::Kafka, &*name, says, mend));
            } else if !behind.is_empty() {
                report.say(&Finding::note(Part::Kafka, &*name, format!("copies of partition {behind} are not up to date"), mend));
            } else {
                all_well += 1;
            }
            if partitions.iter().any(|kept| kept.replicas < 2) {
                single.push(name.to_string());
            }
        }
        if all_well > 0 {
            let says = format!("all led, and all copies up to date, of {all_well} topics of ours");
            report.say(&Finding::ok(Part::Kafka, "partitions", says));
        }
        if !single.is_empty() {
            let says = format!("one copy only of {}: a disk that dies takes it along", single.join(", "));
            let mend = "on three brokers or more: replication 3 (`lonewatch topics create --replicas 3` for new topics, \
                        kafka-reassign-partitions.sh for these)";
            report.say(&Finding::note(Part::Kafka, "replication", says, mend));
        }
    }

    /// Whether the journal may be written: it is there, and keeps append time.
    fn topics(&self, runtime: &Runtime, say: bool, report: &mut Report) -> bool {
        report.waits("asking for the settings of Kafka topics");
        let topics = self.ours();
        let checked = runtime.block_on(check_topics(&self.cluster, &self.names, &topics, self.settings.kafka.partitions, WITHIN));
        let checked = match checked {
            Ok(checked) => checked,
            Err(fault) => {
                report.say(&Finding::unchecked(Part::Topics, "settings", fault.to_string()));
                return false;
            }
        };
        let journal = self.names.journal();
        let journal_is_right = !checked.faults.iter().any(|fault| fault.topic == *journal && fault.weight == Weight::Refuse);
        if !say {
            return journal_is_right;
        }
        for (topic, why) in checked.unanswered {
            report.say(&Finding::unchecked(Part::Topics, topic, format!("its settings: {why}")));
        }
        let faults = checked.faults.len();
        for fault in checked.faults {
            let says = format!("{}, but must be {}", fault.is, fault.must);
            report.say(&match fault.weight {
                Weight::Refuse | Weight::Unready => Finding::wrong(Part::Topics, fault.topic, says, fault.mend),
                Weight::Warn => Finding::note(Part::Topics, fault.topic, says, fault.mend),
            });
        }
        if faults == 0 {
            report.say(&Finding::ok(Part::Topics, "all", format!("{} topics are as they must be", topics.len())));
        }
        journal_is_right
    }

    /// What the configured roles do in Kafka, tried without a trace.
    fn permissions(&self, runtime: &Runtime, report: &mut Report) {
        let (ingest, detect) = (self.settings.ingest().is_ok(), self.settings.detect().ok());
        let mut written: Vec<Topic> = Vec::new();
        if ingest || detect.is_some() {
            written.push(Topic::Journal);
            written.extend(self.centres.iter().cloned().map(Topic::Alerts));
        }
        if ingest {
            written.push(Topic::Quarantine);
        }
        if detect.is_some() {
            written.extend(self.centres.iter().cloned().map(Topic::Shadow));
        }
        let written: Vec<Arc<str>> = written.iter().map(|topic| self.names.of(topic)).filter(|name| self.has(name)).collect();
        report.waits("asking Kafka what we may write");
        match runtime.block_on(may_write(&self.cluster, &written, WITHIN)) {
            Ok(answers) => written.iter().zip(answers).for_each(|(name, answer)| report.say(&permission(name, "write", answer))),
            Err(fault) => report.say(&Finding::unchecked(Part::Permissions, "write", fault.to_string())),
        }
        // That the rulebook can be read, its own check has shown.
        let journal = self.names.journal();
        if let Some(detect) = detect.filter(|_| self.has(&journal)) {
            report.waits("asking Kafka what we may read");
            report.say(&permission(&journal, "read", may_read(&self.cluster, &journal, WITHIN)));
            let group = may_know_group(&self.cluster, &detect.group, &journal, WITHIN);
            report.say(&permission(&format!("group {}", detect.group), "describe", group));
        }
        let says = "whether it may join the detectors' group, write our state topic, make topics or apply a rulebook: trying it would leave \
                    traces";
        report.say(&Finding::unchecked(Part::Permissions, "this principal", says));
    }

    /// Our clock against that of every broker that leads a partition of the journal.
    fn clocks(&self, journal_is_right: bool, report: &mut Report) {
        let journal = self.names.journal();
        if !journal_is_right {
            report.say(&Finding::unchecked(Part::Clocks, "Kafka", format!("{journal} is not as it must be: see topics")));
            return;
        }
        let mut by_leader: BTreeMap<i32, i32> = BTreeMap::new();
        for kept in self.reached.topics.get(&*journal).into_iter().flatten() {
            if let Some(leader) = kept.leader {
                by_leader.entry(leader).or_insert(kept.partition);
            }
        }
        report.waits("reading the clocks of Kafka's brokers");
        let payload = journal::encode(&Record::Metronome { detector: DETECTOR.to_owned() });
        let partitions: Vec<i32> = by_leader.values().copied().collect();
        let readings = match read_clocks(&self.cluster, &journal, &partitions, &payload, WITHIN) {
            Ok(readings) => readings,
            Err(fault) => return report.say(&Finding::unchecked(Part::Clocks, "Kafka", fault.to_string())),
        };
        for (leader, reading) in by_leader.keys().zip(readings) {
            let subject = format!("broker {}", self.reached.brokers.get(leader).map_or("?", String::as_str));
            report.say(&match reading {
                Err(why) => Finding::unchecked(Part::Clocks, subject, format!("no record of ours was stored: {why}")),
                Ok(reading) => clock(subject, reading.ahead_millis(), reading.after_millis - reading.before_millis),
            });
        }
    }
}

fn permission(what: &str, doing: &str, answer: Permission) -> Finding {
    let subject = format!("{doing} {what}");
    match answer {
        Permission::Granted => Finding::ok(Part::Permissions, subject, "allowed"),
        Permission::Denied(word) => {
            let mend = format!("allow this principal to {doing} {what} (kafka-acls.sh --add)");
            Finding::wrong(Part::Permissions, subject, format!("not allowed: {word}"), mend)
        }
        Permission::Unknown(word) => Finding::unchecked(Part::Permissions, subject, word),
    }
}

fn clock(subject: String, ahead_millis: i64, took_millis: i64) -> Finding {
    let apart = ahead_millis.abs();
    if apart <= limits::CLOCK_FAULT_MILLIS {
        let says = if apart == 0 {
            format!("this machine's clock agrees with it, as far as the {took_millis} ms of the way allow to tell")
        } else {
            format!("this machine's clock is {apart} ms {} it", if ahead_millis > 0 { "ahead of" } else { "behind" })
        };
        return Finding::ok(Part::Clocks, subject, says);
    }
    let direction = if ahead_millis > 0 { "ahead of" } else { "behind" };
    let says = format!(
        "this machine's clock is {apart} ms {direction} it, more than {} s: what an ingester here says of its listening would not count",
        limits::CLOCK_FAULT_MILLIS / 1_000
    );
    Finding::wrong(Part::Clocks, subject, says, "let NTP set both clocks (chronyc tracking, timedatectl)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::Verdict;

    #[test]
    fn two_seconds_apart_is_the_most() {
        let verdict = |ahead| clock("b".to_owned(), ahead, 4).verdict;
        assert_eq!([verdict(0), verdict(2_000), verdict(-2_000)], [Verdict::Ok; 3]);
        assert_eq!([verdict(2_001), verdict(-2_001)], [Verdict::Wrong; 2]);
        assert!(clock("b".to_owned(), -5_000, 4).to_string().contains("NTP"));
    }

    #[test]
    fn what_kafka_forbids_is_wrong_and_what_it_does_not_tell_is_open() {
        assert_eq!(permission("t", "write", Permission::Granted).verdict, Verdict::Ok);
        let denied = permission("t", "write", Permission::Denied("no".to_owned()));
        assert!(denied.verdict == Verdict::Wrong && denied.to_string().contains("allow this principal to write t"));
        assert_eq!(permission("t", "write", Permission::Unknown("?".to_owned())).verdict, Verdict::Unchecked);
    }
}
