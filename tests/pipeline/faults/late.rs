//! Repeats, messages out of order, and half an hour of stored reports at once (F12): one id each, and no fence alert about the past.

use std::time::Duration;

use lonewatch::clock::wall_millis;

use crate::rig::{Follower, Publisher, Rules, Site, World, ids, keep_within_a_day, outline, publish, wait_for};

const SOON: Duration = Duration::from_secs(30);
const HOME: (f64, f64) = (51.507, -0.127);
const MINUTE_MILLIS: i64 = 60_000;
/// Stored by the one device, twenty minutes or more of them by the other, and the live ones.
const REPORTS: u32 = 60 + 60 + 2;
const REPEATS: u32 = 30;
const PRESS: &str = "lw/v1/dev-1/duress";
const REPORT: &str = "lw/v1/dev-1/report";

fn report(seq: i64, sent: i64, fixed_at: i64, (lat, lon): (f64, f64)) -> String {
    format!(
        "{{\"boot\":1,\"seq\":{seq},\"sent\":{sent},\"fix\":{{\"lat\":{lat},\"lon\":{lon},\"time\":{fixed_at},\"accuracy\":8}}}}"
    )
}

#[test]
fn repeats_disorder_and_half_an_hour_of_stored_reports() {
    let site = Site::new(World::new("f12"), &Rules::of(&["dev-1", "dev-2"]).keep_in("house", HOME, 0.001));
    let role = site.run();
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());
    let mosquitto = &site.world.mosquitto;
    keep_within_a_day(SOON);
    let now = wall_millis();
    let away = (HOME.0 + 0.01, HOME.1);
    publish(mosquitto, REPORT, report(100, now, now, HOME).as_bytes());

    // A device repeats its press five times: the same bytes.
    let press = format!("{{\"id\":\"p-1\",\"time\":{now}}}");
    let mut presser = Publisher::start(mosquitto, PRESS);
    presser.send(&[press.as_str(); 5].join("\n"));
    presser.finish();

    // What it had stored: it was out for half an hour and had come home before it spoke. Newest first, every other one twice.
    let stored: Vec<String> = (1..=60)
        .flat_map(|half_minutes| {
            let line = report(100 - half_minutes, now, now - half_minutes * MINUTE_MILLIS / 2, away);
            vec![line; if half_minutes % 2 == 0 { 2 } else { 1 }]
        })
        .collect();
    let mut upload = Publisher::start(mosquitto, REPORT);
    upload.send(&stored.join("\n"));
    upload.finish();
    // Another was at home all the time, out of reach, and sends what it had stored oldest first.
    let stored: Vec<String> = (1..=60).map(|number| report(number, now, now - (60 - number) * MINUTE_MILLIS / 2, HOME)).collect();
    let mut upload = Publisher::start(mosquitto, "lw/v1/dev-2/report");
    upload.send(&stored.join("\n"));
    upload.finish();
    // A press among them, of twenty minutes ago.
    let old = format!("{{\"id\":\"p-0\",\"time\":{}}}", now - 20 * MINUTE_MILLIS);
    publish(mosquitto, PRESS, old.as_bytes());
    publish(mosquitto, REPORT, report(101, now + 1, now + 1, HOME).as_bytes());

    wait_for(SOON, "everything to be applied", || {
        let of = |outcome: &str| role.metric("lonewatch_records_total", &[&format!("outcome=\"{outcome}\"")]);
        let (read, repeats) = (of("applied") + of("history") + of("late"), of("repeat"));
        let done = read > f64::from(REPORTS) - 0.5 && repeats > f64::from(REPEATS) - 0.5;
        if done { Ok(()) } else { Err(format!("{read} read, {repeats} repeats")) }
    });
    let seen = alerts.wait_device_alerts(SOON, "both presses in two revisions", |alerts| {
        let second = alerts.iter().filter(|alert| alert.revision == 2).count();
        (second >= 2).then(|| alerts.to_vec())
    });
    assert_eq!(ids(&seen).len(), 2, "two presses and nothing else: {}", outline(&seen));
    assert!(seen.iter().all(|alert| alert.text("kind") == "duress"), "{}", outline(&seen));
    let late = seen.iter().filter(|alert| !alert.json["late"].is_null()).count();
    assert!(late >= 1, "the press of twenty minutes ago says so: {}", outline(&seen));

    // The fence works: the device goes out now.
    let now = wall_millis();
    publish(mosquitto, REPORT, report(102, now, now, away).as_bytes());
    alerts.wait_alerts(SOON, "the fence to be left", |alerts| {
        alerts.iter().any(|alert| alert.text("kind") == "fence_exited" && alert.text("device") == "dev-1").then_some(())
    });
}
