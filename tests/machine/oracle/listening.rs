//! What was heard: plain lists of stretches, measured against each other.

use std::sync::Arc;

use lonewatch::alert::{Kind, Lane};
use lonewatch::ids::{FeedName, TenantName};
use lonewatch::journal::{IngestFault, Observation};

use super::{Era, Oracle, Reach};
use crate::generate::Journal;

impl Oracle {
    pub(super) fn observation(&mut self, journal: &Journal, appended: i64, observation: &Observation) {
        if observation.rulebook_version > self.book.version() {
            let book = journal.books.iter().find(|book| book.version() == observation.rulebook_version);
            self.install(Arc::clone(book.expect("a version of the journal")));
        }
        let ahead = observation.heard.iter().any(|heard| heard.to.get() > appended + 2_000);
        for fault in observation.faults.iter().copied().chain(ahead.then_some(IngestFault::Clock)) {
            let kind = if fault == IngestFault::Clock { Kind::ClockFault } else { Kind::IngestFault };
            let who = format!("{}/{}", observation.feed, observation.ingester);
            self.faults.push((appended, self.record, (kind, who)));
        }
        if ahead {
            return;
        }
        for heard in &observation.heard {
            let (from, to) = (heard.from.get(), heard.to.get());
            if from < to {
                self.ears.push((observation.feed.clone(), heard.lane, observation.ingester.clone(), to));
            }
            let stretches = self.heard.entry((observation.feed.clone(), heard.lane)).or_default();
            match stretches.last_mut() {
                _ if from >= to => {}
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                Some(last) if to <= last.1 => {}
                Some(_) | None => stretches.push((from, to)),
            }
        }
        let tenants: Vec<_> = self.book.tenants().filter(|tenant| tenant.feeds.contains(&observation.feed)).cloned().collect();
        for tenant in tenants {
            let Some(frontier) = self.common(&tenant.feeds) else { continue };
            self.eras
                .entry(tenant.name.clone())
                .or_insert_with(|| vec![Era { begin: frontier, end: None, feeds: tenant.feeds.clone() }]);
            let reach = self.reach.entry(tenant.name.clone()).or_insert(Reach { began: frontier, frontier });
            reach.frontier = reach.frontier.max(frontier);
        }
        self.measure();
    }

    pub(super) fn measure(&mut self) {
        let tenants: Vec<TenantName> = self.reach.keys().cloned().collect();
        self.pieces = tenants.into_iter().map(|tenant| (tenant.clone(), self.heard_by_all(&tenant))).collect();
    }

    fn lanes(&self, feeds: &[FeedName]) -> Vec<Vec<(i64, i64)>> {
        let keys = feeds.iter().flat_map(|feed| Lane::ALL.map(|lane| (feed.clone(), lane)));
        keys.map(|key| self.heard.get(&key).cloned().unwrap_or_default()).collect()
    }

    /// Up to when all lanes of these feeds were heard.
    fn common(&self, feeds: &[FeedName]) -> Option<i64> {
        self.lanes(feeds).iter().map(|lane| lane.last().map(|last| last.1)).min().flatten()
    }

    /// The stretches that every lane of the tenant heard, within its reach, cut at every border. By the feeds that it had at the time.
    fn heard_by_all(&self, tenant: &TenantName) -> Vec<(i64, i64)> {
        let Some(reach) = self.reach.get(tenant) else { return Vec::new() };
        let mut pieces = Vec::new();
        for Era { begin, end, feeds } in self.eras.get(tenant).into_iter().flatten() {
            let end = end.unwrap_or(reach.frontier);
            let lanes = self.lanes(feeds);
            let mut borders: Vec<i64> = lanes.iter().flatten().flat_map(|stretch| [stretch.0, stretch.1]).collect();
            borders.extend([*begin, end]);
            borders.retain(|at| at >= begin && *at <= end);
            borders.sort_unstable();
            borders.dedup();
            let heard = |piece: &(i64, i64)| lanes.iter().all(|lane| lane.iter().any(|it| it.0 <= piece.0 && it.1 >= piece.1));
            pieces.extend(borders.windows(2).map(|pair| (pair[0], pair[1])).filter(heard));
        }
        pieces
    }

    /// A tenant has other feeds from now on: what those heard beyond the tenant's reach, nobody knows of the old ones.
    pub(super) fn change_feeds(&mut self, tenant: &TenantName, feeds: &[FeedName]) {
        let common = self.common(feeds);
        let (Some(reach), Some(eras)) = (self.reach.get_mut(tenant), self.eras.get_mut(tenant)) else { return };
        let last = eras.last_mut().expect("an era began with the reach");
        if last.feeds == feeds {
            return;
        }
        last.end = Some(reach.frontier);
        reach.frontier = reach.frontier.max(common.unwrap_or(reach.frontier));
        eras.push(Era { begin: reach.frontier, end: None, feeds: feeds.to_vec() });
    }

    pub(super) fn heard_since(&self, tenant: &TenantName, at: i64) -> i64 {
        self.pieces.get(tenant).into_iter().flatten().map(|(from, to)| (to - from.max(&at)).max(0)).sum()
    }

    /// How long was heard since the last gap ended; none where there was no gap.
    pub(super) fn heard_since_gap(&self, tenant: &TenantName) -> Option<i64> {
        Some(self.reach.get(tenant)?.frontier - self.last_gap_end(tenant)?)
    }

    /// When the last time that was not heard ended.
    pub(super) fn last_gap_end(&self, tenant: &TenantName) -> Option<i64> {
        let reach = self.reach.get(tenant)?;
        let mut start = reach.frontier;
        for (from, to) in self.pieces.get(tenant)?.iter().rev() {
            if *to != start {
                break;
            }
            start = *from;
        }
        (start > reach.began).then_some(start)
    }
}
