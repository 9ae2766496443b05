//! Threads that give way to others where cores are short. The kernel hands the value on to every thread that such a thread starts,
//! librdkafka's among them.

use crate::limits;

/// From now on this thread, and what it starts, gives way. Where the system does not allow it, things are as they were.
pub fn give_way() {
    if let Err(fault) = rustix::process::setpriority_process(None, limits::REPORTS_NICE) {
        tracing::warn!(%fault, "threads for reports cannot give way to those for presses");
    }
}
