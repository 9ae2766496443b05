//! `lonewatch check`: nothing to say of a healthy site, and nobody notices that it ran; every planted fault is named with its mend.

use std::collections::BTreeSet;
use std::time::Duration;

use lonewatch::journal::{self, Record};
use serde_json::Value;

use crate::rig::{
    Follower, MosquittoOptions, PARTITIONS, Probes, Rules, Site, Watchdog, World, alerts_among, consume, figure, journal_records,
    timed,
};

/// The findings of `check --output json`, and whether it ended well.
#[track_caller]
fn check(site: &Site, further: &[&str]) -> (bool, Vec<Value>) {
    let mut arguments = vec!["check", "--output", "json"];
    arguments.extend_from_slice(further);
    let ((status, output, log), took) = timed(|| site.command(&arguments));
    figure(&format!("lonewatch {arguments:?} took {took:?}"));
    assert!(took < Duration::from_secs(45), "it ends in bounded time: {took:?}\n{output}\n{log}");
    let findings = output.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|fault| panic!("{fault}: {line}")));
    (status.success(), findings.collect())
}

fn of<'a>(findings: &'a [Value], verdict: &str) -> Vec<&'a Value> {
    findings.iter().filter(|finding| finding["verdict"] == verdict).collect()
}

/// Whether a finding of this verdict is about this subject, says this, and names this mend.
#[track_caller]
fn must_say(findings: &[Value], verdict: &str, (subject, says, mend): (&str, &str, &str)) {
    let has = |finding: &Value, field: &str, words: &str| finding[field].as_str().is_some_and(|text| text.contains(words));
    let found = findings.iter().any(|finding| {
        finding["verdict"] == verdict
            && has(finding, "subject", subject)
            && has(finding, "says", says)
            && has(finding, "mend", mend)
    });
    assert!(found, "no finding {verdict} of {subject:?} says {says:?} with mend {mend:?}:\n{findings:#?}");
}

#[test]
fn a_healthy_site_has_nothing_wrong_and_does_not_notice() {
    let site = Site::new(World::new("check-healthy"), &Rules::of(&["dev-1"]).silence("3600s"));
    let role = site.run();
    let probes = Probes::start(&site.world.mosquitto);
    for _ in 0..3 {
        let (well, findings) = check(&site, &[]);
        assert!(well && of(&findings, "wrong").is_empty(), "{findings:#?}");
        let parts: BTreeSet<&str> = findings.iter().filter_map(|finding| finding["part"].as_str()).collect();
        assert_eq!(parts.len(), 7, "every part is looked at: {parts:?}");
        for filter in
            ["lane duress filter lw/v1/+/duress", "lane reports filter lw/v1/+/report", "lane reports filter owntracks/+/+"]
        {
            let ok = of(&findings, "ok");
            assert!(
                ok.iter().any(|finding| finding["subject"].as_str().is_some_and(|subject| subject.ends_with(filter))),
                "{filter}"
            );
        }
        let allowed = of(&findings, "ok").into_iter().filter(|finding| finding["part"] == "permissions").count();
        assert!(allowed >= 6, "journal, alerts, shadow, quarantine, reading, group: {findings:#?}");
    }
    let said = site.must(&["check"]);
    figure(&said);
    assert!(
        said.contains(", 0 wrong, ") && !said.contains('\u{1b}'),
        "for people, without colours where nobody sees them:\n{said}"
    );
    probes.wait_further(3);
    // Nothing that a centre, an operator or a machine could take for anything.
    assert_eq!(alerts_among(&consume(&site.world.kafka, &site.alerts_topic())).len(), 0, "no alert");
    assert!(consume(&site.world.kafka, &site.world.kafka_topic("shadow.north")).is_empty());
    assert!(consume(&site.world.kafka, &site.world.kafka_topic("quarantine")).is_empty());
    assert!(role.metric("lonewatch_probes_missing_total", &[]).abs() < 0.5);
    assert_eq!(role.get("/readyz").0, 200);
    let (mut stretches, mut ours) = (BTreeSet::new(), 0);
    for record in journal_records(&site) {
        match journal::decode(record.value.as_deref().unwrap_or_default()).expect("a record of the journal") {
            Record::Message(message) => panic!("nobody has sent a message: {message:?}"),
            Record::Observation(observation) => stretches.extend(observation.heard.iter().map(|heard| (heard.lane, heard.from))),
            Record::Metronome { detector } => ours += usize::from(detector == "_check"),
            Record::Action => {}
        }
    }
    assert_eq!(stretches.len(), 2, "each lane was heard in one stretch");
    assert_eq!(ours, 4, "one record for each run: one broker leads all partitions");
}

#[test]
fn faults_of_the_mqtt_brokers_access_list_are_named_by_filter() {
    // Presses pass; reports may be written and not read; phones may not write; receipts are refused.
    let acl = "topic readwrite lw/v1/+/duress\ntopic write lw/v1/+/report\ntopic readwrite lw/v1/+/status\n\
               topic read owntracks/+/+\ntopic readwrite owntracks/+/+/event\n";
    let options = MosquittoOptions { acl: Some(acl.to_owned()), ..MosquittoOptions::default() };
    let site = Site::new(World::with_mosquitto("check-acl", &options), &Rules::of(&["dev-1"]));
    let (well, findings) = check(&site, &["--only", "mqtt"]);
    assert!(!well);
    let nobody = ("filter lw/v1/+/duress", "nobody else listens", "start an ingester");
    must_say(&findings, "note", nobody);
    must_say(&findings, "wrong", ("filter lw/v1/+/report", "taken and not handed back", "read lw/v1/+/report"));
    must_say(
        &findings,
        "wrong",
        ("filter owntracks/+/+", "refuses our probe on owntracks/_probe-a/_probe-a", "write owntracks/_probe-a/_probe-a"),
    );
    must_say(&findings, "wrong", ("receipts", "refuses them", "write lw/v1/+/rx"));
    assert_eq!(of(&findings, "wrong").len(), 3, "{findings:#?}");
}

#[test]
fn a_wrong_password_and_a_broker_that_is_away_are_named() {
    // A broker that knows no user takes none by name.
    let folder = Watchdog::shared().fresh_folder("passwords");
    std::fs::write(folder.join("users"), "").expect("write the list of users");
    let line = format!("password_file {}/users", folder.display());
    let options = MosquittoOptions { further_lines: vec![line], ..MosquittoOptions::default() };
    let site = Site::new(World::with_mosquitto("check-password", &options), &Rules::of(&["dev-1"]));
    std::fs::write(folder.join("password"), "wrong\n").expect("write a password");
    let configuration = site.configuration("main", PARTITIONS);
    let address = site.world.mosquitto.address();
    let with_user = configuration.replace(
        &format!("url = \"mqtt://{address}\"\n"),
        &format!("url = \"mqtt://{address}\"\nusername = \"u\"\npassword_file = \"{}/password\"\n", folder.display()),
    );
    site.configure(&with_user);
    let (well, findings) = check(&site, &["--only", "mqtt"]);
    assert!(!well);
    must_say(&findings, "wrong", ("feed main", "does not take us as u", "password_file"));
    site.configure(&with_user.replace("/password\"", "/nowhere\""));
    must_say(&check(&site, &["--only", "mqtt"]).1, "wrong", ("feed main", "cannot read its password", "readable"));
    site.configure(&configuration.replace(&address, "127.0.0.1:1"));
    must_say(&check(&site, &["--only", "mqtt"]).1, "wrong", ("feed main", "cannot be reached at 127.0.0.1:1", "running"));
}

#[test]
fn faults_of_kafka_and_the_rulebook_are_named_together() {
    let site = Site::new(World::new("check-kafka"), &Rules::of(&["dev-1"]));
    let (kafka, quarantine) = (&site.world.kafka, site.world.kafka_topic("quarantine"));
    kafka.tool("org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", &quarantine]);
    let alerts = site.alerts_topic();
    for (list, operation) in [("--deny-principal", "Write"), ("--allow-principal", "All")] {
        let arguments = ["--add", list, "User:ANONYMOUS", "--operation", operation, "--topic", &alerts, "--force"];
        kafka.tool("org.apache.kafka.tools.AclCommand", &arguments);
    }
    site.configure(&site.configuration("harbour", 2));
    let (well, findings) = check(&site, &[]);
    assert!(!well);
    must_say(&findings, "wrong", (&quarantine, "is missing", "lonewatch topics create"));
    must_say(&findings, "wrong", (&site.world.kafka_topic("journal"), "has 3 partitions, but must be 2", "partitions = 3"));
    must_say(&findings, "wrong", (&format!("write {alerts}"), "not allowed", "allow this principal to write"));
    must_say(&findings, "wrong", ("feed harbour", "has no entry", "[feeds.harbour]"));
    must_say(&findings, "note", ("feed main", "does not watch it", "[[ingest.feeds]]"));
    let clocks = findings.iter().find(|finding| finding["part"] == "clocks").expect("a word about clocks");
    assert_eq!(clocks["verdict"], "unchecked", "a journal that is wrong is not written to: {clocks}");
    assert!(consume(kafka, &alerts).is_empty(), "asking left no record");
}

#[test]
fn a_kafka_that_is_away_is_said_in_bounded_time() {
    let site = Site::bare(World::new("check-no-kafka"));
    site.configure(&site.configuration("main", PARTITIONS).replace(&site.world.kafka.bootstrap(), "127.0.0.1:1"));
    let (well, findings) = check(&site, &["--only", "kafka", "--only", "clocks"]);
    assert!(!well);
    must_say(&findings, "wrong", ("127.0.0.1:1", "does not answer", "kafka.brokers"));
}

#[test]
fn the_configuration_alone_asks_nobody() {
    let site = Site::bare(World::new("check-offline"));
    site.configure("[kafka]\nbrokers = \"127.0.0.1:1\"\n[ingest]\nname = \"a\"\n[[ingest.feeds]]\nname = \"m\"\nurl = \"mqtt://127.0.0.1:1\"\n");
    let ((status, output, _), took) = timed(|| site.command(&["check", "--offline"]));
    assert!(status.success() && output.contains("no mistake") && took < Duration::from_secs(9), "{took:?}\n{output}");
    site.configure("[kafka]\nbrokers = \"nowhere\"\npartitions = 0\n");
    let (well, findings) = check(&site, &["--offline"]);
    assert!(!well);
    must_say(&findings, "wrong", ("kafka.brokers", "no list of brokers", "host:port"));
    must_say(&findings, "wrong", ("kafka.partitions", "no possible count", "1 to"));
}

#[test]
fn alerts_of_our_blindness_name_the_runbook() {
    let site = Site::new(World::new("check-runbook"), &Rules::of(&["dev-1"]));
    let _role = site.run();
    let alerts = Follower::start(&site.world.kafka, &site.alerts_topic());
    site.world.mosquitto.stop();
    alerts.wait_alerts(Duration::from_secs(40), "blind", |alerts| {
        alerts.iter().any(|alert| alert.text("kind") == "blind").then_some(())
    });
    let mut follow = site.follow(&["alerts", "follow", "--centre", "north", "--from-beginning"]);
    follow.wait_said(Duration::from_secs(40), "(see docs/RUNBOOK.md#blind)");
}
