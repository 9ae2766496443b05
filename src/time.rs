//! Whose clock a time came from, as types: mixing two clocks is a compile error.
//!
//! Every time is whole milliseconds since 1970-01-01T00:00:00Z, except [`HeardMillis`], which counts listening time from zero.
//! Pure: nothing here reads a clock; the shells hand times in.

use std::fmt;

/// Milliseconds in a second, for limits written in seconds.
pub const SECOND_MILLIS: i64 = 1_000;
/// Milliseconds in a minute.
pub const MINUTE_MILLIS: i64 = 60 * SECOND_MILLIS;
/// Milliseconds in an hour.
pub const HOUR_MILLIS: i64 = 60 * MINUTE_MILLIS;
/// Milliseconds in a UTC day.
pub const DAY_MILLIS: i64 = 24 * HOUR_MILLIS;

macro_rules! clock {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(i64);

        impl $name {
            /// Wraps milliseconds that are known to come from this clock.
            pub const fn new(millis: i64) -> Self {
                Self(millis)
            }

            /// The milliseconds, for the wire and for arithmetic across clocks that says why it may.
            pub const fn get(self) -> i64 {
                self.0
            }

            /// This time moved by `millis`; stops at the ends of the range instead of wrapping.
            #[must_use]
            pub const fn plus(self, millis: i64) -> Self {
                Self(self.0.saturating_add(millis))
            }

            /// Milliseconds from `earlier` to this time; negative where `earlier` is later.
            pub const fn since(self, earlier: Self) -> i64 {
                self.0.saturating_sub(earlier.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

clock! {
    /// Kafka's LogAppendTime of a journal record: the machine's `now`.
    AppendMillis
}
clock! {
    /// An ingester's wall clock when it received a message. Metadata only: no decision of the machine hangs on it.
    IngestMillis
}
clock! {
    /// An ingester's wall clock when it sent a probe: the axis of contact and of observed time.
    ProbeMillis
}
clock! {
    /// A device's own clock: may be wrong by years and may disable nothing.
    DeviceMillis
}
clock! {
    /// Milliseconds for which we provably listened, counted from the clock's start: what silence is measured in.
    HeardMillis
}

/// `HH:MM:SS` in UTC of milliseconds since the epoch, for people.
pub fn clock_text(millis: i64) -> String {
    let seconds = millis.div_euclid(SECOND_MILLIS).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_stops_at_the_ends() {
        assert_eq!(AppendMillis::new(i64::MAX).plus(1).get(), i64::MAX);
        assert_eq!(ProbeMillis::new(i64::MIN).since(ProbeMillis::new(1)), i64::MIN);
        assert_eq!(HeardMillis::new(5).since(HeardMillis::new(8)), -3);
    }

    #[test]
    fn clock_text_is_utc() {
        assert_eq!(clock_text(1_790_345_524_000), "14:12:04");
        assert_eq!(clock_text(-1), "23:59:59");
    }
}
