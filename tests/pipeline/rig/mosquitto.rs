//! A real Mosquitto, configured as the documents tell operators to.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::ports::free_port;
use super::process::{Guarded, find_program};
use super::wait::wait_for;
use super::watchdog::Watchdog;

/// It starts in milliseconds; a large store takes longer to read.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// A clean stop writes its store.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const START_ATTEMPTS: usize = 3;

/// What a test may want otherwise.
#[derive(Default)]
pub struct MosquittoOptions {
    /// Lines of an ACL file; none lets everybody do everything.
    pub acl: Option<String>,
    /// It keeps nothing over its end: a restart begins without sessions.
    pub forgets: bool,
    /// Retained messages are refused, as we advise, unless a test is about them.
    pub retain: bool,
    /// Further lines of the configuration.
    pub further_lines: Vec<String>,
}

/// A Mosquitto. Dropping it kills it; its folder goes with the run's.
pub struct Mosquitto {
    folder: PathBuf,
    port: u16,
    broker: Mutex<Guarded>,
}

impl Mosquitto {
    /// Starts one on a free loopback port and waits until it listens.
    pub fn start() -> Self {
        Self::start_with(&MosquittoOptions::default())
    }

    /// As [`Mosquitto::start`], configured otherwise.
    ///
    /// # Panics
    /// When it is not installed or does not start: with the end of its log.
    pub fn start_with(options: &MosquittoOptions) -> Self {
        let mut seen = String::new();
        for _ in 0..START_ATTEMPTS {
            let folder = Watchdog::shared().fresh_folder("mosquitto");
            let port = free_port();
            if let Some(acl) = &options.acl {
                std::fs::write(folder.join("acl"), acl).expect("write Mosquitto's ACL");
            }
            std::fs::write(folder.join("mosquitto.conf"), configuration(&folder, port, options))
                .expect("write Mosquitto's configuration");
            let mut broker = start_broker(&folder);
            match wait_listening(&mut broker) {
                Ok(()) => return Self { folder, port, broker: Mutex::new(broker) },
                Err(tail) => seen = tail,
            }
        }
        panic!("Mosquitto did not start in {START_ATTEMPTS} attempts; {seen}");
    }

    /// The loopback port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The broker's process id.
    pub fn pid(&self) -> u32 {
        self.broker().pid()
    }

    /// What it has logged since its last start.
    pub fn log(&self) -> String {
        self.broker().log()
    }

    /// SIGTERM, and waits for the clean end: it writes its store.
    #[track_caller]
    pub fn stop(&self) {
        let mut broker = self.broker();
        broker.term();
        broker.wait_ended(STOP_DEADLINE);
    }

    /// SIGKILL: what it had not written is lost, although it acknowledged it (it writes every half hour).
    pub fn kill(&self) {
        self.broker().kill();
    }

    /// Starts it again on the same port and folder after [`Mosquitto::stop`] or [`Mosquitto::kill`].
    #[track_caller]
    pub fn restart(&self) {
        let mut broker = self.broker();
        broker.kill();
        *broker = start_broker(&self.folder);
        if let Err(tail) = wait_listening(&mut broker) {
            panic!("Mosquitto did not come back; {tail}");
        }
    }

    /// Puts another ACL in force, on live sessions too; for a broker that was started with one.
    #[track_caller]
    pub fn set_acl(&self, acl: &str) {
        std::fs::write(self.folder.join("acl"), acl).expect("write Mosquitto's ACL");
        let mut broker = self.broker();
        let reloads = |broker: &Guarded| broker.log().matches("Reloading config").count();
        let before = reloads(&broker);
        broker.hang_up();
        wait_for(START_DEADLINE, "Mosquitto to reload", || if reloads(&broker) > before { Ok(()) } else { Err(broker.tail()) });
    }

    /// SIGSTOP: connections stay, answers do not come.
    pub fn freeze(&self) {
        self.broker().freeze();
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.broker().thaw();
    }

    fn broker(&self) -> MutexGuard<'_, Guarded> {
        // A test that panicked with the lock held leaves a process that is as good as before.
        self.broker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start_broker(folder: &Path) -> Guarded {
    let file = folder.join("mosquitto.conf");
    Guarded::start("mosquitto", &find_program("mosquitto"), |command| {
        command.arg("-c").arg(&file);
    })
}

/// Its own word that it runs: a port that answers could be somebody else's.
fn wait_listening(broker: &mut Guarded) -> Result<(), String> {
    wait_for(START_DEADLINE, "Mosquitto to run", || {
        if broker.ended().is_some() {
            return Ok(Err(broker.tail()));
        }
        if broker.log().lines().any(|line| line.ends_with(" running")) { Ok(Ok(())) } else { Err(broker.tail()) }
    })
}

fn configuration(folder: &Path, port: u16, options: &MosquittoOptions) -> String {
    let folder = folder.display();
    let mut text = format!(
        "listener {port} 127.0.0.1
allow_anonymous true
# As root Mosquitto would become a user who cannot write here.
user root
set_tcp_nodelay true
persistence {persistence}
persistence_location {folder}/
# Its default of 1000 overflows within a minute of a Kafka outage, and what overflows was acknowledged to the device.
max_queued_messages 200000
max_queued_bytes 0
message_size_limit {payload_bytes_max}
# Room for the headers of a message at that limit.
max_packet_size {packet_bytes_max}
retain_available {retain}
sys_interval 1
log_dest stderr
log_type error
log_type warning
log_type notice
log_type information
log_type subscribe
",
        payload_bytes_max = lonewatch::limits::BROKER_PAYLOAD_BYTES_MAX,
        packet_bytes_max = lonewatch::limits::BROKER_PAYLOAD_BYTES_MAX + 1024,
        persistence = !options.forgets,
        retain = options.retain,
    );
    if options.acl.is_some() {
        let _ = writeln!(text, "acl_file {folder}/acl");
    }
    for line in &options.further_lines {
        let _ = writeln!(text, "{line}");
    }
    text
}
