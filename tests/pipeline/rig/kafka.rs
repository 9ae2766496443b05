//! A real Kafka: one KRaft node, broker and controller in one, from the jars that `.ci/test` fetched.
//!
//! Kafka topics are never made by chance (`auto.create.topics.enable=false`): a missing one must fail as it would in production.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use super::ports::free_port;
use super::process::{Guarded, find_program, run_tool};
use super::wait::wait_for;
use super::watchdog::Watchdog;

/// About 10 s on two idle cores; builds and other tests may share them.
const START_DEADLINE: Duration = Duration::from_mins(2);
/// A clean stop writes its indexes and leaves the controller.
const STOP_DEADLINE: Duration = Duration::from_mins(1);
/// Ports may be taken between our look and Kafka's.
const START_ATTEMPTS: usize = 3;
/// Any 22 characters of this alphabet that decode to 16 bytes.
const CLUSTER_ID: &str = "bG9uZXdhdGNoLXJpZy0wMQ";

/// What a caller may want otherwise.
pub struct KafkaOptions {
    /// The JVM's heap, as its `-Xmx` says it.
    pub heap: String,
    /// Further lines of the configuration; of two lines for one setting the later one counts.
    pub further_lines: Vec<String>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self { heap: "512m".to_owned(), further_lines: Vec::new() }
    }
}

/// A Kafka of one node. Dropping it kills it; its folder goes with the run's.
pub struct Kafka {
    folder: PathBuf,
    port: u16,
    heap: String,
    broker: Mutex<Guarded>,
}

impl Kafka {
    /// Formats a fresh folder, starts a broker on free ports and waits until it answers.
    ///
    /// # Panics
    /// When jars or java are missing, or it does not start: with the end of its log.
    pub fn start() -> Self {
        Self::start_with(&KafkaOptions::default())
    }

    /// As [`Kafka::start`], configured otherwise.
    ///
    /// # Panics
    /// As [`Kafka::start`].
    pub fn start_with(options: &KafkaOptions) -> Self {
        let mut seen = String::new();
        for _ in 0..START_ATTEMPTS {
            let folder = Watchdog::shared().fresh_folder("kafka");
            let (port, controller_port) = (free_port(), free_port());
            let text = properties(&folder, port, controller_port) + &options.further_lines.join("\n");
            std::fs::write(folder.join("server.properties"), text).expect("write Kafka's configuration");
            format_storage(&folder);
            let mut broker = start_broker(&folder, &options.heap);
            match wait_answering(&mut broker, port) {
                Ok(()) => return Self { folder, port, heap: options.heap.clone(), broker: Mutex::new(broker) },
                Err(tail) => seen = tail,
            }
        }
        panic!("Kafka did not start in {START_ATTEMPTS} attempts; {seen}");
    }

    /// `host:port`, as clients want it.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The broker's process id.
    pub fn pid(&self) -> u32 {
        self.broker().pid()
    }

    /// SIGTERM, and waits for the clean end.
    #[track_caller]
    pub fn stop(&self) {
        let mut broker = self.broker();
        broker.term();
        broker.wait_ended(STOP_DEADLINE);
    }

    /// SIGKILL.
    pub fn kill(&self) {
        self.broker().kill();
    }

    /// Starts it again on the same port and folder after [`Kafka::stop`] or [`Kafka::kill`], and waits until it answers.
    #[track_caller]
    pub fn restart(&self) {
        let mut broker = self.broker();
        broker.kill();
        *broker = start_broker(&self.folder, &self.heap);
        if let Err(tail) = wait_answering(&mut broker, self.port) {
            panic!("Kafka did not come back; {tail}");
        }
    }

    /// SIGSTOP: connections stay, answers do not come.
    pub fn freeze(&self) {
        self.broker().freeze();
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.broker().thaw();
    }

    /// Makes a Kafka topic with Kafka's own tool (about 2 s), for tests that do not go through `lonewatch topics create`.
    /// `settings` such as `retention.ms=1000`.
    #[track_caller]
    pub fn create_topic(&self, name: &str, partitions: u32, settings: &[&str]) {
        let partitions = partitions.to_string();
        let mut arguments = vec!["--create", "--topic", name, "--partitions", &partitions];
        arguments.extend(settings.iter().flat_map(|setting| ["--config", *setting]));
        self.tool("org.apache.kafka.tools.TopicCommand", &arguments);
    }

    /// Runs one of Kafka's own tools, by its class, on this broker, and gives its output.
    #[track_caller]
    pub fn tool(&self, class: &str, arguments: &[&str]) -> String {
        let (classpath, bootstrap) = (classpath(), self.bootstrap());
        let mut all = vec!["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", &classpath, class, "--bootstrap-server", &bootstrap];
        all.extend_from_slice(arguments);
        String::from_utf8_lossy(&run_tool("java", &all, b"", START_DEADLINE)).into_owned()
    }

    fn broker(&self) -> std::sync::MutexGuard<'_, Guarded> {
        // A test that panicked with the lock held leaves a process that is as good as before.
        self.broker.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn start_broker(folder: &Path, heap: &str) -> Guarded {
    let properties = folder.join("server.properties");
    Guarded::start("kafka-broker", &find_program("java"), |command| {
        command.args([&format!("-Xmx{heap}"), "-cp", &classpath(), "kafka.Kafka"]).arg(&properties);
    })
}

fn format_storage(folder: &Path) {
    let properties = folder.join("server.properties");
    let properties = properties.to_str().expect("the temporary folder's name is text");
    let classpath = classpath();
    let arguments = ["-cp", &classpath, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", properties];
    run_tool("java", &arguments, b"", START_DEADLINE);
}

/// Answers to a client that is not ours. The error holds the log's end of a broker that ended.
fn wait_answering(broker: &mut Guarded, port: u16) -> Result<(), String> {
    let kcat = find_program("kcat");
    let address = format!("127.0.0.1:{port}");
    wait_for(START_DEADLINE, "Kafka to answer", || {
        if broker.ended().is_some() {
            return Ok(Err(broker.tail()));
        }
        // Of a port that somebody else took, our broker would not say this.
        if !(broker.log() + &String::from_utf8_lossy(&broker.stdout())).contains("Kafka Server started") {
            return Err(broker.tail());
        }
        let listing = std::process::Command::new(&kcat).args(["-b", &address, "-L", "-m", "5"]).output();
        match listing {
            Ok(listing) if String::from_utf8_lossy(&listing.stdout).contains("1 brokers:") => Ok(Ok(())),
            Ok(listing) => Err(String::from_utf8_lossy(&listing.stderr).into_owned()),
            Err(fault) => Err(fault.to_string()),
        }
    })
}

/// The jars.
///
/// # Panics
/// When they are not there, naming the mend.
fn classpath() -> String {
    let libs = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/kafka/libs");
    assert!(libs.join(".complete").is_file(), "Kafka's jars are missing: run .ci/test");
    format!("{}/*", libs.display())
}

fn properties(folder: &Path, port: u16, controller_port: u16) -> String {
    let data = folder.join("data");
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
# Everybody may do everything with what has no access list; a test writes one where it wants to be refused.
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
# One node holds the only copy of everything.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Few partitions of Kafka's own start faster than its 50.
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
# An empty consumer group would wait 3 s for more members.
group.initial.rebalance.delay.ms=0
# The least that Kafka 4 allows, so that retention and compaction have whole segments to work on.
log.segment.bytes=1048576
log.retention.check.interval.ms=1000
log.cleaner.backoff.ms=1000
# A stopped broker shall be down in a second, not after waiting for consumers.
controlled.shutdown.max.retries=1
",
        data = data.display()
    )
}
