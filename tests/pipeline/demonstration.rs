//! The demonstration, whole, as the README runs it: its own brokers, its own fleet, and the fleet's own judgement of the alerts.

use std::time::Duration;

use crate::rig::{Lonewatch, Turn, figure};

/// 30 s of demonstration, its start, and the wait for the last alerts, on cores that builds share.
const DEADLINE: Duration = Duration::from_mins(3);

#[test]
fn the_demonstration_judges_itself_clean() {
    // It judges alerts by the time that they take.
    let _turn = Turn::alone();
    let (status, output, log) = Lonewatch::run(DEADLINE, &["demo", "--seconds", "30", "--output", "json"], []);
    assert!(status.success(), "{status}:\n{output}\n{log}");
    let verdict: serde_json::Value = serde_json::from_str(&output).expect("one JSON object");
    let count = |key: &str| verdict[key].as_u64().unwrap_or_else(|| panic!("no number {key} in {output}"));
    assert_eq!((count("false_alerts"), count("missed_alerts")), (0, 0), "{output}");
    assert!(count("presses_sent") > 0 && count("presses_alerted") == count("presses_sent"), "{output}");
    let kinds = ["duress", "lost_contact", "fence_exited", "battery_low"];
    assert!(kinds.iter().all(|kind| verdict["alerts"][kind].as_u64() > Some(0)), "a kind did not come: {output}");
    figure(&format!("the demonstration: {output}"));
}
