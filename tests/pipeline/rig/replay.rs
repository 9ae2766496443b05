//! The journal read again, by the machine alone: what it must have said, record by record.

use std::collections::BTreeMap;
use std::sync::Arc;

use lonewatch::alert::{Alert, CentreMessage};
use lonewatch::journal::{self, Partition, PartitionCount, Record};
use lonewatch::machine::{Actions, Machine, Start, chain};
use lonewatch::rulebook::{Entries, Rulebook};
use lonewatch::time::AppendMillis;

use super::site::Site;
use super::tools::{KafkaRecord, consume};

/// What one reading of the journal gave.
#[derive(Debug, PartialEq, Eq)]
pub struct Replay {
    /// Every alert in order: partition, offset of the record that caused it, its bytes.
    pub alerts: Vec<(u32, i64, Vec<u8>)>,
    /// The last link of each partition's hash chain over (state, actions).
    pub chains: Vec<[u8; 32]>,
}

/// The journal as it stands, by partition and offset.
#[track_caller]
pub fn journal_records(site: &Site) -> Vec<KafkaRecord> {
    consume(&site.world.kafka, &site.world.kafka_topic("journal"))
}

/// Every version of the rulebook that its topic holds.
#[track_caller]
pub fn rulebook_versions(site: &Site) -> BTreeMap<i64, Arc<Rulebook>> {
    let mut entries = Entries::new();
    let records = consume(&site.world.kafka, &site.world.kafka_topic("rulebook"));
    let versions = records.iter().filter_map(|record| entries.read(record.offset, &record.key_text(), record.value.as_deref()));
    versions.map(|rulebook| (rulebook.version(), rulebook)).collect()
}

/// Reads the records through a fresh machine for each partition, as far as `below` says.
#[track_caller]
pub fn replay(
    records: &[KafkaRecord],
    versions: &BTreeMap<i64, Arc<Rulebook>>,
    partitions: u32,
    below: impl Fn(u32) -> i64,
) -> Replay {
    read(records, versions, partitions, true, below)
}

/// The alerts alone of all records: the chain takes a hash of the whole state at each, which a long journal cannot afford.
#[track_caller]
pub fn replay_alerts(
    records: &[KafkaRecord],
    versions: &BTreeMap<i64, Arc<Rulebook>>,
    partitions: u32,
) -> Vec<(u32, i64, Vec<u8>)> {
    read(records, versions, partitions, false, |_| i64::MAX).alerts
}

#[track_caller]
fn read(
    records: &[KafkaRecord],
    versions: &BTreeMap<i64, Arc<Rulebook>>,
    partitions: u32,
    chained: bool,
    below: impl Fn(u32) -> i64,
) -> Replay {
    let count = PartitionCount::new(partitions).expect("at least one partition");
    let mut all = Replay { alerts: Vec::new(), chains: Vec::new() };
    for partition in count.all() {
        let mut machine = Machine::new(partition, count, Start::Whole);
        let mut link = [0; 32];
        let mut actions = Actions::default();
        let of_partition = |record: &&KafkaRecord| u32::try_from(record.partition) == Ok(partition.0);
        for record in records.iter().filter(of_partition).take_while(|record| record.offset < below(partition.0)) {
            actions.clear();
            step(&mut machine, record, versions, &mut actions);
            if chained {
                link = chain(link, machine.state_hash(), &actions.alerts);
            }
            all.alerts.extend(actions.alerts.iter().map(|alert| (partition.0, record.offset, bytes(alert))));
        }
        all.chains.push(link);
    }
    all
}

fn step(machine: &mut Machine, record: &KafkaRecord, versions: &BTreeMap<i64, Arc<Rulebook>>, actions: &mut Actions) {
    let decoded: Record = journal::decode(record.value.as_deref().unwrap_or_default()).expect("a record of the journal");
    if let Some(version) = machine.awaits(&decoded) {
        machine.install(Arc::clone(versions.get(&version).expect("the rulebook topic has every version that a record names")));
    }
    machine.apply(record.offset, AppendMillis::new(record.timestamp_millis), &decoded, actions);
}

fn bytes(alert: &Alert) -> Vec<u8> {
    CentreMessage::Alert(Box::new(alert.clone())).to_json()
}
