//! Observed time: how long we provably listened to each feed, and to all feeds of each tenant at once (DESIGN section 6).
//!
//! Invariant: heard time only grows, and never by more than the probes' own time. What was not heard adds nothing, and a gap that
//! was passed is never filled afterwards, so that a replay cannot differ.

use std::collections::{BTreeMap, VecDeque};

use crate::alert::Lane;
use crate::ids::{FeedName, IngesterName, TenantName};
use crate::journal::{Heard, Observation};
use crate::limits;
use crate::rulebook::{Rulebook, Tenant};
use crate::time::{HeardMillis, ProbeMillis};

use super::digest::StateHasher;

/// What we did not hear: from the first time to the second.
type Gap = (ProbeMillis, ProbeMillis);

/// One lane of a feed.
#[derive(Clone, Debug, Default)]
pub(super) struct LaneClock {
    frontier: Option<ProbeMillis>,
    gaps: VecDeque<Gap>,
}

impl LaneClock {
    /// Up to when this lane was heard.
    pub(super) const fn heard_to(&self) -> Option<ProbeMillis> {
        self.frontier
    }

    /// Takes a stretch of listening; true where it moved the frontier.
    fn advance(&mut self, heard: Heard) -> bool {
        match self.frontier {
            Some(frontier) if heard.to <= frontier => return false,
            Some(frontier) if heard.from > frontier => self.remember((frontier, heard.from)),
            Some(_) => {}
            None => self.remember((ProbeMillis::new(i64::MIN), heard.from)),
        }
        self.frontier = Some(heard.to);
        true
    }

    /// Keeps the list bounded: the two oldest gaps become one. Only a tenant that is so many gaps behind on another lane feels it.
    fn remember(&mut self, gap: Gap) {
        self.gaps.push_back(gap);
        if self.gaps.len() > limits::GAPS_REMEMBERED_MAX
            && let (Some(first), Some(second)) = (self.gaps.pop_front(), self.gaps.pop_front())
        {
            self.gaps.push_front((first.0, second.1));
        }
    }
}

/// A stretch of which a tenant did not hear all: one gap, or the oldest gaps joined with what was heard between them.
#[derive(Clone, Copy, Debug)]
struct Missed {
    from: ProbeMillis,
    to: ProbeMillis,
    unheard_millis: i64,
    /// Until when devices may return after it.
    grace_until: HeardMillis,
}

impl Missed {
    /// How much of it, after `at`, was not heard: of joined gaps the even share, so that a device that fell silent among them is
    /// neither forgotten for ever nor lost at once.
    fn unheard_after(&self, at: ProbeMillis) -> i64 {
        if at <= self.from {
            return self.unheard_millis;
        }
        let (left, whole) = (self.to.since(at).max(0), self.to.since(self.from).max(1));
        let share = i128::from(self.unheard_millis) * i128::from(left) / i128::from(whole);
        i64::try_from(share).unwrap_or(i64::MAX)
    }
}

/// All feeds of a tenant at once.
#[derive(Clone, Debug, Default)]
pub(super) struct TenantClock {
    /// Since when every lane was heard at all, and up to when.
    began: ProbeMillis,
    frontier: Option<ProbeMillis>,
    heard: HeardMillis,
    gaps: VecDeque<Missed>,
    /// The grace after the beginning, where what came before it is missing.
    first_grace: HeardMillis,
}

impl TenantClock {
    /// Time heard so far.
    pub(super) const fn heard(&self) -> HeardMillis {
        self.heard
    }

    /// Heard time before which no device's deadline falls.
    pub(super) fn grace_until(&self) -> HeardMillis {
        self.gaps.back().map_or(self.first_grace, |gap| gap.grace_until)
    }

    /// When what waits for a device until `at` falls due: not within the grace after a gap, which postpones it by a bounded time.
    pub(super) fn after_grace(&self, at: HeardMillis) -> HeardMillis {
        at.max(self.grace_until().min(at.plus(limits::POSTPONED_MILLIS_MAX)))
    }

    /// Whether something was not heard after this time, as far as is known.
    pub(super) fn missed_after(&self, at: ProbeMillis) -> bool {
        at < self.began || self.gaps.back().is_some_and(|gap| at < gap.to)
    }

    /// Whether a will of this time tells of our own trouble rather than of its device: it came shortly before a gap, in one, or within
    /// the grace after one. What lies ahead of the frontier is not excused yet; what has once been excused stays so: gaps are only ever
    /// added, or joined to longer ones.
    pub(super) fn excuses_will(&self, at: ProbeMillis) -> bool {
        if self.frontier.is_none_or(|frontier| at > frontier) {
            return false;
        }
        let heard_at = self.heard_at(at);
        let near = |gap: &Missed| {
            let shortly_before = gap.from.plus(-limits::WILL_BEFORE_GAP_MILLIS);
            at >= shortly_before && (at <= gap.to || heard_at < gap.grace_until)
        };
        at <= self.began || heard_at < self.first_grace || self.gaps.iter().any(near)
    }

    /// The heard time that corresponds to a probe's time. What is still ahead of the frontier counts as just now, what lies before
    /// the first listening as its beginning.
    pub(super) fn heard_at(&self, at: ProbeMillis) -> HeardMillis {
        let Some(frontier) = self.frontier.filter(|frontier| at < *frontier) else { return self.heard };
        let at = at.max(self.began);
        let unheard: i64 = self.gaps.iter().map(|gap| gap.unheard_after(at)).fold(0, i64::saturating_add);
        self.heard.plus(unheard.saturating_sub(frontier.since(at)))
    }

    /// Moves on to what all lanes have heard.
    fn advance(&mut self, lanes: &[Option<&LaneClock>], grace_millis: i64, start_is_gap: bool) {
        let Some(to) = common_frontier(lanes) else { return };
        let Some(from) = self.frontier else {
            (self.began, self.frontier) = (to, Some(to));
            if start_is_gap {
                self.first_grace = self.heard.plus(grace_millis);
            }
            return;
        };
        if to <= from {
            return;
        }
        let mut heard_to = from;
        for gap in union_within(lanes.iter().flatten().flat_map(|lane| lane.gaps.iter().copied()), (from, to)) {
            self.heard = self.heard.plus(gap.0.since(heard_to));
            self.remember(gap, self.heard.plus(grace_millis));
            heard_to = gap.1;
        }
        self.heard = self.heard.plus(to.since(heard_to));
        self.frontier = Some(to);
    }

    /// The lanes are others from here on, and heard up to `to`: what the old ones told after the frontier, if anything, nobody knows.
    fn pass_over(&mut self, to: ProbeMillis, grace_millis: i64) {
        if let Some(from) = self.frontier.filter(|from| *from < to) {
            self.remember((from, to), self.heard.plus(grace_millis));
            self.frontier = Some(to);
        }
    }

    /// Keeps the list bounded: the two oldest become one, with what was heard between them.
    fn remember(&mut self, (from, to): Gap, grace_until: HeardMillis) {
        self.gaps.push_back(Missed { from, to, unheard_millis: to.since(from), grace_until });
        if self.gaps.len() > limits::GAPS_REMEMBERED_MAX
            && let (Some(first), Some(second)) = (self.gaps.pop_front(), self.gaps.pop_front())
        {
            let unheard_millis = first.unheard_millis.saturating_add(second.unheard_millis);
            let grace_until = first.grace_until.max(second.grace_until);
            self.gaps.push_front(Missed { from: first.from, to: second.to, unheard_millis, grace_until });
        }
    }
}

/// The gaps, cut to a stretch, in order and without overlap.
fn union_within(gaps: impl Iterator<Item = Gap>, within: Gap) -> Vec<Gap> {
    let mut cut: Vec<Gap> = gaps.map(|gap| (gap.0.max(within.0), gap.1.min(within.1))).filter(|gap| gap.0 < gap.1).collect();
    cut.sort_unstable();
    let mut joined: Vec<Gap> = Vec::new();
    for gap in cut {
        match joined.last_mut() {
            Some(last) if gap.0 <= last.1 => last.1 = last.1.max(gap.1),
            Some(_) | None => joined.push(gap),
        }
    }
    joined
}

/// A tenant's lanes; none for one that was never heard.
fn lanes_of<'a>(lanes: &'a BTreeMap<(FeedName, Lane), LaneClock>, tenant: &Tenant) -> Vec<Option<&'a LaneClock>> {
    let keys = tenant.feeds.iter().flat_map(|feed| Lane::ALL.map(|lane| (feed.clone(), lane)));
    keys.map(|key| lanes.get(&key)).collect()
}

/// Up to when all of these lanes were heard; none where one never was.
fn common_frontier(lanes: &[Option<&LaneClock>]) -> Option<ProbeMillis> {
    lanes.iter().map(|lane| lane.and_then(LaneClock::heard_to)).min().flatten()
}

/// Every clock of a partition that listening drives.
#[derive(Clone, Debug)]
pub(super) struct Clocks {
    lanes: BTreeMap<(FeedName, Lane), LaneClock>,
    /// Up to when each ingester by itself heard each lane.
    ears: BTreeMap<(FeedName, Lane, IngesterName), ProbeMillis>,
    tenants: BTreeMap<TenantName, TenantClock>,
    start_is_gap: bool,
    silent: TenantClock,
}

impl Clocks {
    /// Clocks at the start of a journal; `start_is_gap` where the journal's own start is gone.
    pub(super) fn new(start_is_gap: bool) -> Self {
        Self {
            lanes: BTreeMap::new(),
            ears: BTreeMap::new(),
            tenants: BTreeMap::new(),
            start_is_gap,
            silent: TenantClock::default(),
        }
    }

    /// Takes a new rulebook: the clock of a tenant that is gone would stand still and then leap, and so would that of one whose deaf feed
    /// leaves it.
    pub(super) fn install(&mut self, before: &Rulebook, rulebook: &Rulebook) {
        self.tenants.retain(|name, _| rulebook.tenant(name).is_some());
        for tenant in rulebook.tenants() {
            if before.tenant(&tenant.name).is_some_and(|known| known.feeds != tenant.feeds) {
                self.change_feeds(tenant);
            }
        }
    }

    fn change_feeds(&mut self, tenant: &Tenant) {
        let heard_to = common_frontier(&lanes_of(&self.lanes, tenant));
        if let (Some(clock), Some(to)) = (self.tenants.get_mut(&tenant.name), heard_to) {
            clock.pass_over(to, tenant.reconnect_grace_millis);
        }
    }

    /// Takes what an ingester heard of a feed.
    pub(super) fn observe(&mut self, observation: &Observation, rulebook: &Rulebook) {
        let Observation { feed, ingester, heard, .. } = observation;
        let mut moved = false;
        // A stretch of no length adds nothing, and a lone first probe must not pass over what a mirrored ingester is about to say.
        for stretch in heard.iter().filter(|stretch| stretch.from < stretch.to) {
            moved |= self.lanes.entry((feed.clone(), stretch.lane)).or_default().advance(*stretch);
            self.note_ear((feed.clone(), stretch.lane, ingester.clone()), stretch.to);
        }
        if moved {
            for tenant in rulebook.tenants().filter(|tenant| tenant.feeds.contains(feed)) {
                self.advance_tenant(tenant);
            }
        }
    }

    /// Keeps the table bounded: whoever was last heard longest ago is forgotten, and its next backlog is no contact.
    fn note_ear(&mut self, ear: (FeedName, Lane, IngesterName), to: ProbeMillis) {
        if self.ears.len() >= limits::EARS_REMEMBERED_MAX && !self.ears.contains_key(&ear) {
            let oldest = self.ears.iter().min_by_key(|(_, to)| **to).map(|(ear, _)| ear.clone());
            oldest.and_then(|ear| self.ears.remove(&ear));
        }
        let known = self.ears.entry(ear).or_insert(to);
        *known = (*known).max(to);
    }

    fn advance_tenant(&mut self, tenant: &Tenant) {
        let lanes = lanes_of(&self.lanes, tenant);
        let clock = self.tenants.entry(tenant.name.clone()).or_default();
        clock.advance(&lanes, tenant.reconnect_grace_millis, self.start_is_gap);
    }

    /// The clock of a tenant; one that has not begun where none of its feeds was heard.
    pub(super) fn tenant(&self, tenant: &TenantName) -> &TenantClock {
        self.tenants.get(tenant).unwrap_or(&self.silent)
    }

    /// Up to when a lane of a feed was heard.
    pub(super) fn heard_to(&self, feed: &FeedName, lane: Lane) -> Option<ProbeMillis> {
        self.lanes.get(&(feed.clone(), lane)).and_then(LaneClock::heard_to)
    }

    /// Up to when one ingester by itself heard a lane of a feed.
    pub(super) fn heard_by(&self, feed: &FeedName, lane: Lane, ingester: &IngesterName) -> Option<ProbeMillis> {
        self.ears.get(&(feed.clone(), lane, ingester.clone())).copied()
    }

    /// Every lane that was ever heard, in order.
    pub(super) fn lanes(&self) -> impl Iterator<Item = (&FeedName, Lane, &LaneClock)> {
        self.lanes.iter().map(|((feed, lane), clock)| (feed, *lane, clock))
    }

    pub(super) fn digest(&self, hash: &mut StateHasher) {
        hash.count(usize::from(self.start_is_gap)).count(self.lanes.len());
        for ((feed, lane), clock) in &self.lanes {
            hash.text(feed.as_str()).text(lane.as_str()).option(clock.frontier.map(ProbeMillis::get)).count(clock.gaps.len());
            for gap in &clock.gaps {
                hash.int(gap.0.get()).int(gap.1.get());
            }
        }
        hash.count(self.ears.len());
        for ((feed, lane, ingester), to) in &self.ears {
            hash.text(feed.as_str()).text(lane.as_str()).text(ingester.as_str()).int(to.get());
        }
        hash.count(self.tenants.len());
        for (tenant, clock) in &self.tenants {
            hash.text(tenant.as_str()).int(clock.began.get()).option(clock.frontier.map(ProbeMillis::get));
            hash.int(clock.heard.get()).int(clock.first_grace.get()).count(clock.gaps.len());
            for gap in &clock.gaps {
                hash.int(gap.from.get()).int(gap.to.get()).int(gap.unheard_millis).int(gap.grace_until.get());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(from: i64, to: i64) -> Heard {
        Heard { lane: Lane::Reports, from: ProbeMillis::new(from), to: ProbeMillis::new(to) }
    }

    /// Feeds the stretches to one lane and a tenant of that lane alone; gives heard time and grace.
    fn check(stretches: &[(i64, i64)], expected_heard: i64, expected_grace: i64) -> TenantClock {
        let (mut lane, mut tenant) = (LaneClock::default(), TenantClock::default());
        for (from, to) in stretches {
            lane.advance(heard(*from, *to));
            tenant.advance(&[Some(&lane)], 300, false);
        }
        assert_eq!((tenant.heard.get(), tenant.grace_until().get()), (expected_heard, expected_grace), "{stretches:?}");
        tenant
    }

    #[test]
    fn listening_adds_up_and_overlap_counts_once() {
        check(&[(100, 110), (100, 120)], 10, 0);
        check(&[(100, 110), (105, 120), (90, 115)], 10, 0);
    }

    #[test]
    fn a_gap_adds_no_time_begins_a_grace_and_is_never_filled() {
        check(&[(100, 110), (150, 160)], 10, 300);
        check(&[(100, 110), (150, 160), (100, 160), (100, 161)], 11, 300);
    }

    #[test]
    fn two_mirrored_ingesters_cover_for_each_other() {
        check(&[(100, 110), (100, 111), (100, 120), (119, 121), (119, 130)], 20, 0);
    }

    #[test]
    fn probe_time_maps_to_heard_time_around_gaps() {
        let clock = check(&[(100, 110), (110, 120), (150, 160)], 20, 310);
        for (at, expected) in [(160, 20), (170, 20), (155, 15), (150, 10), (130, 10), (120, 10), (115, 5), (110, 0)] {
            assert_eq!(clock.heard_at(ProbeMillis::new(at)).get(), expected, "{at}");
        }
    }

    #[test]
    fn a_will_is_excused_from_shortly_before_a_gap_to_its_graces_end() {
        let (second, minute) = (1_000, 60_000);
        let stretches = [(-1, 0), (-1, 20 * minute), (23 * minute, 40 * minute)];
        let clock = check(&stretches, 37 * minute, 20 * minute + 300);
        let gap = (20 * minute, 23 * minute);
        for (at, excused) in [
            (0, true),
            (second, false),
            (gap.0 - 31 * second, false),
            (gap.0 - 30 * second, true),
            (gap.0, true),
            (gap.0 + minute, true),
            (gap.1, true),
            (gap.1 + 299, true),
            (gap.1 + 300, false),
            (30 * minute, false),
        ] {
            assert_eq!(clock.excuses_will(ProbeMillis::new(at)), excused, "{at}");
        }
    }

    #[test]
    fn a_will_among_joined_gaps_is_excused_however_many_more_come() {
        let (mut lane, mut tenant) = (LaneClock::default(), TenantClock::default());
        let (every, will) = (100_000, ProbeMillis::new(260_000));
        for i in 0..200 {
            lane.advance(heard(i * every, (i + 1) * every - 1_000));
            // No grace from the fifth gap on: what the first excused is so for good.
            tenant.advance(&[Some(&lane)], if i < 5 { 300_000 } else { 0 }, false);
            assert!(i < 3 || tenant.excuses_will(will), "{i}");
        }
        assert_eq!(tenant.gaps.len(), limits::GAPS_REMEMBERED_MAX);
        assert!(!tenant.excuses_will(ProbeMillis::new(199 * every + 2_000)));
    }

    #[test]
    fn all_lanes_must_be_heard() {
        let (mut one, mut two, mut tenant) = (LaneClock::default(), LaneClock::default(), TenantClock::default());
        one.advance(heard(100, 200));
        tenant.advance(&[Some(&one), Some(&two)], 300, false);
        assert_eq!(tenant.frontier, None);
        two.advance(heard(120, 150));
        tenant.advance(&[Some(&one), Some(&two)], 300, false);
        two.advance(heard(170, 220));
        one.advance(heard(200, 220));
        tenant.advance(&[Some(&one), Some(&two)], 300, false);
        assert_eq!(tenant.heard.get(), 50, "150 to 220 less the gap of 20 on one lane");
    }

    #[test]
    fn a_start_that_is_gone_counts_as_a_gap() {
        let (mut lane, mut tenant) = (LaneClock::default(), TenantClock::default());
        lane.advance(heard(100, 110));
        tenant.advance(&[Some(&lane)], 300, true);
        assert_eq!(tenant.grace_until().get(), 300);
    }

    #[test]
    fn what_each_ingester_heard_is_bounded_and_the_oldest_is_forgotten() {
        let mut clocks = Clocks::new(false);
        let ear = |n: usize| (FeedName::parse("main").unwrap(), Lane::Reports, IngesterName::parse(&format!("i-{n}")).unwrap());
        for n in 0..=limits::EARS_REMEMBERED_MAX {
            clocks.note_ear(ear(n), ProbeMillis::new(i64::try_from(n).unwrap()));
        }
        let (feed, lane, first) = ear(0);
        assert_eq!((clocks.ears.len(), clocks.heard_by(&feed, lane, &first)), (limits::EARS_REMEMBERED_MAX, None));
        let (feed, lane, second) = ear(1);
        clocks.note_ear(ear(1), ProbeMillis::new(0));
        assert_eq!(clocks.heard_by(&feed, lane, &second), Some(ProbeMillis::new(1)), "never back");
    }

    #[test]
    fn gaps_are_bounded() {
        let mut lane = LaneClock::default();
        for i in 0..1_000 {
            lane.advance(heard(i * 10, i * 10 + 5));
        }
        assert_eq!(lane.gaps.len(), limits::GAPS_REMEMBERED_MAX);
    }
}
