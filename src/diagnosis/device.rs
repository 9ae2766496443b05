//! One device, watched live: a line for each of its messages, and what is to be said of it in the end.

use std::collections::BTreeMap;

use super::finding::{Finding, Part};
use super::message::{Kind, Reading, Rejected, Seen, seconds};
use super::press::{Presses, Tally};
use crate::config::{FeedSettings, Identity, Source};
use crate::device::mqtt_topic::{Named, receipt_topic};
use crate::device::{Filter, RejectReason};
use crate::ids::{DeviceId, FeedName, TenantName, sha256_hex};
use crate::limits;

/// Clock readings that are kept; the middle one of them counts.
const CLOCK_READINGS_MAX: usize = 64;

/// Whom to watch, and where it may speak.
#[derive(Clone, Debug)]
pub struct Target {
    device: String,
    feed: FeedName,
    identity: Identity,
    sources: Vec<Source>,
}

/// What the rulebook says of the device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its tenant; none where no entry names the device.
    pub tenant: Option<TenantName>,
    /// Whether the watched feed carries that tenant.
    pub feed_carries_tenant: bool,
    /// Its silence limit in milliseconds; none where the rule is off.
    pub silence_millis: Option<i64>,
}

impl Target {
    /// The device, as the feed's filters would name it.
    pub fn new(feed: &FeedSettings, device: &str) -> Self {
        let (feed_name, sources) = (feed.name.clone(), feed.sources.clone());
        Self { device: device.to_owned(), feed: feed_name, identity: feed.identity, sources }
    }

    /// What to subscribe to: each filter with the device in it, or the filter itself where payloads name the device; and its receipts.
    pub fn subscriptions(&self) -> Vec<String> {
        let mut all: Vec<String> = match self.identity {
            Identity::Payload => self.sources.iter().map(|source| source.filter.as_str().to_owned()).collect(),
            Identity::Topic => self.sources.iter().flat_map(|source| filled(&source.filter, &self.device)).collect(),
        };
        all.push(receipt_topic(&self.device));
        all.dedup();
        all
    }

    /// The source by which a message of this device came, and the message read; none where another device speaks.
    fn read(&self, seen: &Seen<'_>) -> Option<(&Source, Reading)> {
        let named = |source: &&Source| match source.filter.named(seen.mqtt_topic) {
            Some(Named::Device(text)) => self.identity == Identity::Payload || text == self.device,
            Some(Named::Probe(_)) | None => false,
        };
        let source = self.sources.iter().find(named)?;
        let reading = Reading::of(source, seen.payload);
        let by_topic = source.filter.named(seen.mqtt_topic) == Some(Named::Device(self.device.clone()));
        (by_topic || reading.claimed_device.as_deref() == Some(&self.device)).then_some((source, reading))
    }
}

/// The MQTT topics that name this device under a filter. Its id may have dots of its own, so there may be several.
fn filled(filter: &Filter, device: &str) -> Vec<String> {
    let wildcards = filter.as_str().split('/').filter(|level| *level == "+").count();
    let fill = |parts: Vec<&str>| {
        let mut parts = parts.into_iter();
        let levels = filter.as_str().split('/').map(|level| if level == "+" { parts.next().unwrap_or_default() } else { level });
        levels.collect::<Vec<_>>().join("/")
    };
    split(device, wildcards).into_iter().map(fill).collect()
}

/// Every way to part a text into so many parts at its dots.
fn split(text: &str, parts: usize) -> Vec<Vec<&str>> {
    if parts <= 1 {
        return vec![vec![text]];
    }
    let ways = text.match_indices('.').flat_map(|(at, _)| {
        let rest = split(&text[at + 1..], parts - 1);
        rest.into_iter().map(move |mut rest| {
            rest.insert(0, &text[..at]);
            rest
        })
    });
    ways.collect()
}

/// What was seen of a device so far.
#[derive(Clone, Debug)]
pub struct DeviceWatch {
    target: Target,
    began_at: i64,
    messages: u32,
    qos_0: u32,
    presses_at_qos_0: u32,
    retained: u32,
    bytes_max: usize,
    /// How many, and what the first of them was.
    rejected: BTreeMap<RejectReason, (u32, Rejected)>,
    fixes: u32,
    fixes_without_accuracy: u32,
    other_claims: u32,
    /// Boot and sequence of the newest message that had one.
    newest: Option<(Option<u32>, u64)>,
    missing: u64,
    restarts: u32,
    backwards: u32,
    /// How far arrival lay behind the device's time of sending, or of its fix.
    sent_behind: Vec<i64>,
    fix_behind: Vec<i64>,
    contact_at: Option<i64>,
    contacts: u32,
    longest_gap_millis: i64,
    interval_seconds: Option<u32>,
    receipts: u32,
    presses: Presses,
}

impl DeviceWatch {
    /// Begins, at this time of our clock.
    pub fn new(target: Target, began_at: i64) -> Self {
        Self {
            target,
            began_at,
            messages: 0,
            qos_0: 0,
            presses_at_qos_0: 0,
            retained: 0,
            bytes_max: 0,
            rejected: BTreeMap::new(),
            fixes: 0,
            fixes_without_accuracy: 0,
            other_claims: 0,
            newest: None,
            missing: 0,
            restarts: 0,
            backwards: 0,
            sent_behind: Vec::new(),
            fix_behind: Vec::new(),
            contact_at: None,
            contacts: 0,
            longest_gap_millis: 0,
            interval_seconds: None,
            receipts: 0,
            presses: Presses::default(),
        }
    }

    /// Takes a message: what to say of it. None where it is not this device's.
    pub fn saw(&mut self, seen: &Seen<'_>) -> Option<String> {
        if seen.mqtt_topic == receipt_topic(&self.target.device) {
            return Some(self.receipt(seen));
        }
        let (_, reading) = self.target.read(seen)?;
        let mut remarks: Vec<String> = vec![reading.words(seen.at_millis)];
        self.messages += 1;
        self.bytes_max = self.bytes_max.max(seen.payload.len());
        if seen.qos == 0 {
            self.qos_0 += 1;
            self.presses_at_qos_0 += u32::from(reading.kind == Kind::Press);
        }
        self.retained += u32::from(seen.retained);
        if let Some(rejected) = &reading.rejected {
            self.rejected.entry(rejected.reason).or_insert_with(|| (0, rejected.clone())).0 += 1;
        }
        if self.target.identity == Identity::Topic
            && reading.claimed_device.as_deref().is_some_and(|claimed| claimed != self.target.device)
        {
            self.other_claims += 1;
            remarks.push("CLAIMS ANOTHER DEVICE".to_owned());
        }
        if reading.report.fix.is_some() {
            self.fixes += 1;
            self.fixes_without_accuracy += u32::from(!reading.says_accuracy);
        }
        remarks.extend(self.sequence(&reading));
        self.clock(&reading, seen.at_millis);
        self.contact(&reading, seen);
        if reading.kind == Kind::Press {
            let hash = sha256_hex(seen.payload);
            remarks.extend(self.presses.came(seen.at_millis, reading.report.own_id.as_deref(), &hash));
        }
        Some(remarks.join("; "))
    }

    fn receipt(&mut self, seen: &Seen<'_>) -> String {
        self.receipts += 1;
        let named = serde_json::from_slice::<serde_json::Value>(seen.payload).ok();
        let key = named.as_ref().and_then(|value| value.get("id").or_else(|| value.get("sha256"))).and_then(|key| key.as_str());
        let Some(key) = key else { return "to the device: no receipt of ours".to_owned() };
        self.presses.receipted(seen.at_millis, key).unwrap_or_else(|| "receipt of a report".to_owned())
    }

    /// Gaps and steps back in the device's own counting.
    fn sequence(&mut self, reading: &Reading) -> Option<String> {
        let (boot, sequence) = (reading.report.boot, reading.report.sequence?);
        let says = match self.newest {
            Some((newest_boot, _)) if newest_boot != boot => {
                self.restarts += 1;
                Some("the device has restarted".to_owned())
            }
            Some((_, newest)) if sequence > newest.saturating_add(1) => {
                let missing = sequence - newest - 1;
                self.missing = self.missing.saturating_add(missing);
                Some(format!("{missing} MISSING before it"))
            }
            // The same again is a repeat.
            Some((_, newest)) if sequence < newest => {
                self.backwards += 1;
                return Some(format!("older than sequence {newest}, which came before it"));
            }
            Some(_) | None => None,
        };
        self.newest = Some((boot, sequence));
        says
    }

    fn clock(&mut self, reading: &Reading, at_millis: i64) {
        let Some((behind, sent)) = reading.behind_millis(at_millis) else { return };
        let readings = if sent { &mut self.sent_behind } else { &mut self.fix_behind };
        if readings.len() == CLOCK_READINGS_MAX {
            readings.remove(0);
        }
        readings.push(behind);
    }

    fn contact(&mut self, reading: &Reading, seen: &Seen<'_>) {
        if matches!(reading.kind, Kind::Will | Kind::Nothing) {
            return;
        }
        if let Some(last) = self.contact_at {
            self.longest_gap_millis = self.longest_gap_millis.max(seen.at_millis - last);
        }
        self.contact_at = Some(seen.at_millis);
        self.contacts += 1;
        self.interval_seconds = reading.report.interval_seconds.or(self.interval_seconds);
    }

    /// What is to be said in the end. `known`: what the rulebook says of the device, where it could be read.
    pub fn findings(&self, now_millis: i64, known: Option<&Known>) -> Vec<Finding> {
        let mut findings = self.identity_findings(known);
        if self.messages == 0 {
            findings.push(self.nothing_heard(now_millis));
            return findings;
        }
        let says = format!(
            "{} in {}, the largest of {} bytes; {} of presses and {} in all on its receipts' MQTT topic",
            counted(self.messages, "message"),
            seconds(now_millis - self.began_at),
            self.bytes_max,
            self.presses.tally(now_millis).receipted,
            self.receipts
        );
        findings.push(self.ok("heard", says));
        findings.extend(self.delivery_findings());
        findings.extend(self.content_findings());
        findings.extend(self.clock_finding());
        findings.extend(self.press_findings(now_millis));
        findings.extend(self.interval_finding(now_millis, known));
        findings
    }

    fn identity_findings(&self, known: Option<&Known>) -> Vec<Finding> {
        let Target { device, feed, .. } = &self.target;
        let mut findings = Vec::new();
        if DeviceId::parse(device).is_err() {
            let mend = "give it an id of letters, digits, '.', '_' and '-', up to 64, that begins with a letter or digit";
            let says =
                "is no legal id: its reports go to quarantine, its presses alert under a replacement at the fallback centre";
            findings.push(self.wrong("id", says, mend));
        }
        match known {
            None => findings.push(Finding::unchecked(Part::Device, "rulebook", "could not be read: limits are not known")),
            Some(Known { tenant: None, .. }) => findings.push(self.wrong(
                "rulebook",
                "does not know the device: its silence is not watched, its presses go to the feed's fallback centre",
                format!("add [devices.\"{device}\"] to its tenant's file and run `lonewatch rules apply DIR`"),
            )),
            Some(Known { tenant: Some(tenant), feed_carries_tenant: false, .. }) => findings.push(self.wrong(
                "rulebook",
                format!(
                    "knows it as a device of {tenant}, which feed {feed} does not carry: its reports count for nothing here, and its presses go to the feed's fallback centre"
                ),
                format!("name {tenant} at the tenants of feed {feed} and run `lonewatch rules apply DIR`"),
            )),
            Some(Known { tenant: Some(tenant), silence_millis, .. }) => {
                let limit = silence_millis
                    .map_or_else(|| "its silence is not watched".to_owned(), |limit| format!("silence limit {}", seconds(limit)));
                findings.push(self.ok("rulebook", format!("a device of {tenant}; {limit}")));
            }
        }
        findings
    }

    fn nothing_heard(&self, now_millis: i64) -> Finding {
        let mut mend = format!(
            "is it switched on and in coverage? Does it publish on {}? Does the broker's access list let it write there, and this \
             user read it?",
            self.target.subscriptions().join(" or ")
        );
        mend += " A broker that refuses retained messages disconnects a device that retains (OwnTracks: set pubRetain to false)";
        self.wrong("heard", format!("nothing in {}", seconds(now_millis - self.began_at)), mend)
    }

    fn delivery_findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let of = |count: u32| format!("{count} of {}", counted(self.messages, "message"));
        let mend = "publish at QoS 1";
        if self.presses_at_qos_0 > 0 {
            let says =
                format!("{} came at QoS 0: a network that loses one loses it for ever", counted(self.presses_at_qos_0, "press"));
            findings.push(self.wrong("QoS", says, mend));
        } else if self.qos_0 > 0 {
            let says = format!("{} came at QoS 0: what is sent while the network is away is lost", of(self.qos_0));
            findings.push(self.note("QoS", says, mend));
        } else {
            findings.push(self.ok("QoS", "every message came at QoS 1 or better"));
        }
        if self.retained > 0 {
            let says =
                format!("{} asked the broker to keep it: it comes again as if it were new, and is no contact", of(self.retained));
            findings.push(self.wrong("retained", says, "publish without the retain flag (OwnTracks: set pubRetain to false)"));
        }
        if self.bytes_max > limits::BROKER_PAYLOAD_BYTES_MAX {
            let says = format!("a message of {} bytes: brokers configured as we advise refuse it", self.bytes_max);
            findings.push(self.wrong("size", says, format!("stay below {} bytes", limits::DECODED_BYTES_MAX)));
        }
        findings
    }

    fn content_findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self
            .rejected
            .iter()
            .map(|(reason, (count, first))| {
                let says = format!("{} could not be read, or not wholly ({})", counted(*count, "message"), reason.as_str());
                self.wrong("content", says, first.hint())
            })
            .collect();
        if self.other_claims > 0 {
            let says = format!("{} claimed another device in its payload", counted(self.other_claims, "message"));
            findings.push(self.wrong("id", says, "let the payload name the id of the MQTT topic, or none"));
        }
        if self.fixes_without_accuracy > 0 {
            let says = format!(
                "{} of {} did not say how accurate they are: fences are judged with a default",
                self.fixes_without_accuracy,
                counted(self.fixes, "fix")
            );
            findings.push(self.note("accuracy", says, "send the accuracy of each fix in metres"));
        }
        if self.missing > 0 {
            let says = format!("{} missing by its own count", self.missing);
            let mend = "keep messages until the broker's acknowledgement, and publish at QoS 1";
            findings.push(self.wrong("sequence", says, mend));
        } else if self.newest.is_some() {
            findings.push(self.ok("sequence", "without gaps"));
        }
        if self.backwards > 0 {
            let says = format!("{} came after a newer one", counted(self.backwards, "message"));
            findings.push(self.note("sequence", says, "nothing, if it sends what it had kept; else publish in order"));
        }
        if self.restarts > 0 {
            let says = format!("{} while we watched", counted(self.restarts, "restart"));
            findings.push(self.note("sequence", says, "look at its power and its watchdog"));
        }
        findings
    }

    /// The device's clock: by its times of sending, else by its freshest fix, which can only be older than its arrival.
    fn clock_finding(&self) -> Option<Finding> {
        let mut sent = self.sent_behind.clone();
        sent.sort_unstable();
        let by_fix = || self.fix_behind.iter().min().copied();
        let behind = sent.get(sent.len() / 2).copied().or_else(by_fix)?;
        let limit = limits::DEVICE_CLOCK_MILLIS_MAX;
        if behind.abs() <= limit {
            let ahead = if behind < 0 { "ahead of" } else { "behind" };
            return Some(self.ok("clock", format!("{} {ahead} ours, the way included", seconds(behind.abs()))));
        }
        let says = if behind < 0 {
            format!("{} ahead of ours", seconds(-behind))
        } else if sent.is_empty() {
            format!("its freshest fix is {} old: its clock is wrong, or it has no fix", seconds(behind))
        } else {
            format!("{} behind ours", seconds(behind))
        };
        Some(self.note(
            "clock",
            says + "; it disables nothing, but what it tells is dated by it",
            "set it by GNSS, NTP or the network",
        ))
    }

    fn press_findings(&self, now_millis: i64) -> Vec<Finding> {
        let tally = self.presses.tally(now_millis);
        let Tally { presses, receipted, without_id, repeats_differ, given_up, without_receipt, goes_on_after_receipt, .. } =
            tally;
        if presses == 0 {
            return vec![Finding::unchecked(Part::Device, "press", "none came: press once while this watches")];
        }
        let of = |count: usize| format!("{count} of {presses} press{}", if presses == 1 { "" } else { "es" });
        let mut findings = Vec::new();
        if receipted > 0 {
            let slowest = tally
                .slowest_receipt_millis
                .map_or_else(String::new, |millis| format!(", the slowest after {}", seconds(millis)));
            findings.push(self.ok("receipt", format!("{} had a receipt{slowest}", of(receipted))));
        }
        if without_receipt > 0 {
            let mend = format!(
                "does an ingester run? May it write, and this user read, {}? If not, what follows of receipts means nothing",
                receipt_topic(&self.target.device)
            );
            findings.push(self.wrong("receipt", format!("none was seen for {}", of(without_receipt)), mend));
        }
        if given_up > 0 {
            let mend = "repeat the same bytes after 1, 2, 4 ... 30 s until the receipt";
            findings.push(self.wrong(
                "repeat",
                format!("{} came once and was not repeated without a receipt", of(given_up)),
                mend,
            ));
        }
        if repeats_differ > 0 {
            let says = format!("the copies of {} differ: each is an alert of its own to the centre", of(repeats_differ));
            findings.push(self.wrong(
                "repeat",
                says,
                "repeat the same bytes; a new time or battery level belongs into the next report",
            ));
        }
        if goes_on_after_receipt > 0 {
            let says = format!("{} went on after its receipt: the device does not hear it", of(goes_on_after_receipt));
            let mend = format!("subscribe the device to {}", receipt_topic(&self.target.device));
            findings.push(self.note("repeat", says, mend));
        }
        if without_id > 0 {
            let says = format!("{} had no id of its own: a repeat more than a second later is a further alert", of(without_id));
            findings.push(self.wrong("press id", says, "give each press an `id`, the same in its repeats"));
        }
        findings
    }

    fn interval_finding(&self, now_millis: i64, known: Option<&Known>) -> Option<Finding> {
        let limit = known?.silence_millis?;
        let open_gap = self.contact_at.map_or(0, |at| now_millis - at);
        let declared = self.interval_seconds.map(|interval| i64::from(interval).saturating_mul(1_000));
        let observed = (self.contacts >= 2).then_some(self.longest_gap_millis.max(open_gap));
        let Some(longest) = declared.max(observed) else {
            return Some(Finding::unchecked(Part::Device, "interval", "one message shows no interval: watch for longer"));
        };
        let mend = "report more often, or give it a longer silence limit";
        Some(if longest >= limit {
            let says = format!("up to {} between messages; its silence limit is {}", seconds(longest), seconds(limit));
            self.wrong("interval", says + ": it would be reported as lost", mend)
        } else if longest.saturating_mul(2) > limit {
            let says = format!("up to {} between messages; its silence limit is {}", seconds(longest), seconds(limit));
            self.note("interval", says + ": one lost message is a false alarm", mend)
        } else {
            self.ok(
                "interval",
                format!("up to {} between messages, within its silence limit of {}", seconds(longest), seconds(limit)),
            )
        })
    }

    fn ok(&self, what: &str, says: impl Into<String>) -> Finding {
        Finding::ok(Part::Device, self.subject(what), says)
    }

    fn note(&self, what: &str, says: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding::note(Part::Device, self.subject(what), says, mend)
    }

    fn wrong(&self, what: &str, says: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding::wrong(Part::Device, self.subject(what), says, mend)
    }

    fn subject(&self, what: &str) -> String {
        format!("{} {what}", self.target.device)
    }
}

fn counted(count: u32, one: &str) -> String {
    let ending = match one {
        _ if count == 1 => "",
        "press" | "fix" => "es",
        _other => "s",
    };
    format!("{count} {one}{ending}")
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
