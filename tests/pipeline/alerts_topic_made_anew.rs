//! A centre's topic is deleted and made again under `alerts follow`: it went on in silence, and nobody saw an alert any more.

use std::time::Duration;

use crate::rig::{Rules, Site, World, produce, wait_until};

const SOON: Duration = Duration::from_mins(1);

#[test]
fn alerts_follow_begins_anew_with_a_topic_that_was_made_anew_and_says_so() {
    let site = Site::new(World::new("topic-anew"), &Rules::of(&["dev-1"]));
    let (kafka, topic) = (&site.world.kafka, site.alerts_topic());
    let mut follow = site.follow(&["alerts", "follow", "--centre", "north", "--from-beginning", "--output", "json"]);
    for n in 1..=3 {
        produce(kafka, &topic, "dev-1", format!("before-{n}").as_bytes());
    }
    follow.wait_said(SOON, "before-3");
    kafka.tool("org.apache.kafka.tools.TopicCommand", &["--delete", "--topic", &topic]);
    wait_until(SOON, "the topic to be made again", || {
        site.must(&["rules", "apply", &site.rules_folder().display().to_string()]).contains(&format!("made {topic}"))
    });
    produce(kafka, &topic, "dev-1", b"after-1");
    follow.wait_said(SOON, "made anew");
    follow.wait_said(SOON, "after-1");
}
