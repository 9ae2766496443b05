//! Names and identities: parsed once at the border, valid ever after.
//!
//! Hashes are the first 16 bytes of SHA-256 over length-prefixed fields under a domain word, so that no two kinds of identity
//! and no two splits of the same bytes can meet.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::limits;
use crate::time::{DAY_MILLIS, ProbeMillis};

/// Why a text cannot be a name, in words that an operator can act on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {} {what}: {rule}", article(what))]
pub struct NameFault {
    /// What the text should have been: `device id`, `tenant`, ...
    pub what: &'static str,
    /// The text, cut to a printable length.
    pub text: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

impl NameFault {
    fn new(what: &'static str, text: &str, rule: &'static str) -> Self {
        Self { what, text: text.chars().take(80).collect(), rule }
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $legal:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Reads a name.
            ///
            /// # Errors
            /// A [`NameFault`] that states the rule which the text breaks.
            pub fn parse(text: &str) -> Result<Self, NameFault> {
                if $legal(text) {
                    Ok(Self(Arc::from(text)))
                } else {
                    Err(NameFault::new($what, text, $rule))
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "description": $rule })
            }
        }
    };
}

fn tail_is(text: &str, legal: fn(char) -> bool) -> bool {
    text.chars().skip(1).all(legal)
}

fn legal_device_id(text: &str) -> bool {
    text.len() <= limits::DEVICE_ID_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && tail_is(text, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

fn legal_name(text: &str) -> bool {
    text.len() <= limits::NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && tail_is(text, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
}

name! {
    /// What publishes; unique in the installation.
    DeviceId, "device id", "a letter or digit, then up to 63 of letters, digits, '.', '_' and '-'", legal_device_id
}
name! {
    /// One MQTT broker endpoint with its filters, decoder and identity rule.
    FeedName, "feed name", "a lower-case letter or digit, then up to 47 of a-z, 0-9, '_' and '-'", legal_name
}
name! {
    /// An organisation that shares the installation.
    TenantName, "tenant name", "a lower-case letter or digit, then up to 47 of a-z, 0-9, '_' and '-'", legal_name
}
name! {
    /// A group of a tenant's devices with rules in common.
    GroupName, "group name", "a lower-case letter or digit, then up to 47 of a-z, 0-9, '_' and '-'", legal_name
}
name! {
    /// An alarm receiving centre; part of its Kafka topics' names.
    CentreName, "centre name", "a lower-case letter or digit, then up to 47 of a-z, 0-9, '_' and '-'", legal_name
}
name! {
    /// A fence of a tenant.
    FenceName, "fence name", "a lower-case letter or digit, then up to 47 of a-z, 0-9, '_' and '-'", legal_name
}
name! {
    /// One ingester: part of its MQTT client ids and of its probes' MQTT topics.
    IngesterName, "ingester name", "a lower-case letter or digit, then up to 47 of a-z, 0-9, '_' and '-'", legal_name
}

impl DeviceId {
    /// The id under which a press stands whose MQTT topic bears an illegal id: `x-` and 16 hex digits of its hash.
    pub fn for_illegal(raw: &[u8]) -> Self {
        let hash = Hasher::new("illegal-device").field(raw).finish();
        Self(Arc::from(format!("x-{}", hex(&hash[..8]))))
    }
}

/// Builds an identity: SHA-256 over a domain word and length-prefixed fields.
pub struct Hasher(Sha256);

impl Hasher {
    /// Starts a hash of the named kind.
    pub fn new(domain: &'static str) -> Self {
        Self(Sha256::new()).field(domain.as_bytes())
    }

    /// Adds one field; its length goes first, so that fields cannot run together.
    #[must_use]
    pub fn field(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds one integer field.
    #[must_use]
    pub fn int(self, value: i64) -> Self {
        self.field(&value.to_le_bytes())
    }

    /// The first 16 bytes of the hash.
    pub fn finish(self) -> [u8; 16] {
        let mut short = [0; 16];
        short.copy_from_slice(&self.0.finalize()[..16]);
        short
    }
}

/// SHA-256 of a payload in hex: how a receipt names a message whose sender gave it no id.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).map(char::from).collect()
}

fn unhex16(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&hex(&self.0))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                unhex16(&text).map(Self).ok_or_else(|| {
                    serde::de::Error::custom(concat!($what, " is 32 lower-case hex digits"))
                })
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{32}$" })
            }
        }
    };
}

hash_id! {
    /// One message of one device; both mirrored copies bear the same.
    EventId, "an event id"
}
hash_id! {
    /// One cause, one alert.
    AlertId, "an alert id"
}

/// A process run of an ingester: a fresh random number at each start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// A probe by name: whose it is, of which run, which number, and when that ingester sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeRef {
    /// The ingester that sent it.
    pub ingester: IngesterName,
    /// The run of that ingester.
    pub incarnation: Incarnation,
    /// Counts from 1 within the run.
    pub number: u64,
    /// That ingester's clock as it sent the probe.
    pub sent_at: ProbeMillis,
}

/// What tells two messages apart that a device gave no id of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The device gave an id: the same bytes again on the same day are the same event. Not for ever: a device that counts from the
    /// start again, or a journal that has forgotten, must not hide a press behind an alert of long ago.
    OwnId {
        /// The id.
        id: String,
        /// The UTC day on which the message arrived, counted from 1970-01-01.
        day: i64,
    },
    /// The newest probe before it on its connection: both mirrored copies agree on that.
    AfterProbe(ProbeRef),
    /// No probe to go by: counted by its receiver, so a press may be doubled, never hidden.
    Counted {
        /// The newest probe on the connection, if one was ever seen.
        after_probe: Option<ProbeRef>,
        /// Who received it.
        ingester: IngesterName,
        /// In which run.
        incarnation: Incarnation,
        /// As which message of that run.
        counter: u64,
    },
}

impl Origin {
    /// A device's own id, of a message that arrived at `arrived_at` (milliseconds since the epoch).
    pub const fn own(id: String, arrived_at: i64) -> Self {
        Self::OwnId { id, day: arrived_at.div_euclid(DAY_MILLIS) }
    }
}

impl EventId {
    /// The identity of one message (DESIGN section 5).
    pub fn of(device: &DeviceId, origin: &Origin, mqtt_topic: &str, payload: &[u8]) -> Self {
        let hash = Hasher::new("event").field(device.as_str().as_bytes()).field(mqtt_topic.as_bytes()).field(payload);
        Self(match origin {
            Origin::OwnId { id, day } => hash.field(b"own").field(id.as_bytes()).int(*day).finish(),
            Origin::AfterProbe(probe) => hash_probe(hash.field(b"probe"), probe).finish(),
            Origin::Counted { after_probe, ingester, incarnation, counter } => {
                let hash = hash.field(b"counted").field(ingester.as_str().as_bytes());
                let hash = hash.field(&incarnation.0.to_le_bytes()).field(&counter.to_le_bytes());
                match after_probe {
                    Some(probe) => hash_probe(hash, probe).finish(),
                    None => hash.finish(),
                }
            }
        })
    }

    /// The identity of a message by which a feed speaks for a device that it does not carry: never that of the device's own.
    #[must_use]
    pub fn through(self, feed: &FeedName) -> Self {
        Self(Hasher::new("event-through").field(&self.0).field(feed.as_str().as_bytes()).finish())
    }

    /// The identity of a press that no probe tells from others of its id: by its receiver's own count, so that it may be doubled, never
    /// hidden (DESIGN section 5).
    #[must_use]
    pub fn counted(self, ingester: &IngesterName, incarnation: Incarnation, counter: u64) -> Self {
        let hash = Hasher::new("event-counted").field(&self.0).field(ingester.as_str().as_bytes());
        Self(hash.field(&incarnation.0.to_le_bytes()).field(&counter.to_le_bytes()).finish())
    }

    /// The identity of an old press id that came back as a new press (DESIGN section 5).
    #[must_use]
    pub fn raised_again(self, after_probe: &ProbeRef) -> Self {
        Self(hash_probe(Hasher::new("event-again").field(&self.0), after_probe).finish())
    }
}

fn hash_probe(hash: Hasher, probe: &ProbeRef) -> Hasher {
    hash.field(probe.ingester.as_str().as_bytes()).field(&probe.incarnation.0.to_le_bytes()).field(&probe.number.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(number: u64) -> ProbeRef {
        ProbeRef {
            ingester: IngesterName::parse("a").unwrap(),
            incarnation: Incarnation(7),
            number,
            sent_at: ProbeMillis::new(1),
        }
    }

    #[test]
    fn names_are_checked_at_the_border() {
        for good in ["a", "dev-7", "A.b_c-9", &"x".repeat(64)] {
            assert!(DeviceId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "_probe-a", "-a", ".", "a/b", "a+b", "a#", "é", "a b", &"x".repeat(65)] {
            assert!(DeviceId::parse(bad).is_err(), "{bad}");
        }
        assert!(CentreName::parse("North").is_err(), "a centre's name stands in Kafka topics that differ by case nowhere else");
        let fault = DeviceId::parse("a/b").unwrap_err().to_string();
        assert!(fault.contains("a/b") && fault.contains("letters"), "{fault}");
    }

    #[test]
    fn an_illegal_id_gets_a_legal_one_of_ours() {
        let id = DeviceId::for_illegal(b"\xff/..");
        assert!(DeviceId::parse(id.as_str()).is_ok());
        assert_eq!(id, DeviceId::for_illegal(b"\xff/.."));
        assert_ne!(id, DeviceId::for_illegal(b"other"));
    }

    #[test]
    fn own_id_makes_repeats_one_event_and_probes_keep_them_apart() {
        let device = DeviceId::parse("dev-1").unwrap();
        let of = |origin: &Origin| EventId::of(&device, origin, "lw/v1/dev-1/duress", b"x");
        let own = Origin::OwnId { id: "7".into(), day: 20_000 };
        assert_eq!(of(&own), of(&own));
        assert_eq!(of(&Origin::AfterProbe(probe(1))), of(&Origin::AfterProbe(probe(1))));
        assert_ne!(of(&Origin::AfterProbe(probe(1))), of(&Origin::AfterProbe(probe(2))));
        assert_ne!(of(&own), of(&Origin::OwnId { id: "8".into(), day: 20_000 }));
        assert_ne!(of(&own), of(&Origin::OwnId { id: "7".into(), day: 20_001 }), "an id is good for a day");
        assert_ne!(of(&own).raised_again(&probe(1)), of(&own));
    }

    #[test]
    fn fields_cannot_run_together() {
        let one = Hasher::new("t").field(b"ab").field(b"c").finish();
        let two = Hasher::new("t").field(b"a").field(b"bc").finish();
        assert_ne!(one, two);
    }

    #[test]
    fn hash_ids_survive_json() {
        let id = AlertId([0xab; 16]);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<AlertId>(&json).unwrap(), id);
        assert!(serde_json::from_str::<AlertId>("\"AB\"").is_err());
    }
}
