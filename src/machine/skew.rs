//! How far a device's clock is off, and what time its reports therefore tell of.
//!
//! The offset is device time minus the sent-at of the probe before the report. The estimate moves only to an offset that live reports keep
//! showing: a buffered upload shows ever other offsets, or is over too soon. A report that says when it was sent is believed at once, unless it
//! can only have waited in its device ([`Skew::has_waited`]); a press is not, because its repeats bear the bytes of its first sending. A wrong
//! clock, even by years, so costs a minute of history and never a device.

use crate::limits;
use crate::time::{DeviceMillis, ProbeMillis};

use super::digest::StateHasher;

/// The estimate for one device. Starts by believing the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Skew {
    offset_millis: i64,
    /// The device's time in the last live report that showed this offset; none while none has.
    shown_at: Option<DeviceMillis>,
    /// The earliest sending time that was taken for a clock that was set back, since then.
    set_back_to: Option<DeviceMillis>,
    candidate: Option<Candidate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    offset_millis: i64,
    since: ProbeMillis,
}

/// What a report says of its device's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    /// The newest time that it bears.
    pub(super) newest: Option<DeviceMillis>,
    pub(super) sent: Option<DeviceMillis>,
    /// One that was made after it has come before it.
    pub(super) is_overtaken: bool,
    /// It is new, and when it arrived is known.
    pub(super) teaches: bool,
}

fn offset(device_time: DeviceMillis, arrived: ProbeMillis) -> i64 {
    device_time.get().saturating_sub(arrived.get())
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
    /// Reads the device's clock from one message that came after the probe of `arrived`.
    pub(super) fn read(&mut self, said: Said, arrived: ProbeMillis) -> DeviceClock {
        let believed = said.sent.filter(|sent| !self.has_waited(*sent, said.is_overtaken, arrived));
        if let Some(time) = said.sent.or(said.newest).filter(|_| said.teaches) {
            if believed.is_some() && self.is_behind(time, arrived) && self.shown_at.is_some() {
                self.set_back_to = self.set_back_to.into_iter().chain(believed).min();
            }
            self.estimate(time, arrived);
        }
        let offset_millis = believed.map_or(self.offset_millis, |sent| offset(sent, arrived));
        DeviceClock { offset_millis, arrived, undated: arrived }
    }

    /// Whether a report was sent long before it came: the client in the device kept it until its next connection.
    ///
    /// A clock that was set back looks alike. But it says less than it said before, which a report that came in its turn does not; and of
    /// one that was overtaken the sequence number tells. Where neither does, the device was silent for longer than its clock may have been
    /// set back, so that what is now dated too old is still newer than all that came before, and moves the device. What was sent after one
    /// that was believed is believed too, or it would be history beside that.
    fn has_waited(&self, sent: DeviceMillis, is_overtaken: bool, arrived: ProbeMillis) -> bool {
        let in_its_turn = |shown_at| sent >= shown_at && self.set_back_to.is_none_or(|back| sent < back);
        self.is_behind(sent, arrived) && self.shown_at.is_some_and(|shown_at| is_overtaken || in_its_turn(shown_at))
    }

    /// Whether the device's clock says less than the estimate has it, beyond what delivery takes.
    fn is_behind(&self, time: DeviceMillis, arrived: ProbeMillis) -> bool {
        self.offset_millis.saturating_sub(offset(time, arrived)) > limits::SKEW_AGREES_MILLIS
    }

    /// Reads the clock for a press, learning nothing from it: by what reports have shown, else by its own sending time.
    pub(super) fn of_press(&self, sent: Option<DeviceMillis>, arrived: ProbeMillis) -> DeviceClock {
        let offset_millis = match sent {
            Some(sent) if self.shown_at.is_none() => offset(sent, arrived),
            Some(_) | None => self.offset_millis,
        };
        DeviceClock { offset_millis, arrived, undated: arrived }
    }

    const fn shown(offset_millis: i64, device_time: DeviceMillis) -> Self {
        Self { offset_millis, shown_at: Some(device_time), set_back_to: None, candidate: None }
    }

    fn estimate(&mut self, device_time: DeviceMillis, arrived: ProbeMillis) {
        let offset_millis = offset(device_time, arrived);
        let ahead = offset_millis.saturating_sub(self.offset_millis);
        if (0..=limits::DEVICE_AHEAD_MILLIS).contains(&ahead) {
            // The least delayed report is the best evidence of the clock.
            *self = Self::shown(offset_millis, device_time);
        } else if (-limits::SKEW_AGREES_MILLIS..0).contains(&ahead) {
            *self = Self::shown(self.offset_millis, device_time);
        } else {
            self.weigh(device_time, arrived);
        }
    }

    /// Believes an offset far from the estimate once it has shown for long enough.
    fn weigh(&mut self, device_time: DeviceMillis, arrived: ProbeMillis) {
        let offset_millis = offset(device_time, arrived);
        match self.candidate {
            Some(candidate) if candidate.offset_millis.abs_diff(offset_millis) <= limits::SKEW_AGREES_MILLIS.unsigned_abs() => {
                if arrived.since(candidate.since) >= limits::SKEW_PROVEN_MILLIS {
                    *self = Self::shown(offset_millis, device_time);
                }
            }
            Some(_) | None => self.candidate = Some(Candidate { offset_millis, since: arrived }),
        }
    }

    pub(super) fn digest(&self, hash: &mut StateHasher) {
        hash.int(self.offset_millis)
            .option(self.shown_at.map(DeviceMillis::get))
            .option(self.set_back_to.map(DeviceMillis::get))
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
        skew.read(Said { newest: time, sent: None, is_overtaken: false, teaches: true }, ProbeMillis::new(arrived))
            .correct(time)
            .get()
    }

    /// When a report with this sending time was made.
    fn made(skew: &mut Skew, sent: i64, is_overtaken: bool, arrived: i64) -> i64 {
        let sent = Some(DeviceMillis::new(sent));
        skew.read(Said { newest: sent, sent, is_overtaken, teaches: true }, ProbeMillis::new(arrived)).correct(sent).get()
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
            let clock =
                Skew::default().read(Said { newest: Some(sent), sent: Some(sent), is_overtaken: false, teaches: true }, arrived);
            assert_eq!(clock.correct(Some(happened)).get(), START - HOUR_MILLIS, "{wrong}");
        }
    }

    #[test]
    fn a_press_that_is_repeated_for_half_an_hour_is_half_an_hour_old() {
        for wrong in [0, -30 * YEAR_MILLIS] {
            let mut skew = Skew::default();
            for second in 0..=70 {
                let arrived = START + second * SECOND_MILLIS;
                correct(&mut skew, arrived + wrong, arrived);
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
    fn a_report_that_waited_in_its_device_is_as_old_as_its_sending() {
        for wrong in [-30 * YEAR_MILLIS, 0, 10 * YEAR_MILLIS] {
            let mut skew = Skew::default();
            for second in 0..=70 {
                let at = START + second * SECOND_MILLIS;
                assert_eq!(made(&mut skew, at + wrong, false, at), at);
            }
            let (kept, connected) = (START + 80 * SECOND_MILLIS, START + 20 * MINUTE_MILLIS);
            for report in 0..100 {
                let sent = kept + report * 10 * SECOND_MILLIS;
                assert_eq!(made(&mut skew, sent + wrong, false, connected), sent, "{wrong}, in its turn");
            }
            assert_eq!(made(&mut skew, connected + wrong, false, connected), connected, "live again");
            assert_eq!(made(&mut skew, kept + wrong, true, connected), kept, "{wrong}, overtaken");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_disables_nothing() {
        let mut skew = Skew::default();
        for second in 0..200 {
            let at = START + second * SECOND_MILLIS;
            let wrong = if second < 20 { 0 } else { -HOUR_MILLIS };
            assert_eq!(made(&mut skew, at + wrong, false, at), at, "{second}");
        }
        // Set back by less than the silence before it: a minute of reports is dated too old, and yet each is newer than the one before.
        let (mut last, silent) = (START + 199 * SECOND_MILLIS, 3 * HOUR_MILLIS);
        for second in 200..400 {
            let at = START + second * SECOND_MILLIS + silent;
            let dated = made(&mut skew, at - 2 * HOUR_MILLIS, false, at);
            assert!(dated > last && (dated == at || second < 260), "{second}: {}", at - dated);
            last = dated;
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
