//! What waits for Kafka is bounded by its bytes, not only by its number.

use super::tests::{kafka, parts};
use super::*;
use crate::kafka::RefusedReason;
use crate::shutdown::Shutdown;

fn press(payload: &[u8]) -> Publish {
    Publish::new("lw/v1/dev-1/duress", QoS::AtLeastOnce, payload.to_vec(), None)
}

/// Sent by one device, they took 720 MB before the count of records stopped the lane.
#[test]
fn large_presses_stop_a_lane_long_before_they_are_many() {
    let (mock, ending) = (kafka(), Shutdown::new().1);
    mock.broker_down(1).unwrap();
    let mut lane = LaneTask::new(parts(&mock.bootstrap_servers(), 1, &Health::default(), ending));
    let mut ring = AckRing::new(0);
    // Longer than is kept; as long as it is hashed in no time.
    let junk = vec![b'7'; limits::QUARANTINE_BYTES_MAX + 1];
    while lane.reads(&ring) {
        lane.message(press(&junk), &mut ring);
        assert!(ring.len() < 3_000, "each with 8 KiB that are kept, and 16 KiB in quarantine");
    }
    assert!(lane.kept_bytes <= limits::MESSAGES_WAITING_BYTES_MAX + limits::QUARANTINE_BYTES_MAX + 100);
    assert!(ring.len() > 1_000, "one device's junk does not stop the others at once");
}

/// While the first message of a lane waits for a partition without a leader, thousands behind it are stored.
#[test]
fn what_is_stored_keeps_no_bytes_while_it_waits_for_its_turn() {
    let (mock, ending) = (kafka(), Shutdown::new().1);
    let mut lane = LaneTask::new(parts(&mock.bootstrap_servers(), 1, &Health::default(), ending));
    let mut ring = AckRing::new(0);
    lane.message(press(b"{}"), &mut ring);
    let first = lane.kept_bytes;
    assert_eq!(first, "lw/v1/dev-1/duress{}".len());
    lane.message(press(&vec![b'7'; 65_000]), &mut ring);
    assert_eq!(lane.kept_bytes - first, "lw/v1/dev-1/duress".len() + limits::QUARANTINE_BYTES_MAX);
    for topic in ["lonewatch.alerts.north", "lonewatch.journal", "lonewatch.quarantine"] {
        ring.done(Ticket(1), topic);
    }
    let journal: Arc<str> = Arc::from("lonewatch.journal");
    lane.settled(Ticket(1), &journal, Outcome::Stored, &mut ring);
    assert_eq!((lane.kept_bytes, ring.len()), (first, 2));
    lane.settled(Ticket(0), &journal, Outcome::Refused(RefusedReason::TooLarge), &mut ring);
    assert_eq!(lane.kept_bytes, first, "its alert and its quarantine are awaited");
}
