//! Presses of one device that belong together, counted.

use std::collections::VecDeque;

use crate::alert::Episode;
use crate::ids::AlertId;
use crate::limits;
use crate::time::AppendMillis;

use super::digest::StateHasher;

/// Presses of one device that belong together.
#[derive(Clone, Debug)]
pub(super) struct EpisodeState {
    first: AlertId,
    presses: u32,
    /// When its last presses reached the journal: the last [`limits::FOLD_PRESSES`] of them.
    recent: VecDeque<AppendMillis>,
}

impl EpisodeState {
    /// Counts one more press, in this episode or as the first of the next.
    pub(super) fn count(episode: &mut Option<Self>, alert: AlertId, now: AppendMillis) -> Episode {
        let open =
            episode.take().filter(|open| open.recent.back().is_some_and(|last| now.since(*last) <= limits::EPISODE_MILLIS));
        let mut state = open.unwrap_or(Self { first: alert, presses: 0, recent: VecDeque::new() });
        let many = state.recent.len() == limits::FOLD_PRESSES as usize;
        let folded = many && state.recent.front().is_some_and(|oldest| now.since(*oldest) <= limits::FOLD_MILLIS);
        if many {
            state.recent.pop_front();
        }
        state.recent.push_back(now);
        state.presses = state.presses.saturating_add(1);
        let counted = Episode { first: state.first, press: state.presses, folded };
        *episode = Some(state);
        counted
    }

    pub(super) fn digest(&self, hash: &mut StateHasher) {
        hash.bytes(&self.first.0).int(self.presses.into()).count(self.recent.len());
        for at in &self.recent {
            hash.int(at.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{MINUTE_MILLIS, SECOND_MILLIS};

    fn count(episode: &mut Option<EpisodeState>, n: u8, at: i64) -> Episode {
        EpisodeState::count(episode, AlertId([n; 16]), AppendMillis::new(at))
    }

    #[test]
    fn presses_close_together_are_one_episode() {
        let mut episode = None;
        assert_eq!(count(&mut episode, 1, 0), Episode { first: AlertId([1; 16]), press: 1, folded: false });
        assert_eq!(count(&mut episode, 2, 9 * MINUTE_MILLIS), Episode { first: AlertId([1; 16]), press: 2, folded: false });
        assert_eq!(count(&mut episode, 3, 20 * MINUTE_MILLIS), Episode { first: AlertId([3; 16]), press: 1, folded: false });
    }

    #[test]
    fn past_twenty_presses_in_ten_seconds_further_ones_are_folded() {
        let mut episode = None;
        for n in 1..=25 {
            let counted = count(&mut episode, n, i64::from(n) * 100);
            assert_eq!((counted.press, counted.folded), (n.into(), n > 20));
        }
        assert!(!count(&mut episode, 26, 60 * SECOND_MILLIS).folded);
    }
}
