//! The source folder: reads all of its files, notes all mistakes at once, and says what the rulebook should hold.
//!
//! `installation.toml` holds what is shared (defaults, centres, feeds), `tenants/NAME.toml` one tenant with groups and devices,
//! `fences/*.geojson` the fences. A reference is judged against what the files name, read well or not, so that one mistake is
//! not reported again wherever it is referred to.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::content::{
    CentreContent, Content, DefaultsContent, DeviceContent, FeedContent, GroupContent, Key, RulesContent, TenantContent,
};
use super::fields::Fields;
use super::mistake::{Mistake, Mistakes, or_suggestion};
use super::resolve::battery_limits_meet;
use super::source_fence::read_fences;
use super::source_rules::{read_reconnect_grace, read_rules};
use crate::ids::{CentreName, DeviceId, FeedName, GroupName, TenantName};
use crate::limits;

/// What the source folder wants the rulebook to hold, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceFolder {
    contents: BTreeMap<Key, Content>,
}

impl SourceFolder {
    pub(super) fn contents(&self) -> &BTreeMap<Key, Content> {
        &self.contents
    }

    /// How many entries it makes, commit not counted.
    pub fn len(&self) -> usize {
        self.contents.len()
    }

    /// Whether it makes none; the defaults are always one.
    pub fn is_empty(&self) -> bool {
        self.contents.is_empty()
    }
}

/// Reads the folder's files, given as relative path (with `/`) and text.
///
/// # Errors
/// Every mistake in every file, by file.
pub fn check(files: &[(String, String)]) -> Result<SourceFolder, Vec<Mistake>> {
    let mistakes = Mistakes::default();
    let mut reading = Reading::new(&mistakes);
    for (file, text) in files {
        reading.file(file, text);
    }
    if !files.iter().any(|(file, _)| file == INSTALLATION) {
        mistakes.note(INSTALLATION, "", "is missing", "write one with centres and feeds; `lonewatch rules init` shows how");
        reading.installation_garbled = true;
    }
    reading.references();
    let Reading { contents, .. } = reading;
    if mistakes.len() == 0 { Ok(SourceFolder { contents }) } else { Err(mistakes.into_sorted()) }
}

const INSTALLATION: &str = "installation.toml";

/// Where an entry was written.
#[derive(Clone)]
pub(super) struct Place {
    file: String,
    at: String,
}

/// What was read so far.
pub(super) struct Reading<'m> {
    pub(super) mistakes: &'m Mistakes,
    contents: BTreeMap<Key, Content>,
    places: BTreeMap<Key, Place>,
    /// Every key that a file names, readable or not.
    named: BTreeSet<Key>,
    /// Tenants whose file is no TOML: their groups are anybody's guess.
    garbled: BTreeSet<TenantName>,
    /// Its file is no TOML or not there: centres and feeds are anybody's guess.
    installation_garbled: bool,
}

impl<'m> Reading<'m> {
    fn new(mistakes: &'m Mistakes) -> Self {
        Self {
            mistakes,
            contents: BTreeMap::new(),
            places: BTreeMap::new(),
            named: BTreeSet::new(),
            garbled: BTreeSet::new(),
            installation_garbled: false,
        }
    }

    fn file(&mut self, file: &str, text: &str) {
        if file == INSTALLATION {
            match toml_table(file, text, self.mistakes) {
                Some(table) => self.installation(file, &table),
                None => self.installation_garbled = true,
            }
        } else if let Some(name) = file.strip_prefix("tenants/").and_then(|rest| rest.strip_suffix(".toml")) {
            self.tenant_file(file, name, text);
        } else if file.starts_with("fences/") && file.ends_with(".geojson") {
            read_fences(file, text, self);
        } else if [".toml", ".geojson", ".json"].iter().any(|ending| file.ends_with(ending)) {
            let mend = "move it: only installation.toml, tenants/NAME.toml and fences/NAME.geojson are";
            self.mistakes.note(file, "", "is not read", mend);
        }
    }

    /// Keeps an entry; a second one under the same key is a mistake.
    pub(super) fn keep(&mut self, key: Key, content: Option<Content>, file: &str, at: String) {
        if let Some(first) = self.places.get(&key) {
            let wrong = format!("{} is defined already, in {} at {}", described(&key), first.file, first.at);
            self.mistakes.note(file, &at, wrong, "keep one of the two, or give this one another name");
            return;
        }
        self.named.insert(key.clone());
        self.places.insert(key.clone(), Place { file: file.to_owned(), at });
        if let Some(content) = content {
            self.contents.insert(key, content);
        }
    }

    fn installation(&mut self, file: &str, table: &Map<String, Value>) {
        let fields = Fields::new(file, String::new(), table, self.mistakes);
        let rules = fields.table("rules").map(read_rules).unwrap_or_default();
        let defaults = DefaultsContent { rules, reconnect_grace_millis: read_reconnect_grace(&fields) };
        self.keep(Key::Defaults, Some(Content::Defaults(defaults)), file, "rules".to_owned());
        if let Some(centres) = fields.table("centres") {
            for (name, centre) in centres.entries() {
                let at = centres.path(name);
                centre.done();
                if let Some(name) = centres.name_of(name, name, CentreName::parse) {
                    self.keep(Key::Centre(name), Some(Content::Centre(CentreContent::default())), file, at);
                }
            }
        }
        if !self.named.iter().any(|key| matches!(key, Key::Centre(_))) {
            fields.missing("centres", "add a centre, as in [centres.north]: alerts need somebody who reads them");
        }
        if let Some(feeds) = fields.table("feeds") {
            for (name, feed) in feeds.entries() {
                let at = feeds.path(name);
                let content = read_feed(feed).map(Content::Feed);
                if let Some(name) = feeds.name_of(name, name, FeedName::parse) {
                    self.keep(Key::Feed(name), content, file, at);
                }
            }
        }
        fields.done();
    }

    fn tenant_file(&mut self, file: &str, name: &str, text: &str) {
        let tenant = match TenantName::parse(name) {
            Ok(tenant) => tenant,
            Err(fault) => {
                let wrong = format!("{:?} is not a tenant name, which the file's name is", fault.text);
                return self.mistakes.note(file, "", wrong, format!("rename the file: {}", fault.rule));
            }
        };
        let Some(table) = toml_table(file, text, self.mistakes) else {
            self.garbled.insert(tenant.clone());
            return self.keep(Key::Tenant(tenant), None, file, String::new());
        };
        let fields = Fields::new(file, String::new(), &table, self.mistakes);
        let zone = read_zone(&fields);
        let centre = fields.name("centre", CentreName::parse);
        if fields.value("centre").is_none() {
            fields.missing("centre", "name the centre that its alerts go to, as in centre = \"north\"");
        }
        let rules = fields.table("rules").map(read_rules).unwrap_or_default();
        let reconnect_grace_millis = read_reconnect_grace(&fields);
        let content = centre.map(|centre| TenantContent { centre, zone, reconnect_grace_millis, rules, positions: None });
        self.keep(Key::Tenant(tenant.clone()), content.map(Content::Tenant), file, String::new());
        self.groups(&tenant, file, &fields);
        self.devices(&tenant, file, &fields);
        fields.not_yet(&["positions"]);
        fields.done();
    }

    fn groups(&mut self, tenant: &TenantName, file: &str, fields: &Fields<'_>) {
        let Some(groups) = fields.table("groups") else { return };
        for (name, group) in groups.entries() {
            let rules = group.table("rules").map(read_rules).unwrap_or_default();
            group.not_yet(&["positions"]);
            group.done();
            if let Some(group) = groups.name_of(name, name, GroupName::parse) {
                let content = Content::Group(GroupContent { rules, positions: None });
                self.keep(Key::Group(tenant.clone(), group), Some(content), file, groups.path(name));
            }
        }
    }

    fn devices(&mut self, tenant: &TenantName, file: &str, fields: &Fields<'_>) {
        let Some(devices) = fields.table("devices") else { return };
        for (id, device) in devices.entries() {
            let group = device.name("group", GroupName::parse);
            let test = device.flag("test").unwrap_or(false);
            let rules = device.table("rules").map(read_rules).unwrap_or_default();
            device.not_yet(&["positions"]);
            device.done();
            if let Some(device) = devices.name_of(id, id, DeviceId::parse) {
                let content = DeviceContent { tenant: tenant.clone(), group, test, rules, positions: None };
                self.keep(Key::Device(device), Some(Content::Device(content)), file, devices.path(id));
            }
        }
    }

    /// What no file can know alone: that names exist, that somebody hears each tenant, that inherited limits fit.
    fn references(&self) {
        let heard = self.heard();
        for (key, content) in &self.contents {
            match content {
                Content::Tenant(tenant) => self.tenant_references(key, tenant, heard.as_ref()),
                Content::Device(device) => {
                    self.group_exists(key, "group", &device.tenant, device.group.as_slice());
                    self.battery_fits(key, &device.tenant, device.group.as_ref(), Some(&device.rules));
                }
                Content::Feed(feed) => {
                    self.centre_exists(key, "fallback_centre", &feed.fallback_centre);
                    for tenant in &feed.tenants {
                        self.tenant_exists(key, "tenants", tenant);
                    }
                }
                Content::Fence(fence) => {
                    if let Key::Fence(tenant, _) = key {
                        self.tenant_exists(key, "tenant", tenant);
                        self.group_exists(key, "groups", tenant, &fence.groups);
                    }
                }
                Content::Group(_) => {
                    if let Key::Group(tenant, group) = key {
                        self.battery_fits(key, tenant, Some(group), None);
                    }
                }
                Content::Defaults(defaults) => self.battery_meets(key, &[&defaults.rules]),
                Content::Centre(_) => {}
            }
        }
    }

    /// The tenants that feeds carry; none where a feed could not be read, for it may carry any.
    fn heard(&self) -> Option<BTreeSet<&TenantName>> {
        let unread = self.named.iter().any(|key| matches!(key, Key::Feed(_)) && !self.contents.contains_key(key));
        let feeds =
            self.contents.values().filter_map(|content| if let Content::Feed(feed) = content { Some(feed) } else { None });
        (!unread && !self.installation_garbled).then(|| feeds.flat_map(|feed| &feed.tenants).collect())
    }

    fn tenant_references(&self, key: &Key, tenant: &TenantContent, heard: Option<&BTreeSet<&TenantName>>) {
        let Key::Tenant(name) = key else { return };
        self.centre_exists(key, "centre", &tenant.centre);
        self.battery_fits(key, name, None, None);
        if heard.is_some_and(|heard| !heard.contains(name)) {
            let mend = format!("add {name:?} to the tenants of a feed in {INSTALLATION}");
            self.note(key, "", format!("no feed carries the devices of tenant {name}"), mend);
        }
    }

    fn note(&self, key: &Key, field: &str, wrong: String, mend: String) {
        let Some(Place { file, at }) = self.places.get(key) else { return };
        let place = [at.as_str(), field].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
        self.mistakes.note(file, &place, wrong, mend);
    }

    fn centre_exists(&self, key: &Key, field: &str, centre: &CentreName) {
        if self.installation_garbled || self.named.contains(&Key::Centre(centre.clone())) {
            return;
        }
        let known = self.named.iter().filter_map(|key| if let Key::Centre(name) = key { Some(name.as_str()) } else { None });
        let mend = format!("add [centres.{centre}] to {INSTALLATION}{}", or_suggestion(centre.as_str(), known));
        self.note(key, field, format!("centre {centre} does not exist"), mend);
    }

    fn tenant_exists(&self, key: &Key, field: &str, tenant: &TenantName) {
        if self.named.contains(&Key::Tenant(tenant.clone())) {
            return;
        }
        let known = self.named.iter().filter_map(|key| if let Key::Tenant(name) = key { Some(name.as_str()) } else { None });
        let mend = format!("write tenants/{tenant}.toml{}", or_suggestion(tenant.as_str(), known));
        self.note(key, field, format!("tenant {tenant} does not exist"), mend);
    }

    fn group_exists(&self, key: &Key, field: &str, tenant: &TenantName, groups: &[GroupName]) {
        if self.garbled.contains(tenant) || !self.named.contains(&Key::Tenant(tenant.clone())) {
            return;
        }
        for group in groups.iter().filter(|group| !self.named.contains(&Key::Group(tenant.clone(), (*group).clone()))) {
            let known = (self.named.iter())
                .filter_map(|key| if let Key::Group(of, name) = key { (of == tenant).then_some(name.as_str()) } else { None });
            let mend = format!("add [groups.{group}] to tenants/{tenant}.toml{}", or_suggestion(group.as_str(), known));
            self.note(key, field, format!("group {group} does not exist in tenant {tenant}"), mend);
        }
    }

    /// Battery limits as inherited down to this entry, if it says anything of them itself.
    fn battery_fits(&self, key: &Key, tenant: &TenantName, group: Option<&GroupName>, own: Option<&RulesContent>) {
        let of = |key: Key| match self.contents.get(&key) {
            Some(Content::Defaults(content)) => Some(&content.rules),
            Some(Content::Tenant(content)) => Some(&content.rules),
            Some(Content::Group(content)) => Some(&content.rules),
            Some(Content::Centre(_) | Content::Device(_) | Content::Feed(_) | Content::Fence(_)) | None => None,
        };
        let group = group.and_then(|group| of(Key::Group(tenant.clone(), group.clone())));
        let levels: Vec<&RulesContent> =
            [of(Key::Defaults), of(Key::Tenant(tenant.clone())), group, own].into_iter().flatten().collect();
        self.battery_meets(key, &levels);
    }

    fn battery_meets(&self, key: &Key, levels: &[&RulesContent]) {
        let said_here = levels.last().is_some_and(|rules| rules.battery_low.is_some());
        if let (true, Some((low, clear))) = (said_here, battery_limits_meet(levels.iter().copied())) {
            let field = if *key == Key::Defaults { "battery_low" } else { "rules.battery_low" };
            let wrong = format!("low is {low} and clear is {clear}, here or inherited");
            self.note(key, field, wrong, "set clear above low, or the alert would flap".to_owned());
        }
    }
}

fn described(key: &Key) -> String {
    match key {
        Key::Device(id) => format!("device {id}"),
        Key::Fence(tenant, name) => format!("fence {name} of tenant {tenant}"),
        Key::Defaults | Key::Centre(_) | Key::Tenant(_) | Key::Group(..) | Key::Feed(_) | Key::Commit => key.to_string(),
    }
}

fn read_feed(fields: Fields<'_>) -> Option<FeedContent> {
    let tenants = fields.names("tenants", TenantName::parse);
    if fields.value("tenants").is_none() {
        fields.missing("tenants", "list the tenants whose devices it carries, as in tenants = [\"acme\"]");
    }
    let fallback_centre = fields.name("fallback_centre", CentreName::parse);
    if fields.value("fallback_centre").is_none() {
        fields.missing(
            "fallback_centre",
            "name the centre that hears presses of unknown devices, as in fallback_centre = \"north\"",
        );
    }
    fields.done();
    let mut tenants = tenants?;
    tenants.sort();
    tenants.dedup();
    Some(FeedContent { tenants, fallback_centre: fallback_centre? })
}

/// The zone's name is checked for its form only: the time-zone data comes with schedules.
fn read_zone(fields: &Fields<'_>) -> String {
    let Some(zone) = fields.text("zone") else { return "UTC".to_owned() };
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+');
    if zone.is_empty() || zone.len() > limits::NAME_BYTES_MAX || !zone.bytes().all(legal) {
        fields.note("zone", format!("{zone:?} is not a time zone"), "write an IANA name such as \"Europe/London\"");
    }
    zone.to_owned()
}

fn toml_table(file: &str, text: &str, mistakes: &Mistakes) -> Option<Map<String, Value>> {
    match toml::from_str::<Map<String, Value>>(text) {
        Ok(table) => Some(table),
        Err(fault) => {
            let start = fault.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.bytes().take(start).filter(|b| *b == b'\n').count() + 1;
            let message = fault.message().replace('\n', ", ");
            mistakes.note(
                file,
                &format!("line {line}"),
                format!("is not TOML: {message}"),
                "mend this line; what else the file says could not be checked",
            );
            None
        }
    }
}
