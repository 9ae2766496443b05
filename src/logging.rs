//! Structured logs on standard error: text for people, JSON for machines. A steady state is quiet; no position is ever logged
//! (positions print a placeholder by type).
//!
//! Lines wait in a bounded queue for a thread that writes them. Where nobody takes them, those that find no room are dropped and counted:
//! a log that is blocked must not hold up a press.

use std::io::{IsTerminal as _, Write};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;
use crate::limits;

/// A log that has begun. Dropping it writes what waits, for about a second at most.
pub struct Log {
    dropped: ErrorCounter,
    _writes_what_waits: WorkerGuard,
}

impl Log {
    /// Lines that found no room.
    pub fn dropped(&self) -> usize {
        self.dropped.dropped_lines()
    }
}

/// Begins to log. A filter that cannot be read falls back to `info`; configuration has checked it before.
#[must_use = "what waits is written when it is dropped"]
pub fn begin(format: LogFormat, filter: &str) -> Log {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let (log, lines) = queue(std::io::stderr());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    // A second start in one process (tests) keeps the first.
    let _first_or_kept = match format {
        LogFormat::Text => subscriber.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
    log
}

fn queue(target: impl Write + Send + 'static) -> (Log, NonBlocking) {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(limits::LOG_LINES_WAITING_MAX);
    let (lines, writes_what_waits) = builder.thread_name("log").finish(target);
    (Log { dropped: lines.error_counter(), _writes_what_waits: writes_what_waits }, lines)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_log_that_nobody_reads_holds_up_nobody_and_says_what_it_dropped() {
        let (mut reader, pipe) = std::io::pipe().unwrap();
        let (log, mut lines) = queue(pipe);
        let (done, written) = std::sync::mpsc::channel();
        // Far more than a pipe holds and the queue together.
        let writing = std::thread::spawn(move || {
            for _ in 0..3 * limits::LOG_LINES_WAITING_MAX {
                lines.write_all(&[b'x'; 200]).unwrap();
            }
            done.send(()).unwrap();
        });
        written.recv_timeout(Duration::from_secs(30)).expect("whoever logs goes on");
        writing.join().unwrap();
        let dropped = log.dropped();
        assert!(dropped >= limits::LOG_LINES_WAITING_MAX, "{dropped}");
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            all.len()
        });
        drop(log);
        let whole = (3 * limits::LOG_LINES_WAITING_MAX - dropped) * 200;
        assert_eq!(reading.join().unwrap(), whole, "what was not dropped is written at the end");
    }
}
