//! What would make lonewatch wrong keeps it from starting, and says what is, what must be, and what mends it; all of it at once.

use std::time::Duration;

use crate::rig::{PARTITIONS, Rules, Site, World, timed};

#[test]
fn a_journal_of_the_wrong_shape_is_refused() {
    let world = World::new("wrong-journal");
    let journal = world.kafka_topic("journal");
    world.kafka.create_topic(&journal, 2, &["message.timestamp.type=CreateTime"]);
    let site = Site::new(world, &Rules::of(&["dev-1"]));
    for role in ["run", "ingest", "detect"] {
        let said = site.refused(&[role]);
        let lines: Vec<&str> = said.lines().filter(|line| line.contains(&journal) && line.contains("error:")).collect();
        assert_eq!(lines.len(), 2, "count and timestamps at once:\n{said}");
        let says = |words: &[&str]| lines.iter().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(says(&["2 partitions", &format!("must be {PARTITIONS}"), "Mend:"]), "{said}");
        assert!(says(&["CreateTime", "must be LogAppendTime", "Mend:", "kafka-configs", "message.timestamp.type"]), "{said}");
    }
    let said = site.refused(&["topics", "check"]);
    assert!(said.contains("CreateTime") && said.contains("2 partitions"), "{said}");
}

#[test]
fn a_feed_that_the_rulebook_does_not_name_is_refused() {
    let site = Site::new(World::new("no-feed"), &Rules::of(&["dev-1"]));
    site.configure(&site.configuration("harbour", PARTITIONS));
    for role in ["run", "ingest"] {
        let said = site.refused(&[role]);
        assert!(said.contains("the rulebook has no feed harbour"), "{said}");
        assert!(said.contains("see docs/RUNBOOK.md#feed-without-entry"), "{said}");
        assert!(said.contains("[feeds.harbour]") && said.contains("lonewatch rules apply"), "{said}");
    }
}

#[test]
fn missing_topics_are_refused_with_the_command_that_makes_them() {
    let site = Site::bare(World::new("no-topics"));
    let said = site.refused(&["run"]);
    for topic in ["journal", "rulebook", "state", "quarantine"] {
        let name = site.world.kafka_topic(topic);
        assert!(said.lines().any(|line| line.contains(&name) && line.contains("is missing")), "{said}");
    }
    assert!(said.contains("lonewatch topics create") && said.contains("see docs/RUNBOOK.md#topics-wrong"), "{said}");
}

#[test]
fn every_mistake_of_the_configuration_is_told_at_once() {
    let site = Site::bare(World::new("mistakes"));
    site.configure(
        "[kafka]\nprefix = \"Not Legal\"\npartitions = 0\nbroker = \"localhost\"\n\
         [ingest]\nname = \"a\"\n[[ingest.feeds]]\nname = \"main\"\nurl = \"http://127.0.0.1\"\n\
         [detect]\n[admin]\nlisten = \"nowhere\"\n[log]\nformat = \"xml\"\n",
    );
    let said = site.refused(&["run"]);
    let keys =
        ["kafka.prefix", "kafka.partitions", "kafka.broker", "ingest.feeds[0].url", "detect.name", "admin.listen", "log.format"];
    for key in keys {
        assert!(said.lines().any(|line| line.contains(key)), "{key} is not named in:\n{said}");
    }
    assert_eq!(said.matches("error:").count(), keys.len(), "one line each:\n{said}");
    assert_eq!(said.matches("see docs/RUNBOOK.md#configuration").count(), 1, "{said}");
}

#[test]
fn kafka_options_that_no_client_takes_are_refused_instead_of_waited_for() {
    let site = Site::bare(World::new("options"));
    let good = site.configuration("main", PARTITIONS);
    for (property, value) in [("security.protocol", "ssl"), ("securty.protocol", "plaintext")] {
        site.configure(&format!("{good}[kafka.options]\n\"{property}\" = \"{value}\"\n"));
        for command in [&["run"][..], &["topics", "create"], &["check", "--offline"]] {
            let ((status, output, log), _) = timed(|| site.command(command));
            let said = output + &log;
            assert!(!status.success() && said.contains(property) && said.contains("[kafka.options]"), "{command:?}: {said}");
            assert!(said.contains("docs/RUNBOOK.md#kafka-settings"), "{command:?}: {said}");
        }
    }
}

#[test]
fn commands_say_within_seconds_which_kafka_does_not_answer() {
    let site = Site::new(World::new("commands-no-kafka"), &Rules::of(&["dev-1"]));
    let said = site.refused(&["alerts", "follow", "--centre", "nowhere"]);
    assert!(said.contains("no centre nowhere") && said.contains("[centres.nowhere]") && said.contains("rules apply"), "{said}");
    site.configure(&site.configuration("main", PARTITIONS).replace(&site.world.kafka.bootstrap(), "127.0.0.1:1"));
    let folder = site.rules_folder().display().to_string();
    for command in [&["rules", "apply", &folder][..], &["topics", "create"], &["alerts", "follow", "--centre", "north"]] {
        let (said, took) = timed(|| site.refused(command));
        assert!(took < Duration::from_secs(19), "{command:?} took {took:?}");
        assert!(said.contains("no Kafka broker answers at 127.0.0.1:1") && said.contains("Mend:"), "{said}");
        assert!(said.contains("docs/RUNBOOK.md#kafka-unreachable"), "{said}");
    }
}
