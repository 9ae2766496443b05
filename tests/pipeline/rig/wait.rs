//! Waiting for a condition, with a deadline. The one place of the tests where time passes: nothing else may sleep.
#![allow(clippy::disallowed_methods, reason = "a deadline needs the clock")]

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Between two looks. Short beside anything that we wait for, long enough to leave the brokers their cores.
const LOOK_MILLIS: u64 = 5;

/// Waits until the condition holds.
///
/// # Panics
/// When the deadline passes, saying what was waited for.
#[track_caller]
pub fn wait_until(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(deadline, what, || if condition() { Ok(()) } else { Err("not yet") });
}

/// Waits until the look succeeds, and gives what it found. An error is the state that was seen instead.
///
/// # Panics
/// When the deadline passes, saying what was waited for and what was seen last.
#[track_caller]
pub fn wait_for<T, S: Display>(deadline: Duration, what: &str, mut look: impl FnMut() -> Result<T, S>) -> T {
    let began = Instant::now();
    loop {
        // The clock is read before the look, so that a slow look at the end still counts.
        let over = began.elapsed() >= deadline;
        match look() {
            Ok(found) => return found,
            Err(seen) if over => panic!("waited {deadline:?} for {what}; last seen: {seen}"),
            Err(_) => std::thread::park_timeout(Duration::from_millis(LOOK_MILLIS)),
        }
    }
}

/// How long something took.
pub fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let outcome = act();
    (outcome, began.elapsed())
}

/// A figure that the test found, for whoever reads its output (`cargo test --test pipeline -- --show-output`).
#[allow(clippy::disallowed_macros, reason = "the test harness shows what a test prints, and nothing else")]
pub fn figure(text: &str) {
    println!("figure: {text}");
}
