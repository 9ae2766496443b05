//! Every bound in one place, each with its reason; relations between them are checked when the program is compiled.

use crate::time::{HOUR_MILLIS, MINUTE_MILLIS, SECOND_MILLIS};

// ---- names ----

/// A device id fits an MQTT topic level, a Kafka key and a line on a screen.
pub const DEVICE_ID_BYTES_MAX: usize = 64;
/// Names of tenants, groups, fences, feeds, centres: Kafka allows 249 bytes for a topic, ours adds a prefix of at most 20.
pub const NAME_BYTES_MAX: usize = 48;
/// A device's own id for a message: a UUID with room to spare.
pub const OWN_ID_BYTES_MAX: usize = 64;

// ---- payloads ----

/// What a decoder reads. A full native report is under 1 KiB; eight times that leaves room for extensions and bounds the work of a hostile one.
pub const DECODED_BYTES_MAX: usize = 8 * 1024;
/// JSON nesting: a native report needs 3 levels, OwnTracks 2, Traccar 5.
pub const JSON_DEPTH_MAX: usize = 32;
/// The broker's own limit in every configuration that we ship: what it refuses never reaches a lane.
pub const BROKER_PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// The MQTT client's limit. Above the broker's, because a packet over the client's own limit ends the connection and comes again for ever.
pub const CLIENT_PACKET_BYTES_MAX: u32 = 128 * 1024;
/// What quarantine keeps of a payload, beside its length and hash: as much as a decoder would have read.
pub const QUARANTINE_BYTES_MAX: usize = DECODED_BYTES_MAX;
const _: () = assert!(
    BROKER_PAYLOAD_BYTES_MAX < CLIENT_PACKET_BYTES_MAX as usize,
    "what the broker accepts, the client must be able to read"
);

// ---- MQTT ----

/// Messages in flight to a lane. Mosquitto's default of 20 would cap a lane at 20 per Kafka round trip.
pub const RECEIVE_MAXIMUM: u16 = 1_000;
/// To the duress lane all that MQTT can count: while one press waits for a partition that has no leader, those behind it, our own probes
/// among them, are stored but cannot be acknowledged, and past this the broker hands over no more.
pub const DURESS_RECEIVE_MAXIMUM: u16 = u16::MAX;
/// Reports may gather for so long before they are read together, instead of one by one as they come. With the half
/// millisecond that Kafka's producer waits for company after that, no longer than such producers wait as a rule; a lone report does not wait.
pub const REPORTS_GATHER_MICROS: u64 = 1_500;
/// By how much the threads that serve reports are nicer than the others: where cores are short, a press gets one first. The kernel then gives
/// them about a tenth of the weight of the others, not nothing.
pub const REPORTS_NICER_BY: i32 = 10;
/// Messages that a lane holds unacknowledged, beyond which it reads no further: what the broker may hand out at QoS 1, and half as much again,
/// because probes and messages at QoS 0 count for no receive maximum and leave no record that the writer would count.
pub const MESSAGES_WAITING_MAX: usize = 100_000;
/// Bytes of their topics and payloads that a lane keeps meanwhile, for quarantine if Kafka refuses a record: 2,000 payloads of the longest that
/// it keeps, so that one device's junk stops nobody at once. With [`WRITER_BYTES_MAX`], which librdkafka copies, and what is read ahead, a lane
/// holds some 100 MB at most; a pod's limit in the Helm chart has room for it.
pub const MESSAGES_WAITING_BYTES_MAX: usize = 2_000 * QUARANTINE_BYTES_MAX;
const _: () = assert!(MESSAGES_WAITING_MAX > DURESS_RECEIVE_MAXIMUM as usize, "a lane reads what the broker may hand it");
/// Requests that a connection can hold: an acknowledgement for every packet id there is, and its subscribe. The receive maximum is no
/// bound to lean on: Mosquitto 2.0.11 exceeds it when a session with a backlog comes back. Room is taken only as it is needed.
pub const CLIENT_REQUESTS_MAX: usize = u16::MAX as usize + 1;
/// What a connection has read and its lane has not taken yet; past it the connection reads no further. About as many reports as one read
/// brings; of the largest messages that a broker lets through it is 16 MB.
pub const CLIENT_EVENTS_MAX: usize = 256;
const _: () = assert!(CLIENT_REQUESTS_MAX > u16::MAX as usize, "an acknowledgement must never wait for room");
/// A day: an ingester that comes back within it finds everything that waited for it.
pub const SESSION_EXPIRY_SECONDS: u32 = 24 * 60 * 60;
/// Seconds between pings. A ping's answer stands in line behind all messages that the broker sends: long enough for a backlog to pass.
/// Dead links show sooner, by probes.
pub const KEEP_ALIVE_SECONDS: u16 = 30;
/// Nothing heard from the broker for this long, not even a ping's answer: the connection is dead, whatever the socket says.
pub const MQTT_SILENCE_MILLIS_MAX: u64 = 75_000;
const _: () =
    assert!(MQTT_SILENCE_MILLIS_MAX >= 2_500 * KEEP_ALIVE_SECONDS as u64, "two pings may be on their way before we despair");
/// A broker that takes longer than this to accept a connection is tried again from the start, or at its next address where it has several.
pub const MQTT_CONNECT_SECONDS: u64 = 5;
/// Characters of a reason that a broker gives, in our own words for it: a line on a screen.
pub const BROKER_WORDS_MAX: usize = 200;
/// How long a goodbye to the broker may take at the end.
pub const MQTT_GOODBYE_MILLIS: u64 = 500;
/// How long a lane, and after it the detector, waits at its end for Kafka to answer: both, and the goodbyes, within the 30 s that
/// Kubernetes gives.
pub const DRAIN_MILLIS: u64 = 8_000;
/// First and longest wait before another connection attempt.
pub const RECONNECT_MILLIS_MIN: u64 = 100;
/// See [`RECONNECT_MILLIS_MIN`].
pub const RECONNECT_MILLIS_MAX: u64 = 2_000;
/// How long a connection stays away whose session another client took over, at first: an ingester that replaces one that is about to
/// end takes over once, and the old one is gone by then.
pub const TAKEN_OVER_AWAY_MILLIS_MIN: u64 = 5_000;
/// And at most, doubled each time. Not longer: if the other client is no ingester, presses wait in the session for this long.
pub const TAKEN_OVER_AWAY_MILLIS_MAX: u64 = 30_000;
/// A take-over is called so for this long: several times the longest stay away, so that two clients that take turns are always named.
pub const TAKEN_OVER_SHOWN_MILLIS: i64 = 120_000;
/// Not every broker says why it closes a connection (Mosquitto 2.0.11 does not). So many that it had accepted, closed without a word within
/// [`CLOSED_WITHIN_MILLIS`], are a take-over, or something that is no better for coming straight back. A broker that restarts does it once.
pub const CLOSED_WITHOUT_A_WORD: usize = 3;
/// See [`CLOSED_WITHOUT_A_WORD`].
pub const CLOSED_WITHIN_MILLIS: i64 = 30_000;
const _: () =
    assert!(TAKEN_OVER_SHOWN_MILLIS >= 3 * TAKEN_OVER_AWAY_MILLIS_MAX.cast_signed(), "the word stands between two take-overs");
/// A publish that the broker refused is called so for this long after the last: several probes, and a receipt or two of a retry.
pub const PUBLISH_REFUSED_SHOWN_MILLIS: i64 = 30_000;
/// While receipts are refused one to nobody is tried this often: whether the access list is mended shows without a press.
pub const RECEIPT_TRIED_MILLIS: i64 = 5_000;
const _: () = assert!(
    RECEIPT_TRIED_MILLIS * 2 <= PUBLISH_REFUSED_SHOWN_MILLIS,
    "a refusal that lasts is seen again before it is forgotten"
);
/// Receipts waiting for the receipts connection. Past it the newest is dropped and counted: the device repeats its press and gets the next.
pub const RECEIPTS_WAITING_MAX: usize = 4_096;
/// The longest MQTT topic that a lane looks at; longer ones are junk (and, on a duress filter, presses).
pub const MQTT_TOPIC_BYTES_MAX: usize = 256;

// ---- probes and observed time ----

/// One probe a second: the grain of observed time.
pub const PROBE_MILLIS: i64 = SECOND_MILLIS;
/// An event id leans on a probe no older than this; past it the receiver's counter joins in.
pub const PROBE_STALE_MILLIS: i64 = 5 * SECOND_MILLIS;
/// A metronome record a second: the grain of `now`.
pub const METRONOME_MILLIS: i64 = SECOND_MILLIS;
/// Stretches of listening that one partition is still owed. Past it the oldest counts as not heard: that is a gap, never a false alarm.
pub const STRETCHES_OWED_MAX: usize = 16;
/// The shortest silence limit: several probes and metronomes long, or it would fire on jitter.
pub const SILENCE_MILLIS_MIN: i64 = 3 * SECOND_MILLIS;
const _: () = assert!(SILENCE_MILLIS_MIN >= 3 * PROBE_MILLIS, "a silence spans several probes");
const _: () = assert!(SILENCE_MILLIS_MIN >= 3 * METRONOME_MILLIS, "a silence spans several metronomes");
const _: () = assert!(PROBE_STALE_MILLIS >= 3 * PROBE_MILLIS, "one lost probe must not double presses");
/// An observation may lie ahead of its own append time by this much: clocks under NTP differ by milliseconds.
pub const CLOCK_FAULT_MILLIS: i64 = 2 * SECOND_MILLIS;
/// A clock that was wrong is called so for this long after the last record that showed it: records go out every second.
pub const CLOCK_FAULT_SHOWN_MILLIS: i64 = 30 * SECOND_MILLIS;
/// A clock that moved by this much more or less than time did was set: slewing by NTP moves it by half a millisecond in a second.
pub const CLOCK_SET_MILLIS: i64 = 500;
/// A lane unheard for this long is blind: P5 promises the centre 15 s, this leaves 5 s for the way.
pub const BLIND_MILLIS: i64 = 10 * SECOND_MILLIS;
/// After a gap in listening, devices that reconnect one by one get this long before silence counts against them.
pub const RECONNECT_GRACE_MILLIS: i64 = 5 * MINUTE_MILLIS;
/// However many gaps come, they postpone one silence by no more than this.
pub const POSTPONED_MILLIS_MAX: i64 = 30 * MINUTE_MILLIS;
/// A broken connection shortens a silence to this much after its will, where the rulebook names no other: a device that lost its network for
/// a moment is back within seconds, and DESIGN's first figure is not longer.
pub const AFTER_WILL_MILLIS: i64 = 2 * MINUTE_MILLIS;
/// A will that came less than this before we stopped hearing tells of the broker's or the network's fault, not of the device's: a
/// broker that stops sends every will first, and what cuts a network reaches devices and ingesters within seconds of each other. An
/// `after_will` shorter than this may fall due before such a gap begins.
pub const WILL_BEFORE_GAP_MILLIS: i64 = 30 * SECOND_MILLIS;
const _: () =
    assert!(AFTER_WILL_MILLIS > WILL_BEFORE_GAP_MILLIS, "by default a gap that excuses a will is known when it falls due");
/// An ingester's fault is over when it has not shown for this long: ingesters say it every second, while theirs is being mended less often.
pub const INGEST_FAULT_OVER_MILLIS: i64 = 30 * SECOND_MILLIS;
/// What one step of `now` counts for at most, where the time without a sign is counted: after an outage of Kafka the first record must
/// not end what nobody could show meanwhile.
pub const NOW_STEP_MILLIS_MAX: i64 = 2 * METRONOME_MILLIS;
/// Faults of ingesters that the machine of their feed's home partition keeps in mind: two ingesters on each of many feeds. Past it a fault is
/// counted and not told.
pub const INGEST_FAULTS_MAX: usize = 256;
/// Gaps that a feed, or a tenant, remembers. Past it the two oldest are joined; of joined gaps only the sum is known, not where each was.
pub const GAPS_REMEMBERED_MAX: usize = 64;

/// Ingesters by lane and feed whose own listening a partition remembers: two lanes, two ingesters, many feeds, and some that were renamed.
pub const EARS_REMEMBERED_MAX: usize = 1_024;

// ---- the machine ----

/// Devices that report but stand in no rulebook, per partition. Past it they still alert, unlinked.
pub const UNKNOWN_DEVICES_MAX: usize = 10_000;
/// How often a full table of them looks for some that were silent for long: the look goes through all devices.
pub const ROOM_LOOKED_FOR_MILLIS: i64 = MINUTE_MILLIS;
/// Event hashes that a device's record remembers against repeats.
pub const EVENT_RING_LEN: usize = 16;
/// For how long after its arrival a report is remembered beside more than so many: mirrored ingesters are seconds apart.
pub const EVENT_BURST_MILLIS: i64 = 30 * SECOND_MILLIS;
/// Event hashes that are remembered of a burst: 6 KB, and a broker hands a device's backlog over faster than it is mirrored.
pub const EVENT_RING_LEN_MAX: usize = 256;
/// A press id is remembered for the session's expiry and two hours: a broker can hold a copy no longer.
pub const PRESS_MEMORY_MILLIS: i64 = 26 * HOUR_MILLIS;
/// Press ids that are remembered of one device: 16 KB of one whose button is stuck. Past it presses may alert twice.
pub const PRESSES_REMEMBERED_MAX: usize = 512;
/// The same of a device that no rulebook names: there may be ten thousand of them, invented by whoever may publish.
pub const PRESSES_OF_UNKNOWN_MAX: usize = 32;
/// Devices without a record whose presses are remembered, per partition.
pub const STRANGERS_REMEMBERED_MAX: usize = 10_000;
/// A press id whose newest copy is older than this is a device that counts from the start again, not a repeat.
pub const PRESS_AGAIN_MILLIS: i64 = 10 * MINUTE_MILLIS;
/// A press that comes with no probe before it, on a connection older than this, did not wait in the broker: a backlog, which comes first,
/// passes at thousands of messages a second.
pub const BACKLOG_DRAIN_MILLIS: i64 = MINUTE_MILLIS;
const _: () = assert!(BACKLOG_DRAIN_MILLIS > PROBE_STALE_MILLIS, "a backlog may last longer than a lost probe");
const _: () = assert!(PRESS_AGAIN_MILLIS > BACKLOG_DRAIN_MILLIS, "whatever is counted for itself did not wait in the broker");
/// A report older than this when it reaches the journal is late: ordinary delivery takes seconds.
pub const LATE_MILLIS: i64 = 2 * MINUTE_MILLIS;
/// Device time further ahead than this counts as none.
pub const DEVICE_AHEAD_MILLIS: i64 = 2 * MINUTE_MILLIS;
/// A device's clock that is wrong by more than this is worth a word: what it tells would be dated minutes off.
pub const DEVICE_CLOCK_MILLIS_MAX: i64 = 5 * MINUTE_MILLIS;
/// How often a feed that cannot start is tried again: its password may have been mounted meanwhile.
pub const LATE_FEED_LOOK_MILLIS: i64 = 10 * SECOND_MILLIS;
/// How often a running process looks at its Kafka topics: somebody may have changed one by hand.
pub const TOPICS_LOOK_MILLIS: i64 = MINUTE_MILLIS;
/// The same while one is wrong, so that its mend shows soon.
pub const TOPICS_LOOK_AGAIN_MILLIS: i64 = 5 * SECOND_MILLIS;
/// Device clocks whose offset agrees within this, for [`SKEW_PROVEN_MILLIS`], are believed.
pub const SKEW_AGREES_MILLIS: i64 = 10 * SECOND_MILLIS;
/// How long a new clock offset must show in live reports: a buffered upload passes in less, or its offsets differ.
pub const SKEW_PROVEN_MILLIS: i64 = MINUTE_MILLIS;
/// Presses of a device closer together than this belong to one episode.
pub const EPISODE_MILLIS: i64 = 10 * MINUTE_MILLIS;
/// More presses than [`FOLD_PRESSES`] in this time are linked without a ladder of their own.
pub const FOLD_MILLIS: i64 = 10 * SECOND_MILLIS;
/// See [`FOLD_MILLIS`].
pub const FOLD_PRESSES: u32 = 20;
/// The error circle of a fix counts up to here: a phone that says 5 km knows nothing, and must not freeze a fence for ever.
pub const ACCURACY_METRES_MAX: f64 = 100.0;
/// Fences named in one alert; past it the list is cut (the alert's own fence is its subject and always named).
pub const FENCES_NAMED_MAX: usize = 32;

// ---- rulebook ----

/// Vertices of one fence. The largest boundaries in use (census areas, boroughs) have under 20,000.
pub const FENCE_VERTICES_MAX: usize = 50_000;
/// The largest circle or corridor half width, in metres: past it local projection is off by more than a fix's accuracy.
pub const FENCE_RADIUS_METRES_MAX: f64 = 50_000.0;
/// The smallest, in metres: below it no fix can tell inside from outside.
pub const FENCE_RADIUS_METRES_MIN: f64 = 5.0;
/// The widest buffer around a fence, in metres: past it the fence itself should be drawn larger.
pub const FENCE_BUFFER_METRES_MAX: f64 = 10_000.0;
/// The longest dwell: whoever waits longer wants a visit's limits, not a fence.
pub const FENCE_DWELL_MILLIS_MAX: i64 = 24 * HOUR_MILLIS;
/// The longest silence limit: past a week nobody is watched.
pub const SILENCE_MILLIS_MAX: i64 = 7 * 24 * HOUR_MILLIS;
/// The longest reconnect grace: gaps may postpone a deadline by no more in all.
pub const RECONNECT_GRACE_MILLIS_MAX: i64 = POSTPONED_MILLIS_MAX;
const _: () = assert!(RECONNECT_GRACE_MILLIS <= RECONNECT_GRACE_MILLIS_MAX, "the default is legal");
/// Faults of entries that a reader keeps to show. The first are kept: whoever mends them and reads again meets the next.
pub const ENTRY_FAULTS_MAX: usize = 1_000;
/// Built versions of the rulebook that a process keeps: a replay needs neighbouring ones, for all its partitions at about the same time.
pub const RULEBOOKS_BUILT_MAX: usize = 16;
/// One rulebook entry. Kafka's default for a message is 1 MiB; a fence at its vertex limit takes about as much as this.
pub const RULEBOOK_ENTRY_BYTES_MAX: usize = 1_000_000;

// ---- the log ----

/// Log lines that wait to be written: a burst of a few seconds, some MB. Past it lines are dropped and counted.
pub const LOG_LINES_WAITING_MAX: usize = 8_192;

// ---- Kafka ----

/// What our Kafka topics' names begin with; with ".actions." and a centre's name it stays far below Kafka's 249.
pub const PREFIX_BYTES_MAX: usize = 20;
const _: () = assert!(PREFIX_BYTES_MAX + 9 + NAME_BYTES_MAX <= 249, "every topic's name fits Kafka");
/// Partitions of the journal: every observation and metronome goes to each, every second, so more cost without gain.
pub const PARTITIONS_MAX: u32 = 1_024;
/// Records that one writer has unacknowledged, those left out that a topic refuses: beyond it the lane stops reading MQTT, and the broker holds
/// the rest.
pub const WRITER_PENDING_MAX: usize = 20_000;
/// And so many bytes of their payloads, which librdkafka holds once more: 20,000 records of 1,600 bytes, or 2,000 of the largest in quarantine.
/// A report's is some 300 bytes, a press's alert 1,000.
pub const WRITER_BYTES_MAX: usize = 32 * 1024 * 1024;
const _: () = assert!(
    WRITER_BYTES_MAX / 1_600 >= WRITER_PENDING_MAX,
    "ordinary records are stopped by their number, so that large ones alone cost others the room"
);
/// Records of one topic that a writer holds while the topic refuses them, beside that limit: some 4 MB, and hours of one centre's alerts. Past
/// it the oldest go; the journal has what brought them about, and a detector does not commit past it.
pub const WRITER_HELD_MAX: usize = 2_000;
const _: () = assert!(WRITER_HELD_MAX > 0, "the newest is kept");
/// A topic that is missing or forbidden is tried for this long before it is said to refuse: metadata loses a topic for moments. Not longer,
/// because presses go to another centre only then, and Kafka's client has waited 5 s for a missing topic already.
pub const WRITER_REFUSED_MILLIS: u64 = 3_000;
/// A topic that refuses is tried again a second later, and then ever less often, down to this: each record that it refuses costs the producer
/// one of its 32,768 epochs, and a pause of all its partitions. Not seldomer, because the centre's presses wait for it after the mend.
pub const WRITER_REFUSED_TRIED_MILLIS_MAX: u64 = 10_000;
/// A topic that has neither taken nor refused anything for so long is no longer said to refuse: what comes next is waited for again.
pub const WRITER_REFUSED_REMEMBERED_MILLIS: u64 = 30_000;
const _: () = assert!(
    WRITER_REFUSED_REMEMBERED_MILLIS >= WRITER_REFUSED_TRIED_MILLIS_MAX + 2 * HEARTBEAT_MILLIS.unsigned_abs(),
    "a refusal that lasts is met again before it is forgotten, though nothing but heartbeats is written there"
);
/// A record that Kafka calls invalid is tried so often, a second apart, before that is believed: a press is not given up on one word.
pub const WRITER_INVALID_TRIES: u32 = 3;
/// A writer whose records wait while Kafka acknowledges nothing for this long says that it is not ready. Ordinary acknowledgements
/// take milliseconds; a change of leader takes a few seconds.
pub const KAFKA_SILENT_MILLIS: i64 = 5 * SECOND_MILLIS;
/// A client that finds no broker for this long, while Kafka answers a new one, has lost sight of it. Longer than it waits before it connects
/// again: 1 s, by our own settings.
pub const KAFKA_SIGHT_MILLIS: u64 = 3_000;
/// `check` asks whether it may write with a record that is larger than its topic allows, up to this: more is not worth the bytes.
pub const CHECK_RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// By how much that record is larger.
pub const CHECK_BEYOND_BYTES: usize = 1_024;
/// Journal retention that the start-up check asks for.
pub const JOURNAL_RETENTION_MILLIS: i64 = 72 * HOUR_MILLIS;
/// Alerts stay at least this long.
pub const ALERTS_RETENTION_MILLIS_MIN: i64 = 7 * 24 * HOUR_MILLIS;
/// The rulebook keeps what any journal record may name, and two days of operator's time.
pub const RULEBOOK_LAG_MILLIS_MIN: i64 = JOURNAL_RETENTION_MILLIS + 48 * HOUR_MILLIS;
/// How often a detector moves the group's offset: what a crash repeats is at most this much.
pub const COMMIT_MILLIS: i64 = SECOND_MILLIS;
/// A detector that lost its partitions to an outage and has none again so long after Kafka answers joins its group anew, at first; doubled
/// each time, because another may rightly have them all. Longer than a session and a rebalance.
pub const REJOIN_MILLIS_MIN: u64 = 7_000;
/// And at most.
pub const REJOIN_MILLIS_MAX: u64 = 300_000;
const _: () = assert!(REJOIN_MILLIS_MIN.cast_signed() > GROUP_SESSION_MILLIS, "whoever waits for a session to end is not stuck");
/// A part that is not ready for one reason after another says so in the log this seldom; `/readyz` always has the newest.
pub const UNREADY_LOGGED_MILLIS: i64 = 60_000;
/// How long a detector that gives a partition up waits for its alerts, and whoever drops a client of Kafka for its end: within the group's
/// session.
pub const GIVE_UP_MILLIS: u64 = 2_000;
const _: () =
    assert!(2 * GIVE_UP_MILLIS.cast_signed() < GROUP_SESSION_MILLIS, "a detector that waits must not be thrown out of its group");
/// A detector's heartbeat to each centre.
pub const HEARTBEAT_MILLIS: i64 = 5 * SECOND_MILLIS;
/// A partition that nobody claims, or whose lag exceeds this, is blind to the centre that reads.
pub const HEARTBEAT_MISSING_MILLIS: i64 = 10 * SECOND_MILLIS;
const _: () = assert!(HEARTBEAT_MISSING_MILLIS >= 2 * HEARTBEAT_MILLIS, "one late heartbeat is no blindness");
/// Static members of the detectors' group are given up after this.
pub const GROUP_SESSION_MILLIS: i64 = 6 * SECOND_MILLIS;
