//! Waiting for a condition, with a deadline. The one place of the tests where time passes: nothing else may sleep.
#![allow(clippy::disallowed_methods, reason = "a deadline needs the clock")]

use std::fmt::Display;
use std::time::{Duration, Instant};

use lonewatch::clock::wall_millis;

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

/// Of an act that is called again and again: the first time, and then once a second.
pub fn once_a_second(mut act: impl FnMut()) -> impl FnMut() {
    let mut done_at = None::<Instant>;
    move || {
        if done_at.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) {
            done_at = Some(Instant::now());
            act();
        }
    }
}

/// Lets the day's end pass, by UTC, where it comes within this: a device's own id counts for a day, so a repeat after midnight is news.
pub fn keep_within_a_day(span: Duration) {
    const DAY_MILLIS: i64 = 24 * 60 * 60 * 1_000;
    let day = |at: i64| at / DAY_MILLIS;
    let end = i64::try_from(span.as_millis()).expect("a short time");
    let today = day(wall_millis() + end);
    wait_until(span + span, "the day to end", || day(wall_millis()) == today);
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
