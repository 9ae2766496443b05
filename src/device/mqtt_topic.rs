//! MQTT filters of a feed: which messages they take, which device a MQTT topic names, and where its probes go.
//!
//! The device id is what the filter's `+` levels captured, joined by '.': `lw/v1/+/report` captures the device,
//! `owntracks/+/+` captures user and device. The broker's ACL ties those levels to the sender's certificate or user. Of several, only
//! the first may hold a '.' itself, so that no user can write under an id that is another's.

use std::fmt;

use crate::ids::IngesterName;
use crate::limits;

/// What a probe's MQTT topic bears in place of a device.
const PROBE_PREFIX: &str = "_probe-";

/// An MQTT filter with at least one `+` and no `#`.
#[derive(Clone, PartialEq, Eq)]
pub struct Filter(String);

/// Why a text is no filter for a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterFault {
    /// No device could be told from another.
    #[error(
        "has no '+' level: it could not tell devices apart, and no probe could take its way; put '+' where the device id stands"
    )]
    NoWildcard,
    /// Which level names the device would be open.
    #[error("has '#': which level names the device would be open; write one '+' for each level")]
    MultiLevel,
    /// `+` and `#` fill whole levels in MQTT.
    #[error("mixes '+' with other characters in a level; MQTT allows '+' only as a whole level")]
    PartOfLevel,
    /// Wildcards of `$share` and `$SYS` are none of ours.
    #[error("begins with '$': shared subscriptions hand messages to dead members, and $SYS holds no devices")]
    Dollar,
    /// Too long.
    #[error("is longer than 200 bytes")]
    TooLong,
}

/// Whom a MQTT topic names under a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// A device, by the text of its levels; not yet checked. With '/' in it, and so no legal id, where '.' would leave open whose it is.
    Device(String),
    /// An ingester's probe.
    Probe(IngesterName),
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// A [`FilterFault`] that says which rule it breaks.
    pub fn parse(text: &str) -> Result<Self, FilterFault> {
        if text.starts_with('$') {
            return Err(FilterFault::Dollar);
        }
        if text.len() > 200 {
            return Err(FilterFault::TooLong);
        }
        if text.contains('#') {
            return Err(FilterFault::MultiLevel);
        }
        if text.split('/').any(|level| level.contains('+') && level != "+") {
            return Err(FilterFault::PartOfLevel);
        }
        if !text.split('/').any(|level| level == "+") {
            return Err(FilterFault::NoWildcard);
        }
        Ok(Self(text.to_owned()))
    }

    /// The filter as MQTT writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whom the MQTT topic names; none where the filter does not take it.
    pub fn named(&self, mqtt_topic: &str) -> Option<Named> {
        if mqtt_topic.len() > limits::MQTT_TOPIC_BYTES_MAX {
            return None;
        }
        let mut levels = mqtt_topic.split('/');
        let mut captured = Vec::new();
        for wanted in self.0.split('/') {
            let level = levels.next()?;
            if wanted == "+" {
                captured.push(level);
            } else if wanted != level {
                return None;
            }
        }
        if levels.next().is_some() {
            return None;
        }
        let probe = probe_of(captured[0]).filter(|_| captured.iter().all(|level| *level == captured[0]));
        Some(match probe {
            Some(ingester) => Named::Probe(ingester),
            None if captured[1..].iter().any(|level| level.contains('.')) => Named::Device(captured.join("/")),
            None => Named::Device(captured.join(".")),
        })
    }

    /// Whether an ingester's probes can pass this filter: a longer MQTT topic than any lane looks at would make junk of them.
    pub fn passes_probes_of(&self, ingester: &IngesterName) -> bool {
        self.probe_topic(ingester).len() <= limits::MQTT_TOPIC_BYTES_MAX
    }

    /// The MQTT topic on which an ingester's probes pass this filter.
    pub fn probe_topic(&self, ingester: &IngesterName) -> String {
        let filled = format!("{PROBE_PREFIX}{ingester}");
        self.0.split('/').map(|level| if level == "+" { filled.as_str() } else { level }).collect::<Vec<_>>().join("/")
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the MQTT topic bears an ingester's probe under some filter, whichever that is.
pub fn bears_a_probe(mqtt_topic: &str) -> bool {
    mqtt_topic.split('/').any(|level| probe_of(level).is_some())
}

/// Whose probe a level bears in place of a device.
fn probe_of(level: &str) -> Option<IngesterName> {
    IngesterName::parse(level.strip_prefix(PROBE_PREFIX)?).ok()
}

/// The MQTT topic to a native device: its receipts.
pub fn receipt_topic(device: &str) -> String {
    format!("lw/v1/{device}/rx")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(filter: &str, topic: &str) -> Option<Named> {
        Filter::parse(filter).unwrap().named(topic)
    }

    fn device(id: &str) -> Named {
        Named::Device(id.into())
    }

    #[test]
    fn levels_name_the_device() {
        assert_eq!(named("lw/v1/+/report", "lw/v1/dev-1/report"), Some(device("dev-1")));
        assert_eq!(named("owntracks/+/+", "owntracks/jane/phone"), Some(device("jane.phone")));
        assert_eq!(named("lw/v1/+/report", "lw/v1//report"), Some(device("")));
        for other in ["lw/v1/dev-1/duress", "lw/v1/dev-1", "lw/v1/dev-1/report/x", "", "x/lw/v1/dev-1/report"] {
            assert_eq!(named("lw/v1/+/report", other), None, "{other}");
        }
    }

    #[test]
    fn no_two_topics_of_a_filter_name_one_device() {
        assert_eq!(named("owntracks/+/+", "owntracks/joe.smith/phone"), Some(device("joe.smith.phone")));
        assert_eq!(named("owntracks/+/+", "owntracks/joe/smith.phone"), Some(device("joe/smith.phone")), "Joe is not Joe Smith");
        assert!(
            crate::ids::DeviceId::parse("joe/smith.phone").is_err(),
            "what it sends is nobody's, and a press alerts all the same"
        );
        assert_eq!(named("owntracks/+/+/event", "owntracks/joe/a.b/event"), Some(device("joe/a.b")));
        assert_eq!(named("site/+/+/+", "site/a.b/c/d"), Some(device("a.b.c.d")));
        assert_eq!(named("site/+/+/+", "site/a/b/c.d"), Some(device("a/b/c.d")));
        assert_eq!(named("lw/v1/+/report", "lw/v1/joe.phone/report"), Some(device("joe.phone")), "one level names it alone");
        assert_eq!(named("traccar/+/positions", "traccar/gw.1/positions"), Some(device("gw.1")));
    }

    #[test]
    fn probes_take_the_devices_way() {
        let ingester = IngesterName::parse("a-0").unwrap();
        for filter in ["lw/v1/+/report", "owntracks/+/+"] {
            let topic = Filter::parse(filter).unwrap().probe_topic(&ingester);
            assert_eq!(named(filter, &topic), Some(Named::Probe(ingester.clone())), "{topic}");
        }
        assert_eq!(named("owntracks/+/+", "owntracks/_probe-a/phone"), Some(device("_probe-a.phone")), "half a probe is none");
        assert_eq!(named("lw/v1/+/duress", "lw/v1/_probe-/duress"), Some(device("_probe-")));
    }

    #[test]
    fn filters_that_cannot_serve_are_refused_with_the_mend() {
        for (text, fault) in [
            ("lw/v1/dev/report", FilterFault::NoWildcard),
            ("lw/v1/#", FilterFault::MultiLevel),
            ("lw/v1/a+/report", FilterFault::PartOfLevel),
            ("$share/g/lw/+/report", FilterFault::Dollar),
        ] {
            assert_eq!(Filter::parse(text), Err(fault));
        }
    }
}
