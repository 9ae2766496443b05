//! Probes: what one says, and what their return proves.
//!
//! A probe travels as a device's message does and comes back behind everything that the broker held for the session. When probe n
//! is back on every filter of a lane, everything before it on that lane has been received; once that is acknowledged by Kafka, the
//! lane was heard up to the probe's sending. A missing number, or a new connection, begins a new stretch.

use std::fmt;

use crate::alert::Lane;
use crate::clock;
use crate::ids::{Incarnation, IngesterName, ProbeRef};
use crate::journal::Heard;
use crate::limits;
use crate::time::ProbeMillis;

/// The word that a probe's payload begins with.
const WORD: &str = "lonewatch-probe";

/// What a probe's payload says; whose it is stands in its MQTT topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) incarnation: Incarnation,
    pub(super) number: u64,
    pub(super) sent_at: ProbeMillis,
}

impl Probe {
    /// Reads a payload; none where it is no probe (on a duress filter, it is a press then).
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        // Every message is asked, so most are turned away by their first byte.
        let text = payload.starts_with(WORD.as_bytes()).then(|| std::str::from_utf8(payload).ok())??;
        let mut words = text.split(' ');
        let (word, incarnation, number, sent_at) = (words.next()?, words.next()?, words.next()?, words.next()?);
        if word != WORD || incarnation.len() != 16 || words.next().is_some() {
            return None;
        }
        Some(Self {
            incarnation: Incarnation(u64::from_str_radix(incarnation, 16).ok()?),
            number: number.parse().ok()?,
            sent_at: ProbeMillis::new(sent_at.parse().ok()?),
        })
    }

    /// The probe as records name it.
    pub(super) fn named(&self, ingester: IngesterName) -> ProbeRef {
        ProbeRef { ingester, incarnation: self.incarnation, number: self.number, sent_at: self.sent_at }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{WORD} {:016x} {} {}", self.incarnation.0, self.number, self.sent_at.get())
    }
}

/// What this incarnation's probes prove of one lane.
#[derive(Debug)]
pub(super) struct Listening {
    lane: Lane,
    incarnation: Incarnation,
    /// By filter: the newest number that came back on this connection.
    back: Vec<Option<u64>>,
    /// The newest probe that was sent before the last filter was granted: it and all before it prove nothing of this connection.
    sent_before: Option<u64>,
    /// Where the present stretch began.
    from: Option<ProbeMillis>,
    /// The newest number that was back on every filter.
    complete: Option<u64>,
}

/// What the return of one probe means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Return {
    /// Not back on every filter yet, or not of this stretch.
    Nothing,
    /// Back on every filter: the lane was heard so far.
    Heard(Heard),
    /// A number was missing: the broker dropped something. A new stretch begins.
    Missing,
}

impl Listening {
    pub(super) fn new(lane: Lane, incarnation: Incarnation, filters: usize) -> Self {
        Self { lane, incarnation, back: vec![None; filters], sent_before: None, from: None, complete: None }
    }

    /// A new connection: nothing is proved any more.
    pub(super) fn connection_began(&mut self) {
        *self = Self::new(self.lane, self.incarnation, self.back.len());
    }

    /// Every filter was granted, when this was the newest probe that had been sent. By number: a clock may be set.
    pub(super) fn subscribed(&mut self, newest_sent: u64) {
        self.sent_before = Some(newest_sent);
    }

    /// By how many milliseconds the filter furthest behind is behind the foremost one. They share one session and its order, so more
    /// than a moment means that the broker no longer serves that filter.
    pub(super) fn spread_millis(&self) -> i64 {
        let newest = self.back.iter().flatten().max();
        // A filter that has given none back yet may be as far as what was sent before it was granted.
        let oldest = self.back.iter().filter_map(|back| back.or(self.sent_before)).min();
        let numbers = newest.zip(oldest).map_or(0, |(newest, oldest)| newest.saturating_sub(oldest));
        i64::try_from(numbers).unwrap_or(i64::MAX).saturating_mul(limits::PROBE_MILLIS)
    }

    /// The filters, by their place, whose newest probes are missing: those behind the foremost, all of them where none is ahead. The probes of
    /// one second come one by one, so a single number is no lack.
    pub(super) fn lacking(&self) -> Vec<usize> {
        let newest = self.back.iter().max().copied().flatten();
        let lacks = |back: Option<u64>| newest.is_some_and(|newest| back.or(self.sent_before).unwrap_or(0) + 1 < newest);
        let is_even = !self.back.iter().any(|back| lacks(*back));
        (0..self.back.len()).filter(|filter| is_even || lacks(self.back[*filter])).collect()
    }

    /// A probe of our own came back on a filter.
    pub(super) fn returned(&mut self, filter: usize, probe: &Probe) -> Return {
        let this_run = probe.incarnation == self.incarnation;
        let of_this_connection = self.sent_before.is_some_and(|newest| probe.number > newest);
        if !(this_run && of_this_connection) {
            return Return::Nothing;
        }
        match self.back[filter] {
            Some(newest) if probe.number <= newest => return Return::Nothing,
            Some(newest) if probe.number > newest + 1 => {
                self.begin_anew(filter, probe.number);
                return Return::Missing;
            }
            Some(_) | None => self.back[filter] = Some(probe.number),
        }
        let everywhere = self.back.iter().min().copied().flatten();
        if everywhere != Some(probe.number) || self.complete >= everywhere {
            return Return::Nothing;
        }
        self.complete = everywhere;
        let from = *self.from.get_or_insert(probe.sent_at);
        Return::Heard(Heard { lane: self.lane, from, to: probe.sent_at })
    }

    /// Only probes from this number on count: what came before it is a gap.
    fn begin_anew(&mut self, filter: usize, number: u64) {
        self.from = None;
        for (i, back) in self.back.iter_mut().enumerate() {
            *back = if i == filter { Some(number) } else { back.map(|newest| newest.max(number - 1)) };
        }
        self.complete = Some(number.saturating_sub(1)).filter(|_| self.back.len() > 1).or(Some(number - 1));
    }
}

/// The newest probe of anybody on a connection, by when it was sent: what contact and the ids of messages lean on.
#[derive(Debug, Default)]
pub(super) struct NewestProbe {
    /// And when it came, on the steady clock: its age must not hang on a clock that can be set.
    newest: Option<(ProbeRef, i64)>,
    /// The sending of the one that came by the shortest way, less its coming: behind a queue they come late.
    promptest: Option<i64>,
}

impl NewestProbe {
    /// A probe came, now. One from the future (a wrong clock, or a forger) counts for nothing: what came after it would seem alive
    /// until then. Nor does one of a mirrored ingester whose clock is behind: what came after it would seem older than it is, and its
    /// device nearer to silence; unless no newer one comes any more (a clock was set back).
    pub(super) fn saw(&mut self, probe: ProbeRef, now: Now) {
        let ahead = probe.sent_at.get() > now.wall_millis.saturating_add(limits::CLOCK_FAULT_MILLIS);
        let older = self.newest.as_ref().is_some_and(|(newest, _)| probe.sent_at < newest.sent_at);
        let counts = !(ahead || older && self.is_fresh(now.steady_millis));
        if counts {
            let sent_less_came = probe.sent_at.since(ProbeMillis::new(now.steady_millis));
            self.promptest = self.promptest.max(Some(sent_less_came));
            self.newest = Some((probe, now.steady_millis));
        }
    }

    /// The newest, if there is one on this connection.
    pub(super) fn get(&self) -> Option<&ProbeRef> {
        self.newest.as_ref().map(|(probe, _)| probe)
    }

    /// For how long no probe has come, on the steady clock; none where none has come at all.
    pub(super) fn quiet_millis(&self, steady_millis: i64) -> Option<i64> {
        self.newest.as_ref().map(|(_, at)| steady_millis - at)
    }

    /// For how long after the newest one's sending something comes now that did not wait with it: what the way of the promptest probe says.
    /// Without a probe 0.
    pub(super) fn past_millis(&self, steady_millis: i64) -> i64 {
        let now = self.promptest.map(|sent_less_came| steady_millis.saturating_add(sent_less_came));
        now.zip(self.get()).map_or(0, |(now, newest)| now.saturating_sub(newest.sent_at.get()).max(0))
    }

    /// Whether an id can lean on it: it came less than 5 s ago, on the steady clock.
    pub(super) fn is_fresh(&self, steady_millis: i64) -> bool {
        self.quiet_millis(steady_millis).is_some_and(|quiet| quiet <= limits::PROBE_STALE_MILLIS)
    }
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Milliseconds since the epoch.
    pub(super) wall_millis: i64,
    /// Milliseconds on the clock that nobody sets.
    pub(super) steady_millis: i64,
}

impl Now {
    pub(super) fn read() -> Self {
        Self { wall_millis: clock::wall_millis(), steady_millis: clock::steady_millis() }
    }

    /// By how many milliseconds the wall clock was set since an earlier moment; the two clocks drift apart by far less in a second.
    pub(super) const fn set_by(self, earlier: Self) -> i64 {
        (self.wall_millis - earlier.wall_millis) - (self.steady_millis - earlier.steady_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Incarnation = Incarnation(0xfeed);

    fn probe(number: u64) -> Probe {
        Probe { incarnation: RUN, number, sent_at: ProbeMillis::new(number.cast_signed() * 1_000) }
    }

    /// A moment at which both clocks agree.
    fn at(millis: i64) -> Now {
        Now { wall_millis: millis, steady_millis: millis }
    }

    fn listening(filters: usize) -> Listening {
        let mut listening = Listening::new(Lane::Reports, RUN, filters);
        listening.subscribed(0);
        listening
    }

    fn heard(from: i64, to: i64) -> Return {
        Return::Heard(Heard { lane: Lane::Reports, from: ProbeMillis::new(from), to: ProbeMillis::new(to) })
    }

    #[test]
    fn a_payload_is_read_back_and_anything_else_is_none() {
        assert_eq!(Probe::parse(probe(7).to_string().as_bytes()), Some(probe(7)));
        for other in
            ["", "lonewatch-probe", "lonewatch-probe feed 1 2", "help", "lonewatch-probe 000000000000feed 1 2 3", "\u{7f}"]
        {
            assert_eq!(Probe::parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn one_filter_hears_from_its_first_probe_on() {
        let mut listening = listening(1);
        assert_eq!(listening.returned(0, &probe(5)), heard(5_000, 5_000));
        assert_eq!(listening.returned(0, &probe(6)), heard(5_000, 6_000));
        assert_eq!(listening.returned(0, &probe(6)), Return::Nothing, "a repeat proves nothing new");
    }

    #[test]
    fn a_probe_must_be_back_on_every_filter() {
        let mut listening = listening(2);
        assert_eq!(listening.returned(0, &probe(1)), Return::Nothing);
        assert_eq!(listening.returned(1, &probe(1)), heard(1_000, 1_000));
        assert_eq!(listening.returned(0, &probe(2)), Return::Nothing);
        assert_eq!(listening.returned(0, &probe(3)), Return::Nothing);
        assert_eq!(listening.returned(1, &probe(2)), heard(1_000, 2_000));
        assert_eq!(listening.returned(1, &probe(3)), heard(1_000, 3_000));
    }

    #[test]
    fn a_missing_number_begins_a_new_stretch() {
        let mut listening = listening(1);
        listening.returned(0, &probe(1));
        assert_eq!(listening.returned(0, &probe(3)), Return::Missing);
        assert_eq!(listening.returned(0, &probe(4)), heard(4_000, 4_000));
        assert_eq!(listening.returned(0, &probe(5)), heard(4_000, 5_000));
    }

    #[test]
    fn a_missing_number_on_one_of_two_filters_counts_for_both() {
        let mut listening = listening(2);
        listening.returned(0, &probe(1));
        listening.returned(1, &probe(1));
        assert_eq!(listening.returned(0, &probe(3)), Return::Missing);
        assert_eq!(listening.returned(1, &probe(3)), heard(3_000, 3_000), "what filter 1 held back of number 2 is in the gap");
    }

    #[test]
    fn a_probe_from_the_future_counts_for_nothing() {
        let (mut newest, named) = (NewestProbe::default(), |number| probe(number).named(IngesterName::parse("a").unwrap()));
        newest.saw(named(5), at(3_000));
        assert_eq!(newest.get().map(|probe| probe.number), Some(5), "clocks differ a little");
        newest.saw(named(60), at(6_000));
        assert_eq!(newest.get().map(|probe| probe.number), Some(5));
        assert!(newest.is_fresh(8_000) && !newest.is_fresh(8_001));
    }

    #[test]
    fn a_probe_of_a_clock_that_is_behind_makes_nothing_older() {
        let (mut newest, named) = (NewestProbe::default(), |number| probe(number).named(IngesterName::parse("a").unwrap()));
        newest.saw(named(700), at(700_000));
        let behind = Probe { sent_at: ProbeMillis::new(100_000), ..probe(3) }.named(IngesterName::parse("b").unwrap());
        newest.saw(behind.clone(), at(700_500));
        assert_eq!(newest.get().map(|probe| probe.number), Some(700));
        newest.saw(behind, at(705_001));
        assert_eq!(newest.get().map(|probe| probe.number), Some(3), "no other has come for 5 s");
    }

    #[test]
    fn what_does_not_wait_is_dated_past_the_probes_that_do() {
        let (mut newest, named) = (NewestProbe::default(), |number| probe(number).named(IngesterName::parse("a").unwrap()));
        assert_eq!(newest.past_millis(9), 0, "no probe yet");
        newest.saw(named(700), at(700_020));
        newest.saw(named(701), at(701_005));
        assert_eq!(newest.past_millis(701_505), 500);
        // Kafka stands still, and with it the window of the broker: no probe for 40 s.
        assert_eq!(newest.past_millis(741_005), 40_000);
        // What waited comes through one by one, each 40 s late.
        newest.saw(named(702), at(742_005));
        assert_eq!(newest.past_millis(742_005), 40_000);
        assert_eq!(newest.quiet_millis(742_005), Some(0), "by when the probe came nothing would show");
        newest.saw(named(742), at(742_105));
        assert_eq!(newest.past_millis(742_110), 105);
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_no_old_probe_fresh() {
        let (mut newest, named) = (NewestProbe::default(), |number| probe(number).named(IngesterName::parse("a").unwrap()));
        newest.saw(named(700), at(700_000));
        let later = |seconds: i64| Now { wall_millis: 100_000 + seconds * 1_000, steady_millis: 700_000 + seconds * 1_000 };
        newest.saw(named(101), later(1));
        assert_eq!(newest.get().map(|probe| probe.number), Some(700), "for a moment: it may be a mirror's clock that is behind");
        assert!(!newest.is_fresh(later(6).steady_millis), "ids do not lean on it any more");
        newest.saw(named(106), later(6));
        assert_eq!(newest.get().map(|probe| probe.number), Some(106));
        assert_eq!(later(6).set_by(at(700_000)), -600_000);
    }

    #[test]
    fn a_filter_that_the_broker_no_longer_serves_falls_behind() {
        let mut listening = listening(2);
        for number in 1..=12 {
            listening.returned(0, &probe(number));
            if number <= 2 {
                listening.returned(1, &probe(number));
            }
        }
        assert_eq!((listening.spread_millis(), listening.lacking()), (10_000, vec![1]));
        assert_eq!((self::listening(1).spread_millis(), self::listening(2).lacking()), (0, vec![0, 1]));
    }

    #[test]
    fn a_filter_whose_probe_of_this_second_is_still_to_come_lacks_nothing() {
        let mut listening = listening(3);
        for number in 1..=12 {
            listening.returned(0, &probe(number));
            if number <= 11 {
                listening.returned(2, &probe(number));
            }
        }
        assert_eq!(
            (listening.spread_millis(), listening.lacking()),
            (12_000, vec![1]),
            "the other one came a moment too early to tell"
        );
    }

    #[test]
    fn a_filter_that_has_given_no_probe_back_yet_is_not_behind_by_the_age_of_the_process() {
        let mut listening = Listening::new(Lane::Reports, RUN, 2);
        listening.subscribed(50_000);
        listening.returned(0, &probe(50_001));
        assert_eq!(listening.spread_millis(), 1_000);
        for number in 50_002..=50_010 {
            listening.returned(0, &probe(number));
        }
        assert_eq!(listening.spread_millis(), 10_000, "it is not served at all");
    }

    #[test]
    fn probes_of_the_last_connection_or_run_prove_nothing() {
        let mut listening = Listening::new(Lane::Duress, RUN, 1);
        assert_eq!(listening.returned(0, &probe(1)), Return::Nothing, "not subscribed yet");
        listening.subscribed(2);
        assert_eq!(listening.returned(0, &probe(2)), Return::Nothing);
        let other = Probe { incarnation: Incarnation(1), ..probe(3) };
        assert_eq!(listening.returned(0, &other), Return::Nothing);
        assert!(matches!(listening.returned(0, &probe(3)), Return::Heard(_)));
        listening.connection_began();
        assert_eq!(listening.returned(0, &probe(4)), Return::Nothing);
    }
}
