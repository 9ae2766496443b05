//! The partition of a device: Kafka's murmur2 over its id, computed by us, so that no client's default decides.

use std::fmt;

/// One partition of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u32);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many partitions the journal has: fixed for a generation of the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionCount(u32);

impl PartitionCount {
    /// A count of at least one.
    pub const fn new(count: u32) -> Option<Self> {
        if count == 0 { None } else { Some(Self(count)) }
    }

    /// The count.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Every partition.
    pub fn all(self) -> impl Iterator<Item = Partition> {
        (0..self.0).map(Partition)
    }

    /// Where the key belongs: a device's id, or for alerts about a feed the feed's name.
    pub fn of(self, key: &str) -> Partition {
        Partition((murmur2(key.as_bytes()) & 0x7fff_ffff) % self.0)
    }
}

/// Kafka's murmur2 (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    #[allow(clippy::cast_possible_truncation, reason = "keys are shorter than 4 GiB; Kafka truncates alike")]
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    for (i, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * i);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_those_of_kafkas_own_clients() {
        let vectors = include_str!("../../tests/data/murmur2.csv");
        let mut checked = 0;
        for line in vectors.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let mut fields = line.split(',');
            let mut next = || fields.next().unwrap();
            let (id, hash, of_12, of_48) = (next(), next(), next(), next());
            assert_eq!(murmur2(id.as_bytes()).cast_signed(), hash.parse::<i32>().unwrap(), "{id}");
            assert_eq!(PartitionCount::new(12).unwrap().of(id), Partition(of_12.parse().unwrap()), "{id}");
            assert_eq!(PartitionCount::new(48).unwrap().of(id), Partition(of_48.parse().unwrap()), "{id}");
            checked += 1;
        }
        assert!(checked > 100, "{checked} vectors");
    }
}
