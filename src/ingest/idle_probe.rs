//! A probe that proves nothing: `check` sends it on the way of an ingester's probes, and every lane passes over it.
//!
//! On a duress filter whatever is no probe is a press, so what checks that way must be one. This one is of another incarnation, so it
//! proves no listening; and it is from the end of time, so that it becomes nobody's newest probe and dates no contact.

use super::probe::Probe;
use crate::ids::Incarnation;
use crate::time::ProbeMillis;

/// The payload. `nonce` tells one run from another; no incarnation of an ingester has drawn it.
pub fn idle_probe(nonce: u64) -> Vec<u8> {
    let probe = Probe { incarnation: Incarnation(nonce), number: 0, sent_at: ProbeMillis::new(i64::MAX) };
    probe.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::probe::{Listening, NewestProbe, Now, Return};
    use super::*;
    use crate::alert::Lane;
    use crate::ids::IngesterName;

    #[test]
    fn every_lane_passes_over_it() {
        let probe = Probe::parse(&idle_probe(7)).unwrap();
        let mut listening = Listening::new(Lane::Duress, Incarnation(1), 1);
        listening.subscribed(0);
        assert_eq!(listening.returned(0, &probe), Return::Nothing);
        let own = |number| Probe { incarnation: Incarnation(1), number, sent_at: ProbeMillis::new(1_000) };
        assert!(matches!(listening.returned(0, &own(1)), Return::Heard(_)));
        listening.returned(0, &probe);
        assert!(matches!(listening.returned(0, &own(2)), Return::Heard(_)), "no number is missing");
        let mut newest = NewestProbe::default();
        let now = Now { wall_millis: 1_790_000_000_000, steady_millis: 0 };
        newest.saw(probe.named(IngesterName::parse("a").unwrap()), now);
        assert!(newest.get().is_none());
    }
}
