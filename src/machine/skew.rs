//! How far a device's clock is off, and what time its reports therefore tell of.
//!
//! The offset is device time minus the sent-at of the probe before the report. A report that carries when it was sent gives its
//! offset exactly; a press does not, because its repeats bear the bytes of its first sending. Otherwise the estimate moves only to an offset that live reports keep showing: a buffered upload shows ever
//! other offsets, or is over too soon. A wrong clock, even by years, so costs a minute of history and never a device.

use crate::limits;
use crate::time::{DeviceMillis, ProbeMillis};

use super::digest::StateHasher;

/// The estimate for one device. Starts by believing the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Skew {
    offset_millis: i64,
    /// Live reports have shown this offset.
    proven: bool,
    candidate: Option<Candidate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    offset_millis: i64,
    since: ProbeMillis,
}

/// A device's clock as one message shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeviceClock {
    offset_millis: i64,
    arrived: ProbeMillis,
    /// When what bears no time is taken to have happened.
    undated: ProbeMillis,
}

impl DeviceClock {
    /// The same for a message that may have waited since then: what is undated in it may be so old.
    pub(super) const fn undated_since(self, at: ProbeMillis) -> Self {
        Self { undated: at, ..self }
    }

    /// When the message arrived at the MQTT broker, on the probes' axis.
    pub(super) const fn arrived(&self) -> ProbeMillis {
        self.arrived
    }

    /// What the device dates `time`, on the probes' axis. What would lie far ahead has just arrived, and so has the undated, unless it waited.
    pub(super) fn correct(&self, time: Option<DeviceMillis>) -> ProbeMillis {
        let Some(time) = time else { return self.undated };
        ProbeMillis::new(time.get().saturating_sub(self.offset_millis)).min(self.arrived)
    }
}

impl Skew {
    /// Reads the device's clock from one message that came after the probe of `arrived`: `newest` is the newest time that the
    /// message bears, `sent` its sending time if it has one.
    pub(super) fn read(&mut self, newest: Option<DeviceMillis>, sent: Option<DeviceMillis>, arrived: ProbeMillis) -> DeviceClock {
        let offset_millis = match (sent, newest) {
            (Some(sent), _) => {
                self.estimate(sent, arrived);
                sent.get().saturating_sub(arrived.get())
            }
            (None, Some(newest)) => self.estimate(newest, arrived),
            (None, None) => self.offset_millis,
        };
        DeviceClock { offset_millis, arrived, undated: arrived }
    }

    /// Reads the clock for a press, learning nothing from it: by what reports have shown, else by its own sending time.
    pub(super) fn of_press(&self, sent: Option<DeviceMillis>, arrived: ProbeMillis) -> DeviceClock {
        let offset_millis = match sent {
            Some(sent) if !self.proven => sent.get().saturating_sub(arrived.get()),
            Some(_) | None => self.offset_millis,
        };
        DeviceClock { offset_millis, arrived, undated: arrived }
    }

    fn estimate(&mut self, device_time: DeviceMillis, arrived: ProbeMillis) -> i64 {
        let offset_millis = device_time.get().saturating_sub(arrived.get());
        let ahead = offset_millis.saturating_sub(self.offset_millis);
        if (0..=limits::DEVICE_AHEAD_MILLIS).contains(&ahead) {
            // The least delayed report is the best evidence of the clock.
            *self = Self { offset_millis, proven: true, candidate: None };
        } else if (-limits::SKEW_AGREES_MILLIS..0).contains(&ahead) {
            (self.proven, self.candidate) = (true, None);
        } else {
            self.weigh(offset_millis, arrived);
        }
        self.offset_millis
    }

    /// Believes an offset far from the estimate once it has shown for long enough.
    fn weigh(&mut self, offset_millis: i64, arrived: ProbeMillis) {
        match self.candidate {
            Some(candidate) if candidate.offset_millis.abs_diff(offset_millis) <= limits::SKEW_AGREES_MILLIS.unsigned_abs() => {
                if arrived.since(candidate.since) >= limits::SKEW_PROVEN_MILLIS {
                    *self = Self { offset_millis, proven: true, candidate: None };
                }
            }
            Some(_) | None => self.candidate = Some(Candidate { offset_millis, since: arrived }),
        }
    }

    pub(super) fn digest(&self, hash: &mut StateHasher) {
        hash.int(self.offset_millis)
            .count(usize::from(self.proven))
            .option(self.candidate.map(|candidate| candidate.offset_millis));
        hash.option(self.candidate.map(|candidate| candidate.since.get()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{HOUR_MILLIS, MINUTE_MILLIS, SECOND_MILLIS};

    const START: i64 = 1_790_000_000_000;
    const YEAR_MILLIS: i64 = 365 * 24 * HOUR_MILLIS;

    fn correct(skew: &mut Skew, device: i64, arrived: i64) -> i64 {
        let time = Some(DeviceMillis::new(device));
        skew.read(time, None, ProbeMillis::new(arrived)).correct(time).get()
    }

    #[test]
    fn a_right_clock_is_believed() {
        let mut skew = Skew::default();
        assert_eq!(correct(&mut skew, START - 500, START), START - 500);
        assert_eq!(correct(&mut skew, START + 900, START), START, "what has not happened yet has just arrived");
    }

    #[test]
    fn a_sending_time_shows_the_age_whatever_the_clock() {
        let arrived = ProbeMillis::new(START);
        for wrong in [-30 * YEAR_MILLIS, 0, 10 * YEAR_MILLIS] {
            let (happened, sent) = (DeviceMillis::new(START + wrong - HOUR_MILLIS), DeviceMillis::new(START + wrong));
            let clock = Skew::default().read(Some(sent), Some(sent), arrived);
            assert_eq!(clock.correct(Some(happened)).get(), START - HOUR_MILLIS, "{wrong}");
        }
    }

    #[test]
    fn a_press_that_is_repeated_for_half_an_hour_is_half_an_hour_old() {
        for wrong in [0, -30 * YEAR_MILLIS] {
            let mut skew = Skew::default();
            for second in 0..=70 {
                let arrived = START + second * SECOND_MILLIS;
                skew.read(Some(DeviceMillis::new(arrived + wrong)), None, ProbeMillis::new(arrived));
            }
            let (pressed, arrived) = (START + 70 * SECOND_MILLIS, START + 30 * MINUTE_MILLIS);
            let stale = Some(DeviceMillis::new(pressed + wrong));
            assert_eq!(skew.of_press(stale, ProbeMillis::new(arrived)).correct(stale).get(), pressed, "{wrong}");
        }
        let (sent, arrived) = (Some(DeviceMillis::new(START)), ProbeMillis::new(START + HOUR_MILLIS));
        let unknown = Skew::default().of_press(sent, arrived);
        assert_eq!(unknown.correct(Some(DeviceMillis::new(START - 5))).get(), START + HOUR_MILLIS - 5, "nothing else to go by");
    }

    #[test]
    fn a_clock_years_off_is_learnt_within_a_minute_or_so() {
        for wrong in [-30 * YEAR_MILLIS, -HOUR_MILLIS, HOUR_MILLIS, 10 * YEAR_MILLIS] {
            let mut skew = Skew::default();
            for second in 0..=70 {
                let arrived = START + second * SECOND_MILLIS;
                let corrected = correct(&mut skew, arrived + wrong, arrived);
                assert!(second < 60 || corrected == arrived, "{wrong} after {second} s: {}", corrected - arrived);
            }
        }
    }

    #[test]
    fn a_buffered_upload_shifts_nothing() {
        let mut skew = Skew::default();
        correct(&mut skew, START, START);
        for fix in 0..180 {
            let taken = START - 30 * MINUTE_MILLIS + fix * 10 * SECOND_MILLIS;
            assert_eq!(correct(&mut skew, taken, START + fix * 10), taken);
        }
        assert_eq!(correct(&mut skew, START + MINUTE_MILLIS, START + MINUTE_MILLIS), START + MINUTE_MILLIS);
    }
}
