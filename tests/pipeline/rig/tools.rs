//! Clients that are not ours: `mosquitto_pub`, `mosquitto_sub` and `kcat`. What they see, a stranger's system would see.

use std::io::Write as _;
use std::process::{ChildStdin, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::alerts::{SeenAlert, alerts_among};
use super::kafka::Kafka;
use super::mosquitto::Mosquitto;
use super::process::{Guarded, find_program, run_tool, try_tool};
use super::wait::{wait_for, wait_until};

/// A tool that talks to a broker on this machine and is done.
const TOOL_DEADLINE: Duration = Duration::from_mins(1);

/// A record of a Kafka topic, as kcat shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaRecord {
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
    /// The append time under LogAppendTime, in ms since the epoch.
    pub timestamp_millis: i64,
    /// None where the record has no key.
    pub key: Option<Vec<u8>>,
    /// None for a tombstone.
    pub value: Option<Vec<u8>>,
}

impl KafkaRecord {
    /// The key as text; empty without one.
    pub fn key_text(&self) -> String {
        String::from_utf8_lossy(self.key.as_deref().unwrap_or_default()).into_owned()
    }

    /// The value as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        let value = self.value.as_deref().expect("a record with a value");
        serde_json::from_slice(value).unwrap_or_else(|fault| panic!("no JSON: {fault}: {}", String::from_utf8_lossy(value)))
    }
}

/// Sizes stand before the bytes, so that any bytes can be read back.
const RECORD_FORMAT: &str = "%p %o %T %K %S\\n%k%s";

/// Everything that a Kafka topic holds now, partition by partition in order.
#[track_caller]
pub fn consume(kafka: &Kafka, kafka_topic: &str) -> Vec<KafkaRecord> {
    consume_at(&kafka.bootstrap(), kafka_topic)
}

#[track_caller]
fn consume_at(bootstrap: &str, kafka_topic: &str) -> Vec<KafkaRecord> {
    let arguments = ["-C", "-b", bootstrap, "-t", kafka_topic, "-o", "beginning", "-e", "-q", "-f", RECORD_FORMAT];
    let mut records = parse_records(&run_tool("kcat", &arguments, b"", TOOL_DEADLINE)).0;
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

/// Writes one record with these bytes.
#[track_caller]
pub fn produce(kafka: &Kafka, kafka_topic: &str, key: &str, value: &[u8]) {
    let bootstrap = kafka.bootstrap();
    // kcat makes one message of a whole file, and of its input one a line.
    let folder = super::watchdog::Watchdog::shared().fresh_folder("produce");
    let file = folder.join("value");
    std::fs::write(&file, value).expect("write the record's value");
    let file = file.to_str().expect("the temporary folder's name is text");
    run_tool("kcat", &["-P", "-b", &bootstrap, "-t", kafka_topic, "-k", key, file], b"", TOOL_DEADLINE);
    let _ = std::fs::remove_dir_all(folder);
}

/// The records of kcat's output so far, and how many bytes they took; a record that is not whole yet is left.
fn parse_records(bytes: &[u8]) -> (Vec<KafkaRecord>, usize) {
    let mut records = Vec::new();
    let mut at = 0;
    while let Some((record, taken)) = parse_record(&bytes[at..]) {
        records.push(record);
        at += taken;
    }
    (records, at)
}

fn parse_record(bytes: &[u8]) -> Option<(KafkaRecord, usize)> {
    let line_end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&bytes[..line_end]).expect("kcat writes its figures as text");
    let figures: Vec<i64> =
        line.split(' ').map(|figure| figure.parse().unwrap_or_else(|_| panic!("kcat wrote {line:?}"))).collect();
    let [partition, offset, timestamp_millis, key_len, value_len] = figures[..] else { panic!("kcat wrote {line:?}") };
    let mut at = line_end + 1;
    // kcat gives -1 for none, and no bytes.
    let mut part = |len: i64| -> Option<Option<Vec<u8>>> {
        let Ok(len) = usize::try_from(len) else { return Some(None) };
        let part = bytes.get(at..at + len)?.to_vec();
        at += len;
        Some(Some(part))
    };
    let key = part(key_len)?;
    let value = part(value_len)?;
    let partition = i32::try_from(partition).expect("a partition's number is small");
    Some((KafkaRecord { partition, offset, timestamp_millis, key, value }, at))
}

/// A kcat that goes on reading a Kafka topic from its beginning.
pub struct Follower {
    tool: Guarded,
    bootstrap: String,
    topic: String,
    read: Mutex<Read>,
}

/// What was taken of kcat's output. Each record is parsed once: a test looks every few milliseconds, and a look that takes long is late.
#[derive(Default)]
struct Read {
    bytes: u64,
    records: Vec<KafkaRecord>,
    alerts: Vec<SeenAlert>,
    /// Records whose alerts those are.
    seen: usize,
}

impl Follower {
    /// Starts it.
    pub fn start(kafka: &Kafka, kafka_topic: &str) -> Self {
        let bootstrap = kafka.bootstrap();
        // `-E`: a broker that is down for a while is no reason to end.
        let arguments = ["-C", "-E", "-u", "-q", "-b", &bootstrap, "-t", kafka_topic, "-o", "beginning", "-f", RECORD_FORMAT];
        let tool = Guarded::start("kcat", &find_program("kcat"), |command| {
            // A broker that is back is asked within a second, not within 10.
            command.args(arguments).args(["-X", "fetch.wait.max.ms=10", "-X", "reconnect.backoff.max.ms=1000"]);
        });
        Self { tool, bootstrap, topic: kafka_topic.to_owned(), read: Mutex::default() }
    }

    /// How many records it has read, and how many another kcat reads: for a failure, whether it has stood still.
    pub fn standing(&self) -> String {
        let read = self.records().len();
        format!("{read} records read, {} are there; {}", consume_at(&self.bootstrap, &self.topic).len(), self.tool.tail())
    }

    /// What it has read so far, in the order of its reading.
    pub fn records(&self) -> Vec<KafkaRecord> {
        self.read().records.clone()
    }

    /// Looks at the alerts that it has read so far.
    pub fn with_alerts<T>(&self, look: impl FnOnce(&[SeenAlert]) -> T) -> T {
        let mut read = self.read();
        let fresh = alerts_among(&read.records[read.seen..]);
        read.seen = read.records.len();
        read.alerts.extend(fresh);
        look(&read.alerts)
    }

    fn read(&self) -> MutexGuard<'_, Read> {
        // A record is whole before anything that could panic.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let (records, taken) = parse_records(&self.tool.stdout_from(read.bytes));
        read.bytes += u64::try_from(taken).expect("a file's length");
        read.records.extend(records);
        read
    }

    /// Waits until a record is as wanted, and gives it.
    #[track_caller]
    pub fn wait_record(&mut self, deadline: Duration, what: &str, wanted: impl Fn(&KafkaRecord) -> bool) -> KafkaRecord {
        wait_for(deadline, what, || {
            let records = self.records();
            let seen = format!("{} records; {}", records.len(), self.tool.tail());
            records.into_iter().find(|record| wanted(record)).ok_or(seen)
        })
    }
}

/// Publishes one message at QoS 1 over MQTT 5, and waits for the broker's acknowledgement.
#[track_caller]
pub fn publish(mosquitto: &Mosquitto, mqtt_topic: &str, payload: &[u8]) {
    publish_with(mosquitto, mqtt_topic, payload, &[]);
}

/// As [`publish`], with further arguments of `mosquitto_pub`. With `-l` each line of the payload is a message.
#[track_caller]
pub fn publish_with(mosquitto: &Mosquitto, mqtt_topic: &str, payload: &[u8], further: &[&str]) {
    let port = mosquitto.port().to_string();
    let mut arguments = vec!["-h", "127.0.0.1", "-p", &port, "-V", "mqttv5", "-q", "1", "-t", mqtt_topic];
    arguments.extend_from_slice(further);
    if !further.contains(&"-l") {
        // `-s` refuses an empty input.
        arguments.push(if payload.is_empty() { "-n" } else { "-s" });
    }
    run_tool("mosquitto_pub", &arguments, payload, TOOL_DEADLINE);
}

/// Publishes what the broker refuses by ending the connection. Over MQTT 3.1.1: with version 5 the tool knows the broker's limits and
/// keeps such a message to itself.
#[track_caller]
pub fn publish_refused(mosquitto: &Mosquitto, mqtt_topic: &str, payload: &[u8], further: &[&str]) {
    let port = mosquitto.port().to_string();
    let mut arguments = vec!["-h", "127.0.0.1", "-p", &port, "-V", "mqttv311", "-q", "1", "-t", mqtt_topic, "-s"];
    arguments.extend_from_slice(further);
    let (status, _, tail) = try_tool("mosquitto_pub", &arguments, payload, TOOL_DEADLINE);
    assert!(!status.success(), "the broker should have refused it; {tail}");
}

/// A message as `mosquitto_sub` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttMessage {
    /// The MQTT topic.
    pub mqtt_topic: String,
    /// Whether it is a retained copy.
    pub retained: bool,
    /// The bytes.
    pub payload: Vec<u8>,
}

/// A `mosquitto_sub` that goes on listening.
pub struct Subscriber(Guarded);

impl Subscriber {
    /// Starts it, and returns when the broker has logged the subscription: from then on it misses nothing.
    #[track_caller]
    pub fn start(mosquitto: &Mosquitto, filter: &str) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let client_id = format!("rig-subscriber-{}", STARTED.fetch_add(1, Ordering::Relaxed));
        let port = mosquitto.port().to_string();
        let tool = Guarded::start("mosquitto_sub", &find_program("mosquitto_sub"), |command| {
            command.args(["-h", "127.0.0.1", "-p", &port, "-V", "mqttv5", "-i", &client_id, "-q", "1", "-t", filter]);
            // Hex: a payload may hold any bytes.
            command.args(["-F", "%r %x %t"]);
        });
        let logged = format!(" {client_id} 1 {filter}");
        wait_for(TOOL_DEADLINE, "mosquitto_sub to subscribe", || {
            if mosquitto.log().contains(&logged) { Ok(()) } else { Err(tool.tail()) }
        });
        Self(tool)
    }

    /// What it has heard so far.
    pub fn messages(&self) -> Vec<MqttMessage> {
        let output = self.0.stdout();
        // A line that is not whole yet is left.
        let whole = output.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        String::from_utf8_lossy(&output[..whole]).lines().filter_map(parse_message).collect()
    }

    /// Waits until a message is as wanted, and gives it.
    #[track_caller]
    pub fn wait_message(&mut self, deadline: Duration, what: &str, wanted: impl Fn(&MqttMessage) -> bool) -> MqttMessage {
        wait_for(deadline, what, || {
            let messages = self.messages();
            let seen = format!("{} messages; {}", messages.len(), self.0.tail());
            messages.into_iter().find(|message| wanted(message)).ok_or(seen)
        })
    }

    /// The process, to freeze or end it.
    pub fn process(&mut self) -> &mut Guarded {
        &mut self.0
    }
}

/// A `mosquitto_pub` on one connection that publishes every line it is given, as a message of its own at QoS 1.
pub struct Publisher {
    tool: Guarded,
    input: Option<ChildStdin>,
}

impl Publisher {
    /// Starts it.
    pub fn start(mosquitto: &Mosquitto, mqtt_topic: &str) -> Self {
        let port = mosquitto.port().to_string();
        let mut tool = Guarded::start("mosquitto_pub", &find_program("mosquitto_pub"), |command| {
            command.args(["-h", "127.0.0.1", "-p", &port, "-V", "mqttv5", "-q", "1", "-t", mqtt_topic, "-l"]);
            command.stdin(Stdio::piped());
        });
        let input = tool.input();
        Self { tool, input }
    }

    /// Publishes these lines; returns when the tool has them.
    #[track_caller]
    pub fn send(&mut self, lines: &str) {
        let input = self.input.as_mut().expect("the input is open until the end");
        let written = input.write_all(lines.as_bytes()).and_then(|()| input.write_all(b"\n")).and_then(|()| input.flush());
        written.unwrap_or_else(|fault| panic!("publish: {fault}; {}", self.tool.tail()));
    }

    /// Waits until the broker has acknowledged everything.
    #[track_caller]
    pub fn finish(mut self) {
        drop(self.input.take());
        let status = self.tool.wait_ended(TOOL_DEADLINE);
        assert!(status.success(), "mosquitto_pub ended with {status}; {}", self.tool.tail());
    }
}

/// The ingester's probes, heard from outside: a clock of one beat a second that moves only while the MQTT broker and an ingester live.
pub struct Probes(Subscriber);

impl Probes {
    /// Listens to the probes of the reports lane.
    #[track_caller]
    pub fn start(mosquitto: &Mosquitto) -> Self {
        Self(Subscriber::start(mosquitto, "lw/v1/_probe-a/report"))
    }

    /// How many were heard so far.
    pub fn heard(&self) -> usize {
        self.0.messages().len()
    }

    /// Waits for so many more.
    #[track_caller]
    pub fn wait_further(&self, count: usize) {
        let wanted = self.heard() + count;
        wait_until(TOOL_DEADLINE, "probes", || self.heard() >= wanted);
    }
}

fn parse_message(line: &str) -> Option<MqttMessage> {
    let mut parts = line.splitn(3, ' ');
    let retained = parts.next()? == "1";
    let hex = parts.next()?;
    let mqtt_topic = parts.next()?.to_owned();
    let payload = (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16)).collect::<Result<_, _>>();
    Some(MqttMessage { mqtt_topic, retained, payload: payload.expect("mosquitto_sub writes hex") })
}
