//! Every key of the configuration: its path, its kind, its default and what it is for. The one list from which the shape is
//! checked and the reference is written.

use std::fmt::Write as _;

use crate::device::Decoder;

/// What a key's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Choice(&'static [&'static str]),
    /// A table of names and values of somebody else's: librdkafka's.
    Map,
}

/// One key. `[]` in its path stands for each element of an array.
pub(super) struct Key {
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    /// What holds where the key is absent; none where it must be given (in its section) or has no default.
    pub(super) default: Option<&'static str>,
    pub(super) doc: &'static str,
}

const fn key(path: &'static str, kind: Kind, default: Option<&'static str>, doc: &'static str) -> Key {
    Key { path, kind, default, doc }
}

use Kind::{Choice, Integer, Map, Text};

/// In the order of the reference.
pub(super) const KEYS: &[Key] = &[
    key("kafka.brokers", Text, Some("localhost:9092"), "Kafka brokers to begin with: `host:port`, separated by commas."),
    key(
        "kafka.prefix",
        Text,
        Some("lonewatch"),
        "Names of our Kafka topics begin with this and a dot. At most 20 of a-z, 0-9, `_` and `-`. Two installations on one cluster need two prefixes.",
    ),
    key(
        "kafka.partitions",
        Integer,
        Some("12"),
        "Partitions of the journal and of every topic keyed by device. Fixed for the life of the journal: a device's records keep their order only under one count.",
    ),
    key("kafka.password_file", Text, None, "A file with the SASL password (`sasl.password`); its last line break is dropped."),
    key(
        "kafka.options",
        Map,
        None,
        "librdkafka properties that say how to reach the brokers, such as `\"security.protocol\"` or `\"sasl.username\"`. Those on which lonewatch's promises rest are refused. In variables write `_` for `.`: `LONEWATCH__KAFKA__OPTIONS__SECURITY_PROTOCOL`.",
    ),
    key(
        "ingest.name",
        Text,
        None,
        "This ingester's name, unique in the installation: its MQTT sessions and probes bear it. Under another name it begins with new sessions, and what waits in the old ones is lost: start the new ingester beside the old, and end that when the new one's lanes are ready. Required for `ingest` and `run`.",
    ),
    key("ingest.feeds[].name", Text, None, "The feed's name, as in its rulebook entry. Required."),
    key("ingest.feeds[].url", Text, None, "The feed's MQTT broker: `mqtt://host:port` (port 1883 if absent). Required."),
    key("ingest.feeds[].username", Text, None, "The user at the MQTT broker."),
    key("ingest.feeds[].password_file", Text, None, "A file with that user's password; its last line break is dropped."),
    key(
        "ingest.feeds[].identity",
        Choice(&["topic", "payload"]),
        Some("topic"),
        "Who says which device speaks: the MQTT topic, which the broker's access list ties to the sender, or the payload, for a trusted gateway.",
    ),
    key(
        "ingest.feeds[].sources[].lane",
        Choice(&["duress", "reports"]),
        None,
        "The lane of this source. Anything that arrives on a duress source is a press. Required.",
    ),
    key(
        "ingest.feeds[].sources[].filter",
        Text,
        None,
        "The MQTT filter to subscribe to; `+` stands where the device's id stands. Required.",
    ),
    key(
        "ingest.feeds[].sources[].decoder",
        Choice(Decoder::NAMES),
        Some("native"),
        "The dialect ([DEVICES.md](DEVICES.md)). Without any source a feed has native presses on `lw/v1/+/duress`, native reports on `lw/v1/+/report`, wills on `lw/v1/+/status` (`status`), and OwnTracks on `owntracks/+/+` and `owntracks/+/+/event`.",
    ),
    key(
        "detect.name",
        Text,
        None,
        "This detector's name, unique in its group: Kafka knows it by this across restarts. Required for `detect` and `run`.",
    ),
    key(
        "detect.group",
        Text,
        None,
        "The Kafka consumer group of all detectors of the installation; without it `kafka.prefix` and `-detect`, so that two installations on one cluster do not share one.",
    ),
    key(
        "admin.listen",
        Text,
        Some("127.0.0.1:9464"),
        "Address and port of `/metrics`, `/livez` and `/readyz`. They tell no positions, but open them to your monitoring only.",
    ),
    key("log.format", Choice(&["text", "json"]), Some("text"), "Log lines for people or for machines."),
    key(
        "log.level",
        Text,
        Some("info"),
        "What is logged: `error`, `warn`, `info`, `debug`, or a filter such as `info,kafka=debug`.",
    ),
];

/// The key with this path, `[]` for each index.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The environment variable of a path.
fn variable(path: &str) -> String {
    let path = path.replace("[]", ".0");
    format!("LONEWATCH__{}", path.to_uppercase().replace('.', "__"))
}

/// The reference of all keys, in Markdown: `docs/CONFIGURATION.md`.
pub fn reference() -> String {
    let mut text = String::from(INTRODUCTION);
    let mut section = "";
    for key in KEYS {
        let (parent, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if parent != section {
            section = parent;
            let heading =
                if parent.ends_with("[]") { format!("[[{}]]", parent.replace("[]", "")) } else { format!("[{parent}]") };
            let _infallible = write!(text, "\n## `{heading}`\n\n| key | value | default | what it is for |\n|---|---|---|---|\n");
        }
        let kind = match key.kind {
            Text => "text".to_owned(),
            Integer => "whole number".to_owned(),
            Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "),
            Map => "table".to_owned(),
        };
        let default = key.default.map_or_else(|| "none".to_owned(), |default| format!("`{default}`"));
        let _infallible =
            writeln!(text, "| `{name}`<br>`{}` | {kind} | {default} | {} |", variable(key.path), key.doc.replace('|', "\\|"));
    }
    text
}

const INTRODUCTION: &str = "# Configuration

Generated from the program (`src/config/keys.rs`); do not edit.

One TOML file, and every key also as an environment variable, which wins over the file: `LONEWATCH__` and the path with `__`
between levels and numbers for the elements of arrays, from 0. All mistakes are reported at once, each with its key and its mend;
a key that is not listed here is a mistake. Secrets stand in files of their own and are never printed.

```toml
[kafka]
brokers = \"kafka-1:9092,kafka-2:9092\"

[ingest]
name = \"a\"

[[ingest.feeds]]
name = \"main\"
url = \"mqtt://mosquitto:1883\"

[detect]
name = \"d-0\"
```
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_reference_is_the_one_of_these_keys() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFIGURATION.md");
        if std::env::var_os("REGENERATE").is_some() {
            std::fs::write(&path, reference()).unwrap();
        }
        let published = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(published == reference(), "docs/CONFIGURATION.md is stale: run the tests with REGENERATE=1");
    }

    #[test]
    fn the_example_of_the_reference_is_right() {
        let example = INTRODUCTION.split("```").nth(1).unwrap().strip_prefix("toml").unwrap();
        let settings = super::super::Settings::load(example, std::iter::empty()).unwrap();
        assert!(settings.ingest().is_ok() && settings.detect().is_ok());
    }
}
