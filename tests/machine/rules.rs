//! The rulebook of a story: short lines, turned into a source folder and applied as `lonewatch rules apply` would, so that versions grow.
//!
//! ```text
//! centre north
//! feed main tenants acme,beta fallback north
//! tenant acme centre north silence 10m grace 5m will 2m
//! device dev-1 tenant acme group visitors silence 5m
//! fence depot tenant acme meaning keep_in circle 0,0,200 dwell 30s buffer 15
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use lonewatch::rulebook::{self, Entries, Rulebook};

use crate::script::place;

/// The lines in force, by kind and name, and the rulebook topic that they were applied to.
#[derive(Clone)]
pub(crate) struct Rules {
    lines: BTreeMap<(String, String), String>,
    entries: Entries,
    offset: i64,
}

impl Rules {
    pub(crate) fn new() -> Self {
        Self { lines: BTreeMap::new(), entries: Entries::new(), offset: 0 }
    }

    /// Puts a line in, in place of the one about the same thing.
    pub(crate) fn set(&mut self, line: &str) {
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(kind), Some(name)) = (words.next(), words.next()) else { panic!("a rule names a kind and a thing: {line}") };
        self.lines.insert((kind, name), line.to_owned());
    }

    /// Takes the line about a thing out.
    pub(crate) fn remove(&mut self, kind: &str, name: &str) {
        let gone = self.lines.remove(&(kind.to_owned(), name.to_owned()));
        assert!(gone.is_some(), "there is no {kind} {name} to remove");
    }

    /// Applies the lines in force: the next version.
    pub(crate) fn apply(&mut self) -> Arc<Rulebook> {
        let files = self.files();
        let folder = rulebook::check(&files).unwrap_or_else(|mistakes| {
            let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            panic!("the story's rulebook is wrong:\n{}\n{files:#?}", lines.join("\n"))
        });
        let mut newest = None;
        for (key, value) in rulebook::plan(&self.entries, &folder, "story", "story", 0) {
            newest = self.entries.read(self.offset, &key, value.as_deref()).or(newest);
            self.offset += 1;
        }
        newest.expect("a story's rulebook changes something")
    }

    fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, BTreeMap<&'a str, &'a str>)> {
        let lines = self.lines.iter().filter(move |((of, _), _)| of == kind);
        lines.map(|((_, name), line)| {
            let words: Vec<&str> = line.split_whitespace().skip(2).collect();
            assert!(words.len().is_multiple_of(2), "a rule is words in pairs: {line}");
            (name.as_str(), words.chunks(2).map(|pair| (pair[0], pair[1])).collect())
        })
    }

    fn files(&self) -> Vec<(String, String)> {
        let mut installation = String::new();
        for (name, _) in self.of("centre") {
            let _ = writeln!(installation, "[centres.{name}]");
        }
        for (name, feed) in self.of("feed") {
            let tenants: Vec<String> = feed["tenants"].split(',').map(|tenant| format!("{tenant:?}")).collect();
            let (tenants, fallback) = (tenants.join(", "), feed["fallback"]);
            let _ = writeln!(installation, "[feeds.{name}]\ntenants = [{tenants}]\nfallback_centre = {fallback:?}");
        }
        let mut files = vec![("installation.toml".to_owned(), installation)];
        for (name, tenant) in self.of("tenant") {
            files.push((format!("tenants/{name}.toml"), self.tenant(name, &tenant)));
        }
        let fences: Vec<String> = self.of("fence").map(|(name, fence)| feature(name, &fence)).collect();
        let collection = format!(r#"{{"type": "FeatureCollection", "features": [{}]}}"#, fences.join(",\n"));
        files.push(("fences/all.geojson".to_owned(), collection));
        files
    }

    fn tenant(&self, name: &str, tenant: &BTreeMap<&str, &str>) -> String {
        let mut file = format!("centre = {:?}\nreconnect_grace = {:?}\n[rules]\n", tenant["centre"], tenant["grace"]);
        file.push_str(&rules(tenant));
        let mine = |thing: &BTreeMap<&str, &str>| thing.get("tenant") == Some(&name);
        let devices: Vec<_> = self.of("device").filter(|(_, device)| mine(device)).collect();
        let mut groups: Vec<&str> = devices.iter().filter_map(|(_, device)| device.get("group").copied()).collect();
        groups.extend(self.of("fence").filter(|(_, fence)| mine(fence)).filter_map(|(_, fence)| fence.get("group").copied()));
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            let _ = writeln!(file, "[groups.{group}]");
        }
        for (id, device) in devices {
            let _ = writeln!(file, "[devices.\"{id}\"]");
            if let Some(group) = device.get("group") {
                let _ = writeln!(file, "group = {group:?}");
            }
            let _ = writeln!(file, "[devices.\"{id}\".rules]\n{}", rules(&device));
        }
        file
    }
}

fn rules(words: &BTreeMap<&str, &str>) -> String {
    let mut text = String::new();
    if let Some(stage) = words.get("stage") {
        let _ = writeln!(text, "stage = {stage:?}");
    }
    let limits = [("silence", words.get("silence")), ("after_will", words.get("will"))];
    let limits: Vec<String> = limits.iter().filter_map(|(key, limit)| Some(format!("{key} = {:?}", (*limit)?))).collect();
    if words.get("silence") == Some(&"off") {
        text.push_str("lost_contact = false\n");
    } else if !limits.is_empty() {
        let _ = writeln!(text, "lost_contact = {{ {} }}", limits.join(", "));
    }
    if words.get("battery") == Some(&"off") {
        text.push_str("battery_low = false\n");
    }
    text
}

fn feature(name: &str, fence: &BTreeMap<&str, &str>) -> String {
    let mut parts = fence["circle"].rsplitn(2, ',');
    let (radius, middle) = (parts.next().expect("a radius"), parts.next().expect("a middle"));
    let (lat, lon) = place(middle).reveal();
    let groups = fence.get("group").map_or(String::new(), |group| format!(r#""groups": [{group:?}],"#));
    let stage = fence.get("stage").unwrap_or(&"live");
    format!(
        r#"{{"type": "Feature", "properties": {{"id": {name:?}, "tenant": {:?}, "meaning": {:?}, {groups}
            "stage": {stage:?}, "dwell": {:?}, "buffer_metres": {}, "radius_metres": {radius}}},
            "geometry": {{"type": "Point", "coordinates": [{lon}, {lat}]}}}}"#,
        fence["tenant"], fence["meaning"], fence["dwell"], fence["buffer"],
    )
}
