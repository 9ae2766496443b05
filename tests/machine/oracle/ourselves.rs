//! What is the matter with ourselves: lanes that nobody hears, and ingesters with a fault.

use std::collections::{BTreeMap, BTreeSet};

use lonewatch::alert::{Alert, Kind, Lane};
use lonewatch::ids::FeedName;

use super::{BLIND, FAULT_OVER, Open, Oracle};

impl Oracle {
    /// Blind feeds: since when, and which lanes.
    fn blind(&self) -> Vec<(Kind, FeedName, String, i64, Vec<&'static str>)> {
        let mut blind = Vec::new();
        for (feed, since) in self.feeds.iter().filter(|(feed, _)| self.book.feed(feed).is_some()) {
            let reached = |lane: Lane| {
                let heard = self.heard.get(&(feed.clone(), lane)).and_then(|lane| lane.last()).map_or(i64::MIN, |last| last.1);
                heard.max(*since)
            };
            let own = self.appended.0;
            let time = |reached: i64| if self.now - own > 2_000 && reached <= own + 2_000 { own } else { self.now };
            let deaf: Vec<Lane> = Lane::ALL.into_iter().filter(|lane| time(reached(*lane)) - reached(*lane) >= BLIND).collect();
            let Some(began) = deaf.iter().map(|lane| reached(*lane)).min() else { continue };
            blind.push((Kind::Blind, feed.clone(), feed.to_string(), began, deaf.iter().map(|lane| lane.as_str()).collect()));
        }
        blind
    }

    /// Faults of ingesters that are not over: the first record of each unbroken row of them.
    fn faulty(&self) -> Vec<(Kind, FeedName, String, i64, Vec<&'static str>)> {
        let all: BTreeSet<&(Kind, String)> = self.faults.iter().map(|(_, _, what)| what).collect();
        let mut faulty = Vec::new();
        for what in all {
            let mut began = None;
            let shown: Vec<_> = self.faults.iter().filter(|(_, _, it)| it == what).collect();
            for (place, (at, record, _)) in shown.iter().enumerate() {
                began = began.or(Some(*at));
                let until = shown.get(place + 1).map_or(usize::MAX, |(_, next, _)| *next);
                if self.quiet(*record, until) >= FAULT_OVER {
                    began = None;
                }
            }
            let feed = FeedName::parse(what.1.split('/').next().expect("a feed")).expect("a name");
            faulty.extend(began.map(|began| (what.0, feed, what.1.clone(), began, Vec::new())));
        }
        faulty
    }

    /// How much time passed between two records, no second crossing counted for more than 2 s. A record comes after the crossing that it makes.
    fn quiet(&self, after: usize, until: usize) -> i64 {
        let crossings = self.seconds.windows(2).filter(|pair| pair[1].1 > after && pair[1].1 <= until);
        crossings.map(|pair| (pair[1].0 - pair[0].0).clamp(0, 2_000)).sum()
    }

    pub(super) fn judge_ourselves(&mut self) {
        // No feed is known since a time to come.
        let (own, now) = (self.appended.0, self.now);
        self.feeds.values_mut().filter(|since| **since == now && now > own + 2_000).for_each(|since| *since = own);
        let mut wanted = BTreeMap::new();
        for (kind, feed, who, began, notes) in self.blind().into_iter().chain(self.faulty()) {
            let Some(entry) = self.book.feed(&feed) else { continue };
            let tenants = || entry.tenants.iter().filter_map(|tenant| self.book.tenant(tenant));
            let mut centres: BTreeSet<String> = tenants().map(|tenant| tenant.centre.to_string()).collect();
            centres.insert(entry.fallback_centre.to_string());
            for centre in centres {
                let here = tenants().filter(|tenant| tenant.centre.as_str() == centre).map(|tenant| tenant.name.as_str());
                let of = format!("{who} of {}", here.collect::<Vec<_>>().join("+"));
                let id = Alert::id_of(None, kind, &format!("{who}/{centre}"), None, Some(began));
                let open = Open { id, kind, who: of, centre: centre.clone(), late: None, certain: None, notes: notes.clone() };
                wanted.insert((kind, who.clone(), centre), open);
            }
        }
        for (key, open) in self.troubles.clone() {
            if !wanted.contains_key(&key) {
                self.say(&open, true);
                self.troubles.remove(&key);
            }
        }
        for (key, want) in wanted {
            match self.troubles.get(&key).cloned() {
                Some(open) if open.notes == want.notes && open.who == want.who => {}
                Some(open) => {
                    let open = Open { notes: want.notes, who: want.who, ..open };
                    self.say(&open, false);
                    self.troubles.insert(key, open);
                }
                None => {
                    self.say(&want, false);
                    self.troubles.insert(key, want);
                }
            }
        }
    }
}
