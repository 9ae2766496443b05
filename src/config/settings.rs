//! What the configuration means: names parsed, addresses split, roles told apart. Every mistake is noted, none stops the reading.

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use super::Mistake;
use super::keys;
use super::log_filter;
use super::options;
use super::raw::{Node, Raw};
use crate::alert::Lane;
use crate::device::{Decoder, Filter};
use crate::ids::{FeedName, IngesterName, NameFault};
use crate::journal::PartitionCount;
use crate::limits;

/// The configuration, read and checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where Kafka is and what we call our topics.
    pub kafka: KafkaSettings,
    /// The port for probes and metrics.
    pub admin: AdminSettings,
    /// What is logged, and how.
    pub log: LogSettings,
    ingest: Option<IngestSettings>,
    detect: Option<DetectSettings>,
}

/// The section `[kafka]`.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// Before the dot in our topics' names.
    pub prefix: String,
    /// Partitions of the journal.
    pub partitions: PartitionCount,
    /// The file with `sasl.password`.
    pub password_file: Option<PathBuf>,
    /// librdkafka properties of the operator. Their values may be secret: never shown.
    pub options: BTreeMap<String, String>,
}

/// The section `[ingest]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngestSettings {
    /// This ingester.
    pub name: IngesterName,
    /// The feeds that it watches; at least one, each name once.
    pub feeds: Vec<FeedSettings>,
}

/// One feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedSettings {
    /// Its name, as in the rulebook.
    pub name: FeedName,
    /// The MQTT broker's host: a name, or an address without brackets.
    pub host: String,
    /// The MQTT broker's port.
    pub port: u16,
    /// The user there.
    pub username: Option<String>,
    /// The file with that user's password.
    pub password_file: Option<PathBuf>,
    /// Who says which device speaks.
    pub identity: Identity,
    /// What to subscribe to; at least one source of each lane, each filter once.
    pub sources: Vec<Source>,
}

/// Who says which device speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The MQTT topic.
    Topic,
    /// The payload, of a trusted gateway.
    Payload,
}

/// One MQTT filter of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The lane that subscribes to it.
    pub lane: Lane,
    /// The filter.
    pub filter: Filter,
    /// How its payloads are read.
    pub decoder: Decoder,
}

/// The section `[detect]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectSettings {
    /// This detector; its static identity in the group.
    pub name: String,
    /// The consumer group.
    pub group: String,
}

/// The section `[admin]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// Where to listen.
    pub listen: SocketAddr,
}

/// The section `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// For people or for machines.
    pub format: LogFormat,
    /// The filter, in the words of `tracing-subscriber`.
    pub level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: Vec<_> = self.options.keys().collect();
        f.debug_struct("KafkaSettings")
            .field("brokers", &self.brokers)
            .field("prefix", &self.prefix)
            .field("partitions", &self.partitions)
            .field("password_file", &self.password_file)
            .field("options", &options)
            .finish()
    }
}

impl Settings {
    /// Reads the file's text and the environment. Variables that do not begin with `LONEWATCH__` are none of ours.
    ///
    /// # Errors
    /// Every mistake in either, in the order of the file.
    pub fn load(toml_text: &str, env: impl IntoIterator<Item = (String, String)>) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let raw = Raw::read(toml_text, env.into_iter(), &mut mistakes);
        let mut reading = Reading { mistakes };
        let root = raw.root();
        let kafka = reading.kafka(root.section("kafka").as_ref());
        let admin = reading.admin(root.section("admin").as_ref());
        let log = reading.log(root.section("log").as_ref());
        let ingest = root.section("ingest").map(|node| reading.ingest(&node));
        let detect = root.section("detect").map(|node| reading.detect(&node, kafka.as_ref()));
        let settings =
            kafka.zip(admin).map(|(kafka, admin)| Self { kafka, admin, log, ingest: ingest.flatten(), detect: detect.flatten() });
        match settings {
            Some(settings) if reading.mistakes.is_empty() => Ok(settings),
            Some(_) | None => Err(reading.mistakes),
        }
    }

    /// What `ingest` and `run` need.
    ///
    /// # Errors
    /// A [`Mistake`] with the mend if the section is missing.
    pub fn ingest(&self) -> Result<&IngestSettings, Mistake> {
        self.ingest.as_ref().ok_or_else(|| {
            let mend = "add [ingest] with a name and at least one [[ingest.feeds]], or set LONEWATCH__INGEST__NAME and its like";
            Mistake::new("ingest", "is missing, and this command watches feeds", mend)
        })
    }

    /// What `detect` and `run` need.
    ///
    /// # Errors
    /// A [`Mistake`] with the mend if the section is missing.
    pub fn detect(&self) -> Result<&DetectSettings, Mistake> {
        self.detect.as_ref().ok_or_else(|| {
            let mend = "add [detect] with a name, or set LONEWATCH__DETECT__NAME";
            Mistake::new("detect", "is missing, and this command reads the journal", mend)
        })
    }
}

struct Reading {
    mistakes: Vec<Mistake>,
}

impl Reading {
    fn note(&mut self, key: String, problem: impl Into<String>, mend: impl Into<String>) {
        self.mistakes.push(Mistake::new(key, problem, mend));
    }

    /// A text that must be there. None, with a mistake noted by somebody, where it is not.
    fn required<'a>(&mut self, node: &Node<'a>, name: &str, example: &str) -> Option<&'a str> {
        let text = node.text(name);
        if !node.has(name) {
            self.note(node.key(name), "is missing", format!("write {name} = \"{example}\""));
        }
        text
    }

    fn name<T>(&mut self, node: &Node<'_>, example: &str, parse: fn(&str) -> Result<T, NameFault>) -> Option<T> {
        let text = self.required(node, "name", example)?;
        parse(text).map_err(|fault| self.note(node.key("name"), fault.to_string(), format!("for example \"{example}\""))).ok()
    }

    /// A name that Kafka is to know a client by.
    fn client_name(&mut self, key: String, text: &str) -> Option<String> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let fits = (1..=limits::NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(legal);
        if !fits {
            self.note(key, format!("{text:?} is no name"), "1 to 48 of letters, digits, '.', '_' and '-'");
        }
        fits.then(|| text.to_owned())
    }

    fn kafka(&mut self, node: Option<&Node<'_>>) -> Option<KafkaSettings> {
        let brokers = or_default(node, "kafka", "brokers");
        let prefix = or_default(node, "kafka", "prefix");
        let key = |name: &str| node.map_or_else(|| format!("kafka.{name}"), |node| node.key(name));
        let is_address =
            |broker: &str| broker.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if !brokers.split(',').all(|broker| is_address(broker.trim())) {
            self.note(key("brokers"), "is no list of brokers", "write host:port, separated by commas");
        }
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        if !(1..=limits::PREFIX_BYTES_MAX).contains(&prefix.len()) || !prefix.chars().all(legal) {
            self.note(key("prefix"), format!("{prefix:?} cannot begin topic names"), "1 to 20 of a-z, 0-9, '_' and '-'");
        }
        let count = node.and_then(|node| node.integer("partitions")).or_else(|| default("kafka.partitions").parse().ok());
        let partitions = count
            .and_then(|count| u32::try_from(count).ok())
            .filter(|count| *count <= limits::PARTITIONS_MAX)
            .and_then(PartitionCount::new);
        if partitions.is_none() {
            self.note(key("partitions"), "is no possible count", format!("1 to {}", limits::PARTITIONS_MAX));
        }
        let options = node.and_then(|node| node.section("options")).map(|node| self.options(&node)).unwrap_or_default();
        let password_file = node.and_then(|node| node.text("password_file")).map(PathBuf::from);
        let (brokers, prefix) = (brokers.to_owned(), prefix.to_owned());
        partitions.map(|partitions| KafkaSettings { brokers, prefix, partitions, password_file, options })
    }

    fn options(&mut self, node: &Node<'_>) -> BTreeMap<String, String> {
        let mut passed = BTreeMap::new();
        for (property, value) in node.map() {
            match options::refused(property) {
                Some((why, mend)) => self.note(node.key(property), format!("may not be set: {why}"), mend),
                None => {
                    passed.insert(property.clone(), value);
                }
            }
        }
        passed
    }

    fn ingest(&mut self, node: &Node<'_>) -> Option<IngestSettings> {
        let name = self.name(node, "a", IngesterName::parse);
        let nodes = node.sections("feeds").unwrap_or_default();
        if nodes.is_empty() {
            self.note(node.key("feeds"), "there is no feed to watch", "add [[ingest.feeds]] with name and url");
        }
        let mut feeds = Vec::new();
        let mut names = BTreeSet::new();
        for node in &nodes {
            let feed = self.feed(node, name.as_ref());
            if let Some(feed) = &feed
                && !names.insert(feed.name.clone())
            {
                self.note(node.key("name"), format!("the name {} stands twice", feed.name), "give each feed its own name");
            }
            feeds.extend(feed);
        }
        name.map(|name| IngestSettings { name, feeds })
    }

    fn feed(&mut self, node: &Node<'_>, ingester: Option<&IngesterName>) -> Option<FeedSettings> {
        let name = self.name(node, "main", FeedName::parse);
        let url = self.required(node, "url", "mqtt://mosquitto:1883");
        let address =
            url.and_then(|url| split_url(url).map_err(|(problem, mend)| self.note(node.key("url"), problem, mend)).ok());
        let username = node.text("username").map(str::to_owned);
        let password_file = node.text("password_file").map(PathBuf::from);
        if password_file.is_some() && username.is_none() {
            self.note(node.key("password_file"), "is a password without a user", "set username beside it");
        }
        let identity = match node.text("identity") {
            Some("payload") => Identity::Payload,
            Some(_) | None => Identity::Topic,
        };
        let sources = self.sources(node, ingester);
        let (name, (host, port)) = name.zip(address)?;
        Some(FeedSettings { name, host, port, username, password_file, identity, sources })
    }

    fn sources(&mut self, node: &Node<'_>, ingester: Option<&IngesterName>) -> Vec<Source> {
        if !node.has("sources") {
            return default_sources();
        }
        let nodes = node.sections("sources").unwrap_or_default();
        let mut sources: Vec<Source> = Vec::new();
        let mut filters = BTreeSet::new();
        for node in &nodes {
            let Some(source) = self.source(node) else { continue };
            if ingester.is_some_and(|ingester| !source.filter.passes_probes_of(ingester)) {
                let problem = format!(
                    "the MQTT topic of our probes on its way would be longer than {} bytes, and none would count: the lane would never be \
                     ready",
                    limits::MQTT_TOPIC_BYTES_MAX
                );
                self.note(node.key("filter"), problem, "a shorter filter, fewer '+', or a shorter ingest.name");
            }
            if !filters.insert(source.filter.as_str().to_owned()) {
                self.note(node.key("filter"), "the same filter stands twice", "leave one of them");
            }
            sources.push(source);
        }
        // A source that could not be read may have been the missing one: its own mistake is enough.
        for lane in Lane::ALL.into_iter().filter(|_| sources.len() == nodes.len()) {
            if sources.iter().all(|source| source.lane != lane) {
                let (lane, word) = match lane {
                    Lane::Duress => ("duress", "duress"),
                    Lane::Reports => ("reports", "report"),
                };
                let mend = format!("add [[ingest.feeds.sources]] with lane = \"{lane}\" and filter = \"lw/v1/+/{word}\"");
                self.note(node.key("sources"), format!("no source of the {lane} lane"), mend);
            }
        }
        sources
    }

    fn source(&mut self, node: &Node<'_>) -> Option<Source> {
        let lane = match self.required(node, "lane", "reports") {
            Some("duress") => Some(Lane::Duress),
            Some("reports") => Some(Lane::Reports),
            Some(_) | None => None,
        };
        let filter = self.required(node, "filter", "lw/v1/+/report").and_then(|text| {
            let parsed = Filter::parse(text);
            parsed
                .map_err(|fault| self.note(node.key("filter"), format!("{text:?} {fault}"), "for example \"lw/v1/+/report\""))
                .ok()
        });
        // A word that is no dialect has been noted as such already.
        let decoder = node.text("decoder").and_then(Decoder::parse).unwrap_or(Decoder::Native);
        if lane == Some(Lane::Duress) && decoder != Decoder::Native {
            let mend = "leave decoder out; presses of other dialects come inside their reports";
            self.note(node.key("decoder"), "a duress source is native: anything on it is a press", mend);
        }
        lane.zip(filter).map(|(lane, filter)| Source { lane, filter, decoder })
    }

    fn detect(&mut self, node: &Node<'_>, kafka: Option<&KafkaSettings>) -> Option<DetectSettings> {
        let name = self.required(node, "name", "d-0").and_then(|text| self.client_name(node.key("name"), text));
        // A prefix that cannot be one has been noted as such: nobody wrote the group that it would make.
        let group = match node.text("group") {
            Some(group) => self.client_name(node.key("group"), group),
            None => Some(format!("{}-detect", kafka.map_or("lonewatch", |kafka| &kafka.prefix))),
        };
        name.zip(group).map(|(name, group)| DetectSettings { name, group })
    }

    fn admin(&mut self, node: Option<&Node<'_>>) -> Option<AdminSettings> {
        let listen = or_default(node, "admin", "listen").parse::<SocketAddr>();
        if listen.is_err() {
            let key = node.map_or_else(|| "admin.listen".to_owned(), |node| node.key("listen"));
            self.note(key, "is no address with a port", "for example \"127.0.0.1:9464\", or \"0.0.0.0:9464\" for all interfaces");
        }
        listen.ok().map(|listen| AdminSettings { listen })
    }

    fn log(&mut self, node: Option<&Node<'_>>) -> LogSettings {
        let format = match or_default(node, "log", "format") {
            "json" => LogFormat::Json,
            _text => LogFormat::Text,
        };
        let level = or_default(node, "log", "level");
        if let Some((problem, mend)) = log_filter::mistake(level) {
            let key = node.map_or_else(|| "log.level".to_owned(), |node| node.key("level"));
            self.note(key, problem, mend);
        }
        LogSettings { format, level: level.to_owned() }
    }
}

/// The default in the list of keys; empty where there is none.
fn default(path: &str) -> &'static str {
    keys::find(path).and_then(|key| key.default).unwrap_or_default()
}

/// The text, or the key's default where the section, the key or a right value is missing.
fn or_default<'a>(node: Option<&Node<'a>>, section: &str, name: &str) -> &'a str {
    node.and_then(|node| node.text(name)).unwrap_or_else(|| default(&format!("{section}.{name}")))
}

/// Few on purpose: each costs a probe a second and a line of the broker's access list (decision 11).
fn default_sources() -> Vec<Source> {
    [
        (Lane::Duress, "lw/v1/+/duress", Decoder::Native),
        (Lane::Reports, "lw/v1/+/report", Decoder::Native),
        (Lane::Reports, "lw/v1/+/status", Decoder::Status),
        (Lane::Reports, "owntracks/+/+", Decoder::Owntracks),
        (Lane::Reports, "owntracks/+/+/event", Decoder::Owntracks),
    ]
    .into_iter()
    .filter_map(|(lane, filter, decoder)| Some(Source { lane, filter: Filter::parse(filter).ok()?, decoder }))
    .collect()
}

/// Host and port of an MQTT address; else the problem and the mend, neither of which repeats the text: it may hold a password.
fn split_url(url: &str) -> Result<(String, u16), (&'static str, &'static str)> {
    const MEND: &str = "write mqtt://host:port, for example \"mqtt://mosquitto:1883\"";
    if url.starts_with("mqtts://") || url.starts_with("ssl://") {
        return Err(("TLS to the MQTT broker is not there yet", "use mqtt:// on a network that you trust until it is"));
    }
    let Some(rest) = url.strip_prefix("mqtt://") else { return Err(("does not begin with mqtt://", MEND)) };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('@') {
        return Err(("holds a user or a password", "set username and password_file instead"));
    }
    if rest.contains('/') {
        return Err(("holds a path; MQTT has none", MEND));
    }
    let (host, port) = match rest.strip_prefix('[') {
        Some(bracketed) => {
            let (host, tail) = bracketed.split_once(']').ok_or(("has '[' without ']'", MEND))?;
            (host, tail.strip_prefix(':'))
        }
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(1883), str::parse::<u16>).ok().filter(|port| *port > 0).ok_or(("has no possible port", MEND))?;
    if host.is_empty() { Err(("names no host", MEND)) } else { Ok((host.to_owned(), port)) }
}

#[cfg(test)]
mod tests;
