//! The writer against the mock cluster, and its queues by themselves.

use std::time::Instant;

use rdkafka::types::{RDKafkaApiKey, RDKafkaErrorCode as Code, RDKafkaRespErr};

use super::queue::{Queues, Verdict, verdict};
use super::*;
use crate::kafka::relay::Relay;
use crate::kafka::{StartAt, TailItem, TopicTail};

const WITHIN: Duration = Duration::from_secs(20);

fn mock() -> (crate::kafka::MockKafka, Cluster) {
    let mock = crate::kafka::mock(1);
    mock.create_topic("t", 3, 1).unwrap();
    let cluster = Cluster::embedded(&mock.bootstrap_servers());
    (mock, cluster)
}

fn open(cluster: &Cluster) -> (Writer, Deliveries) {
    Writer::open(cluster, "test", Urgency::Duress, PartitionCount::new(3).unwrap()).unwrap()
}

fn outgoing(topic: &str, partition: u32, payload: &[u8]) -> Outgoing {
    Outgoing {
        topic: Arc::from(topic),
        partition: Some(Partition(partition)),
        key: "dev-1".into(),
        payload: payload.to_vec(),
        keep: Keep::WhileRoom,
    }
}

/// What the topic holds, per partition in order.
fn stored(cluster: &Cluster) -> Vec<Vec<String>> {
    let mut tail = TopicTail::open(cluster, "t", StartAt::Beginning, WITHIN).unwrap();
    let mut found = vec![Vec::new(); 3];
    while !tail.has_caught_up() {
        if let TailItem::Record { partition, payload, .. } = tail.poll(WITHIN) {
            found[partition as usize].push(String::from_utf8(payload.unwrap()).unwrap());
        }
    }
    found
}

fn wait_until(condition: impl Fn() -> bool) {
    let began = start();
    while !condition() {
        assert!(start() - began < WITHIN);
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

fn drain(deliveries: &mut Deliveries) -> Vec<Delivery> {
    std::iter::from_fn(|| deliveries.try_next()).collect()
}

#[test]
fn records_are_stored_in_order_and_answered_for() {
    let (_mock, cluster) = mock();
    let (writer, mut deliveries) = open(&cluster);
    for n in 0..300_u64 {
        writer.write(Ticket(n), outgoing("t", (n % 3) as u32, n.to_string().as_bytes()));
    }
    assert!(writer.flush(WITHIN));
    assert_eq!((writer.pending(), writer.silent_for(), writer.trouble()), (0, None, None));
    assert_eq!(writer.clock_off(), 0, "the embedded broker's time is none");
    let mut answered = drain(&mut deliveries);
    answered.sort_by_key(|delivery| delivery.ticket);
    assert_eq!(answered.len(), 300);
    assert!(answered.iter().all(|delivery| delivery.outcome == Outcome::Stored));
    for (partition, records) in stored(&cluster).iter().enumerate() {
        let expected: Vec<_> = (0..100).map(|n| (3 * n + partition).to_string()).collect();
        assert_eq!(records, &expected);
    }
}

#[test]
fn the_partition_is_that_of_the_key_unless_given() {
    let (_mock, cluster) = mock();
    let (writer, _deliveries) = open(&cluster);
    writer.write(Ticket(1), Outgoing { partition: None, ..outgoing("t", 0, b"x") });
    assert!(writer.flush(WITHIN));
    let home = PartitionCount::new(3).unwrap().of("dev-1");
    assert_eq!(stored(&cluster)[home.0 as usize], ["x"]);
}

#[test]
fn brokers_that_fail_for_a_while_cost_neither_a_record_nor_the_order() {
    let (mock, cluster) = mock();
    let (writer, mut deliveries) = open(&cluster);
    let passing = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    ];
    mock.request_errors(RDKafkaApiKey::Produce, &passing);
    for n in 0..50 {
        writer.write(Ticket(n), outgoing("t", 1, n.to_string().as_bytes()));
    }
    assert!(writer.flush(WITHIN));
    assert!(drain(&mut deliveries).iter().all(|delivery| delivery.outcome == Outcome::Stored));
    assert_eq!(stored(&cluster)[1], (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_spent_producer_is_replaced_and_what_is_unacknowledged_goes_out_again() {
    let (mock, cluster) = mock();
    let (writer, mut deliveries) = open(&cluster);
    writer.write(Ticket(0), outgoing("t", 1, b"0"));
    assert!(writer.flush(WITHIN));
    mock.broker_down(1).unwrap();
    for n in 1..5 {
        writer.write(Ticket(n), outgoing("t", 1, n.to_string().as_bytes()));
    }
    writer.shared.spend();
    wait_until(|| writer.shared.generation() == 1);
    mock.broker_up(1).unwrap();
    assert!(writer.flush(WITHIN));
    assert_eq!(drain(&mut deliveries).len(), 5);
    // The spent producer may have had its last word before it was dropped: what it holds is stored at least once.
    let once = ["0", "1", "2", "3", "4"];
    let stored = &stored(&cluster)[1];
    assert!(*stored == once || *stored == [&once[..], &once[1..]].concat(), "{stored:?}");
}

/// A press that was written while the producer was spent waited for the old one's burial, and then for a turn of the new one.
#[test]
fn a_new_producer_sends_at_once_what_was_written_meanwhile() {
    let (mock, cluster) = mock();
    let (writer, mut deliveries) = open(&cluster);
    writer.write(Ticket(0), outgoing("t", 1, b"0"));
    assert!(writer.flush(WITHIN));
    mock.broker_down(1).unwrap();
    writer.shared.spend();
    writer.write(Ticket(1), outgoing("t", 1, b"1"));
    assert_eq!(writer.shared.under_way(), 0, "nothing is given to a spent one");
    wait_until(|| writer.shared.generation() == 1);
    assert_eq!(writer.shared.under_way(), 1);
    mock.broker_up(1).unwrap();
    assert!(writer.flush(WITHIN));
    assert_eq!(drain(&mut deliveries).len(), 2);
    assert_eq!(stored(&cluster)[1], ["0", "1"]);
}

#[test]
fn a_record_too_large_is_refused_and_the_others_pass() {
    let (_mock, cluster) = mock();
    let (writer, mut deliveries) = open(&cluster);
    writer.write(Ticket(1), outgoing("t", 0, b"before"));
    writer.write(Ticket(2), outgoing("t", 0, &vec![0; 2_000_000]));
    writer.write(Ticket(3), outgoing("t", 0, b"after"));
    assert!(writer.flush(WITHIN));
    let mut answered = drain(&mut deliveries);
    answered.sort_by_key(|delivery| delivery.ticket);
    let outcomes: Vec<_> = answered.iter().map(|delivery| delivery.outcome).collect();
    assert_eq!(outcomes, [Outcome::Stored, Outcome::Refused(RefusedReason::TooLarge), Outcome::Stored]);
    assert_eq!(stored(&cluster)[0], ["before", "after"]);
}

#[test]
fn room_is_what_the_caller_has_not_taken_yet() {
    let (_mock, cluster) = mock();
    let (writer, mut deliveries) = open(&cluster);
    for n in 0..limits::WRITER_PENDING_MAX as u64 {
        writer.write(Ticket(n), outgoing("t", 0, b"x"));
    }
    assert!(writer.flush(WITHIN));
    assert!(!writer.has_room());
    assert!(deliveries.blocking_next().is_some());
    assert!(writer.has_room());
}

#[test]
fn large_records_take_the_room_of_many() {
    let (mock, cluster) = mock();
    mock.broker_down(1).unwrap();
    let (writer, _deliveries) = open(&cluster);
    let large = [b'x'; 16 * 1024];
    let mut count = 0;
    while writer.has_room() {
        writer.write(Ticket(count), outgoing("t", 0, &large));
        count += 1;
    }
    assert_eq!(count, (limits::WRITER_BYTES_MAX / large.len()) as u64);
    mock.broker_up(1).unwrap();
}

#[test]
fn a_topic_that_refuses_takes_nobodys_room() {
    let (mock, cluster) = mock();
    mock.create_topic("c", 3, 1).unwrap();
    mock.topic_error("c", RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).unwrap();
    let (writer, mut deliveries) = open(&cluster);
    let count = limits::WRITER_PENDING_MAX as u64;
    for n in 0..count {
        writer.write(Ticket(n), outgoing("c", (n % 3) as u32, b"x"));
    }
    assert!(!writer.has_room());
    let (mut held, mut let_go) = (Vec::new(), Vec::new());
    while let_go.len() + limits::WRITER_HELD_MAX < limits::WRITER_PENDING_MAX {
        let Delivery { ticket, outcome, .. } = deliveries.blocking_next().unwrap();
        match outcome {
            Outcome::Held(RefusedReason::NotAuthorised) => held.push(ticket.0),
            Outcome::LetGo(RefusedReason::NotAuthorised) => let_go.push(ticket.0),
            other => panic!("{other:?}"),
        }
    }
    held.sort_unstable();
    let_go.sort_unstable();
    assert_eq!(held, (0..count).collect::<Vec<_>>());
    assert_eq!(let_go, (0..count - limits::WRITER_HELD_MAX as u64).collect::<Vec<_>>(), "the oldest");
    assert_eq!(writer.occupied.records.load(Ordering::Relaxed), 0);
    mock.topic_error("c", RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    for _ in 0..limits::WRITER_HELD_MAX {
        assert_eq!(deliveries.blocking_next().unwrap().outcome, Outcome::Stored);
    }
    assert_eq!((writer.occupied.records.load(Ordering::Relaxed), writer.pending()), (0, 0), "none counts twice");
}

#[test]
fn what_nothing_else_knows_of_is_never_let_go_and_keeps_its_room() {
    let (now, later) = (start(), start() + Duration::from_secs(5));
    let mut queues = Queues::default();
    for n in 0..=limits::WRITER_HELD_MAX as u64 {
        let record = Outgoing { keep: if n < 2 { Keep::Always } else { Keep::WhileRoom }, ..outgoing("t", 0, b"x") };
        queues.push(Entry::new(Ticket(n), record, Partition(0), 0));
    }
    for round in 0..2 {
        let record = Outgoing { keep: Keep::WhileRoom, ..outgoing("t", 0, b"x") };
        queues.push(Entry::new(Ticket(10_000 + round), record, Partition(0), 0));
    }
    while queues.next_to_send("t", 0).is_some() {}
    for number in 0..limits::WRITER_HELD_MAX + 3 {
        assert_eq!(queues.answered(("t", 0), number, Err(Code::TopicAuthorizationFailed), now), None);
    }
    let said = queues.release(later).1;
    let let_go: Vec<_> = said.iter().filter(|delivery| matches!(delivery.outcome, Outcome::LetGo(_))).collect();
    assert_eq!(let_go.iter().map(|delivery| delivery.ticket.0).collect::<Vec<_>>(), [2]);
    let counts: Vec<_> = said.iter().take(3).map(|delivery| (delivery.ticket.0, delivery.makes_room)).collect();
    assert_eq!(counts, [(0, None), (1, None), (2, Some(1))]);
    assert_eq!(queues.pending(), limits::WRITER_HELD_MAX + 2);
}

#[allow(clippy::disallowed_methods, reason = "the queue takes its times as arguments; this is where they begin")]
fn start() -> Instant {
    Instant::now()
}

/// A queue of `count` records for partition 0 of `t`, all of them sent.
fn sent(count: u64) -> Queues {
    let mut queues = Queues::default();
    for n in 0..count {
        queues.push(Entry::new(Ticket(n), outgoing("t", 0, b"x"), Partition(0), 0));
    }
    while queues.next_to_send("t", 0).is_some() {}
    queues
}

#[test]
fn a_held_queue_waits_until_all_came_home_and_goes_out_again_in_order() {
    let (now, later) = (start(), start() + Duration::from_secs(1));
    let mut queues = sent(3);
    assert_eq!(queues.answered(("t", 0), 0, Err(Code::NetworkException), now), None);
    assert!(queues.release(later).0.is_empty(), "two are still under way");
    assert!(queues.answered(("t", 0), 1, Ok(()), now).is_some());
    assert_eq!(queues.answered(("t", 0), 2, Err(Code::NetworkException), now), None);
    assert!(queues.release(now).0.is_empty(), "not due");
    assert_eq!(queues.release(later).0.len(), 1);
    let again: Vec<_> = std::iter::from_fn(|| queues.next_to_send("t", 0).map(|entry| entry.number)).collect();
    assert_eq!(again, [0, 2]);
    assert_eq!(queues.pending(), 2);
}

/// The outcomes of deliveries, by ticket.
fn outcomes(deliveries: &[Delivery]) -> Vec<(u64, Outcome)> {
    deliveries.iter().map(|delivery| (delivery.ticket.0, delivery.outcome)).collect()
}

/// Everything that may go out now; its numbers.
fn goes_out(queues: &mut Queues) -> Vec<usize> {
    std::iter::from_fn(|| queues.next_to_send("t", 0).map(|entry| entry.number)).collect()
}

#[test]
fn a_topic_that_refuses_keeps_what_is_needed_and_says_so_once() {
    let (now, gone) = (start(), Outcome::Held(RefusedReason::TopicGone));
    let mut queues = sent(2);
    let beat = Outgoing { keep: Keep::No, ..outgoing("t", 0, b"x") };
    queues.push(Entry::new(Ticket(2), beat, Partition(0), 0));
    for number in 0..2 {
        assert_eq!(queues.answered(("t", 0), number, Err(Code::UnknownTopicOrPartition), now), None);
    }
    let after = |seconds| now + Duration::from_secs(seconds);
    assert_eq!(queues.release(after(1)).1, [], "topics vanish for moments");
    assert_eq!((goes_out(&mut queues), queues.refusing(after(1))), (vec![0], vec![]));
    assert_eq!(queues.answered(("t", 0), 0, Err(Code::UnknownTopicOrPartition), after(4)), None);
    let (released, said) = queues.release(after(4));
    assert_eq!(outcomes(&said), [(0, gone), (1, gone), (2, Outcome::Refused(RefusedReason::TopicGone))]);
    assert_eq!((released.len(), queues.pending(), queues.silent_since()), (0, 2, None));
    assert_eq!(queues.refusing(after(4)), [(Arc::from("t"), RefusedReason::TopicGone)]);
    assert_eq!((queues.release(after(5)), goes_out(&mut queues)), ((vec![(Arc::from("t"), 0)], vec![]), vec![0]), "tried again");
    assert_eq!(queues.answered(("t", 0), 0, Err(Code::TopicAuthorizationFailed), after(5)), None);
    queues.push(Entry::new(Ticket(3), outgoing("t", 0, b"x"), Partition(0), 0));
    let (released, said) = queues.release(after(5));
    assert_eq!((released.len(), outcomes(&said)), (0, vec![(3, Outcome::Held(RefusedReason::NotAuthorised))]), "at once");
    assert_eq!(queues.release(after(7)).1, [], "said before");
    assert_eq!(goes_out(&mut queues), [0]);
    let stored = queues.answered(("t", 0), 0, Ok(()), after(7));
    assert_eq!((outcomes(stored.as_slice()), goes_out(&mut queues)), (vec![(0, Outcome::Stored)], vec![1, 3]));
    let stored: Vec<_> = [1, 3].iter().filter_map(|number| queues.answered(("t", 0), *number, Ok(()), after(7))).collect();
    assert_eq!(outcomes(&stored), [(1, Outcome::Stored), (3, Outcome::Stored)]);
    assert_eq!((queues.pending(), queues.refusing(after(7))), (0, vec![]));
}

#[test]
fn a_topic_that_refuses_is_tried_with_one_record_ever_less_often() {
    let now = start();
    let mut queues = sent(3);
    for number in 0..3 {
        assert_eq!(queues.answered(("t", 0), number, Err(Code::TopicAuthorizationFailed), now), None);
    }
    let mut tried = Vec::new();
    for second in 1..50 {
        let now = now + Duration::from_secs(second);
        if !queues.release(now).0.is_empty() {
            assert_eq!(goes_out(&mut queues), [0]);
            assert_eq!(queues.answered(("t", 0), 0, Err(Code::TopicAuthorizationFailed), now), None);
            tried.push(second);
        }
    }
    assert_eq!(tried, [1, 2, 3, 4, 6, 10, 18, 28, 38, 48]);
}

#[test]
fn a_producer_whose_epoch_is_not_taken_is_spent() {
    let (mock, cluster) = mock();
    let (writer, mut deliveries) = open(&cluster);
    mock.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH]);
    writer.write(Ticket(0), outgoing("t", 1, b"press"));
    assert!(writer.flush(WITHIN));
    assert_eq!(outcomes(&drain(&mut deliveries)), [(0, Outcome::Stored)]);
    assert_eq!((stored(&cluster)[1].as_slice(), writer.shared.generation()), (["press".to_owned()].as_slice(), 1));
}

#[test]
fn what_one_partition_has_shown_the_others_need_not_show_anew() {
    let (now, after) = (start(), |seconds| start() + Duration::from_secs(seconds));
    let mut queues = sent(1);
    assert_eq!(queues.answered(("t", 0), 0, Err(Code::TopicAuthorizationFailed), now), None);
    assert_eq!(queues.release(after(5)).1.len(), 1);
    queues.push(Entry::new(Ticket(1), outgoing("t", 1, b"x"), Partition(1), 0));
    assert!(queues.next_to_send("t", 1).is_some());
    assert_eq!(queues.answered(("t", 1), 1, Err(Code::TopicAuthorizationFailed), after(5)), None);
    assert_eq!(outcomes(&queues.release(after(5)).1), [(1, Outcome::Held(RefusedReason::NotAuthorised))]);
}

/// Only heartbeats go to a centre that has nothing else: it refused for one second of every five.
#[test]
fn a_refusal_is_remembered_while_nothing_waits_and_forgotten_with_time() {
    let (now, after) = (start(), |millis| start() + Duration::from_millis(millis));
    let refuses = vec![(Arc::from("t"), RefusedReason::NotAuthorised)];
    let mut queues = Queues::default();
    let mut shown = Vec::new();
    let mut number = 0;
    for millis in (0..60_000).step_by(250) {
        let now = now + Duration::from_millis(millis);
        if millis % 5_000 == 0 {
            let beat = Outgoing { keep: Keep::No, ..outgoing("t", 0, b"x") };
            queues.push(Entry::new(Ticket(number), beat, Partition(0), 0));
            number += 1;
        }
        queues.release(now);
        for number in goes_out(&mut queues) {
            assert_eq!(queues.answered(("t", 0), number, Err(Code::TopicAuthorizationFailed), now), None);
        }
        shown.push(queues.refusing(now) == refuses);
    }
    let first = shown.iter().position(|shown| *shown).unwrap();
    assert!((12..20).contains(&first) && shown[first..].iter().all(|shown| *shown), "from its 3 s on: {shown:?}");
    queues.release(after(100_000));
    assert_eq!((queues.refusing(after(100_000)), queues.pending()), (vec![], 0));
    queues.push(Entry::new(Ticket(number), outgoing("t", 0, b"x"), Partition(0), 0));
    let sent = goes_out(&mut queues);
    assert_eq!(queues.answered(("t", 0), sent[0], Err(Code::TopicAuthorizationFailed), after(100_000)), None);
    assert_eq!(queues.release(after(101_000)).1, [], "one word is not believed at once");
}

#[test]
fn a_fault_that_passes_does_not_make_a_refusal_forgotten_and_one_record_that_is_taken_does() {
    let after = |seconds| start() + Duration::from_secs(seconds);
    let mut queues = sent(1);
    queues.push(Entry::new(Ticket(1), outgoing("t", 1, b"x"), Partition(1), 0));
    assert!(queues.next_to_send("t", 1).is_some());
    for (second, code) in [(0, Code::TopicAuthorizationFailed), (1, Code::NetworkException), (3, Code::NetworkException)] {
        if second > 0 {
            assert_eq!(queues.release(after(second)).1.len(), if second < 3 { 0 } else { 2 }, "after {second} s");
            assert_eq!((goes_out(&mut queues).len(), queues.next_to_send("t", 1).is_some()), (1, true));
        }
        assert_eq!(queues.answered(("t", 0), 0, Err(code), after(second)), None);
        assert_eq!(queues.answered(("t", 1), 1, Err(code), after(second)), None);
    }
    assert_eq!(queues.release(after(4)).1, [], "said before");
    assert_eq!((goes_out(&mut queues), queues.next_to_send("t", 1).is_some()), (vec![0], true));
    assert_eq!(queues.answered(("t", 1), 1, Err(Code::TopicAuthorizationFailed), after(5)), None);
    assert_eq!(queues.release(after(5)).0, []);
    assert!(queues.answered(("t", 0), 0, Ok(()), after(5)).is_some());
    assert_eq!(queues.release(after(5)).0, [(Arc::from("t"), 1)], "the mend of one is the other's too");
}

#[test]
fn a_batch_that_is_too_large_is_no_word_about_its_records() {
    let (now, later) = (start(), start() + Duration::from_secs(1));
    let mut queues = sent(3);
    for number in 0..3 {
        assert_eq!(queues.answered(("t", 0), number, Err(Code::MessageSizeTooLarge), now), None);
    }
    assert_eq!(queues.release(later).0.len(), 1);
    queues.push(Entry::new(Ticket(3), outgoing("t", 0, b"x"), Partition(0), 0));
    assert_eq!(goes_out(&mut queues), [0], "one by one");
    assert_eq!(outcomes(queues.answered(("t", 0), 0, Ok(()), later).as_slice()), [(0, Outcome::Stored)]);
    assert_eq!(goes_out(&mut queues), [1]);
    let refused = queues.answered(("t", 0), 1, Err(Code::MessageSizeTooLarge), later);
    assert_eq!(outcomes(refused.as_slice()), [(1, Outcome::Refused(RefusedReason::TooLarge))], "it went alone");
    assert_eq!(goes_out(&mut queues), [2], "what came later stays behind it");
    queues.push(Entry::new(Ticket(4), outgoing("t", 0, b"x"), Partition(0), 0));
    assert!(queues.answered(("t", 0), 2, Ok(()), later).is_some());
    assert_eq!(goes_out(&mut queues), [3, 4], "together again");
}

#[test]
fn a_record_is_not_given_up_on_one_word_that_it_is_invalid() {
    let mut now = start();
    let mut queues = sent(1);
    for _ in 0..limits::WRITER_INVALID_TRIES {
        assert_eq!(queues.answered(("t", 0), 0, Err(Code::InvalidTimestamp), now), None);
        now += Duration::from_secs(1);
        assert_eq!(queues.release(now).0.len(), 1);
        assert_eq!(goes_out(&mut queues), [0]);
    }
    let refused = queues.answered(("t", 0), 0, Err(Code::InvalidTimestamp), now);
    assert_eq!(outcomes(refused.as_slice()), [(0, Outcome::Refused(RefusedReason::Invalid))]);
}

#[test]
fn a_topic_that_refuses_holds_up_no_other_and_is_served_when_it_is_mended() {
    let (mock, cluster) = mock();
    mock.create_topic("c", 3, 1).unwrap();
    mock.topic_error("c", RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED).unwrap();
    let (writer, mut deliveries) = open(&cluster);
    writer.write(Ticket(0), outgoing("c", 0, b"press"));
    let held = deliveries.blocking_next().unwrap();
    assert_eq!((held.ticket, held.outcome), (Ticket(0), Outcome::Held(RefusedReason::NotAuthorised)));
    assert_eq!(writer.refusing(), [(Arc::from("c"), RefusedReason::NotAuthorised)]);
    writer.write(Ticket(1), outgoing("t", 0, b"elsewhere"));
    assert_eq!(deliveries.blocking_next().unwrap().ticket, Ticket(1));
    assert_eq!(writer.silent_for(), None, "it answers");
    let began = start();
    assert!(!writer.flush(WITHIN) && start() - began < WITHIN / 2, "whoever ends does not wait for it");
    mock.topic_error("c", RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    let stored = deliveries.blocking_next().unwrap();
    assert_eq!((stored.ticket, stored.outcome, writer.refusing()), (Ticket(0), Outcome::Stored, vec![]));
}

#[test]
fn one_partition_without_a_leader_shows_while_the_others_answer() {
    let (mock, cluster) = mock();
    mock.partition_leader("t", 0, None).unwrap();
    let (writer, mut deliveries) = open(&cluster);
    writer.write(Ticket(0), outgoing("t", 0, b"x"));
    let written_at = start();
    for n in 1..4 {
        writer.write(Ticket(n), outgoing("t", 1, b"x"));
        assert_eq!(deliveries.blocking_next().unwrap().ticket, Ticket(n));
    }
    let least = start() - written_at;
    assert!(writer.silent_for().unwrap() >= least);
}

/// After an outage librdkafka had forgotten every broker: reports stood still until somebody restarted the role, while Kafka answered.
/// Kafka named no broker for a moment, and several such answers came at once: the first made librdkafka drop its brokers, and those after
/// it took its return to the configured ones back.
#[test]
fn a_producer_that_has_lost_sight_of_kafka_is_replaced() {
    const AT_ONCE: usize = 5;
    let (mock, cluster) = mock();
    for topic in 0..20 {
        mock.create_topic(&format!("large-{topic}"), 100, 1).unwrap();
    }
    let relay = Relay::start(&mock);
    let (writer, mut deliveries) = open(&Cluster::embedded(&relay.brokers()));
    writer.write(Ticket(0), outgoing("t", 0, b"0"));
    assert!(writer.flush(WITHIN));
    relay.name_none();
    relay.hold(AT_ONCE);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| writer.shared.ask_for_brokers(WITHIN));
        }
    });
    relay.name_all();
    for n in 1..4 {
        writer.write(Ticket(n), outgoing("t", 0, n.to_string().as_bytes()));
    }
    assert!(writer.flush(WITHIN));
    let expected: Vec<_> = (0..4).map(|n| (n, Outcome::Stored)).collect();
    assert_eq!(outcomes(&drain(&mut deliveries)), expected);
    assert_eq!(stored(&cluster)[0], ["0", "1", "2", "3"]);
}

#[test]
fn a_producer_that_loses_sight_while_nothing_waits_is_replaced_before_the_next_press() {
    let (_mock, cluster) = mock();
    let (writer, _deliveries) = open(&cluster);
    writer.write(Ticket(0), outgoing("t", 0, b"x"));
    assert!(writer.flush(WITHIN));
    writer.shared.blind();
    wait_until(|| writer.shared.generation() == 1);
}

#[test]
fn only_who_does_not_see_a_kafka_that_answers_is_blind() {
    let (mock, cluster) = mock();
    let (writer, _deliveries) = open(&cluster);
    let (there, nowhere) = (mock.bootstrap_servers(), "127.0.0.1:1");
    mock.partition_leader("t", 0, None).unwrap();
    writer.write(Ticket(0), outgoing("t", 0, b"x"));
    assert!(!writer.shared.is_blind(&there), "one partition without a leader");
    let relay = Relay::start(&mock);
    let (slow, _deliveries) = open(&Cluster::embedded(&relay.brokers()));
    slow.write(Ticket(0), outgoing("t", 1, b"x"));
    assert!(slow.flush(WITHIN));
    relay.hold(2);
    assert!(!slow.shared.is_blind(&there), "its answer is late");
    writer.shared.blind();
    assert!(writer.shared.is_blind(&there));
    writer.shared.blind();
    assert!(!writer.shared.is_blind(nowhere), "nobody is answered");
}

#[test]
fn a_writer_whose_thread_is_gone_is_known_to_be_dead() {
    let (_mock, cluster) = mock();
    let (writer, _deliveries) = open(&cluster);
    assert!(!writer.has_died());
    writer.shared.close();
    wait_until(|| writer.has_died());
}

#[test]
fn what_is_not_known_to_last_is_tried_again() {
    for code in [Code::QueueFull, Code::MessageTimedOut, Code::PurgeInflight, Code::NotEnoughReplicas, Code::KafkaStorageError] {
        assert_eq!(verdict(code), Verdict::Retry, "{code}");
    }
    for code in [Code::Fatal, Code::InvalidProducerEpoch, Code::UnknownProducerId] {
        assert_eq!(verdict(code), Verdict::Spent, "{code}");
    }
}
