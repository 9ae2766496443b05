//! Seeded chance: `SplitMix64` (Steele, Lea, Flood 2014). Ours, because a run must give the same bytes in every later version too.

/// A stream of numbers that only its seed decides.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    /// The stream of one device: streams of different devices have nothing in common.
    pub(super) fn of_device(seed: u64, device: u64) -> Self {
        let mut mixed = Self(seed ^ device.wrapping_mul(0xd134_2543_de82_ef95));
        Self(mixed.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number from `low` up to and with `high`.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        debug_assert!(low <= high, "an empty range");
        low + (self.next() >> 1).cast_signed().rem_euclid(high - low + 1)
    }

    /// A number from 0 to under 1.
    pub(super) fn unit(&mut self) -> f64 {
        let [a, b, c, d, ..] = self.next().to_le_bytes();
        f64::from(u32::from_le_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
    }

    /// A number around 0 with standard deviation `sigma`, never beyond three of them: the sum of twelve even ones, cut.
    pub(super) fn around_zero(&mut self, sigma: f64) -> f64 {
        let sum: f64 = (0..12).map(|_| self.unit()).sum::<f64>() - 6.0;
        sigma * sum.clamp(-3.0, 3.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_decided_by_seed_and_device() {
        let numbers = |seed, device| {
            let mut chance = Chance::of_device(seed, device);
            [chance.between(0, 1_000_000), chance.between(0, 1_000_000)]
        };
        assert_eq!(numbers(1, 2), numbers(1, 2));
        assert_ne!(numbers(1, 2), numbers(1, 3));
        assert_ne!(numbers(1, 2), numbers(2, 2));
    }

    #[test]
    fn numbers_keep_their_range() {
        let mut chance = Chance::of_device(7, 7);
        for _ in 0..10_000 {
            assert!((3..=5).contains(&chance.between(3, 5)));
            assert!((0.0..1.0).contains(&chance.unit()));
            assert!(chance.around_zero(2.0).abs() <= 6.0);
        }
    }
}
