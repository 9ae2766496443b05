//! Threads that give way to others where cores are short. The kernel hands the value on to every thread that such a thread starts,
//! librdkafka's among them.

use rustix::process::{getpriority_process, setpriority_process};

use crate::limits;

/// The kernel's lowest priority.
const NICEST: i32 = 19;

/// From now on this thread, and what it starts, gives way. Where the system does not allow it, things are as they were.
pub fn give_way() {
    let lowered =
        getpriority_process(None).and_then(|nice| setpriority_process(None, NICEST.min(nice + limits::REPORTS_NICER_BY)));
    if let Err(fault) = lowered {
        tracing::warn!(%fault, "threads for reports cannot give way to those for presses");
    }
}
