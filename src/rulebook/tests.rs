//! The rulebook as a story: folders with mistakes, folders that apply, entries that come and go.

use std::sync::Arc;

use proptest::prelude::*;

use super::content::Key;
use super::*;
use crate::alert::{Severity, Stage};
use crate::ids::{FenceName, GroupName};
use crate::position::Position;

const INSTALLATION: &str = "
[centres.north]
[feeds.main]
tenants = ['acme']
fallback_centre = 'north'
";
const TENANT: &str = "
centre = 'north'
[groups.visitors]
[devices.dev-1]
group = 'visitors'
[devices.dev-2]
";
const SQUARE: &str = "[[[0, 51], [0.1, 51], [0.1, 51.1], [0, 51.1], [0, 51]]]";

/// The small legal folder with some files put in or replaced.
fn folder(files: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all: std::collections::BTreeMap<&str, &str> =
        [("installation.toml", INSTALLATION), ("tenants/acme.toml", TENANT)].into();
    all.extend(files.iter().copied());
    all.into_iter().map(|(path, text)| (path.to_owned(), text.to_owned())).collect()
}

fn legal(files: &[(&str, &str)]) -> SourceFolder {
    check(&folder(files)).unwrap_or_else(|mistakes| panic!("{}", lines(&mistakes)))
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The folder with these files must give exactly these mistakes, each told by a part of its line.
fn mistaken(files: &[(&str, &str)], expected: &[&str]) {
    let mistakes = check(&folder(files)).map(|_| ()).unwrap_err();
    let shown = lines(&mistakes);
    assert_eq!(mistakes.len(), expected.len(), "{shown}");
    for (mistake, part) in mistakes.iter().zip(expected) {
        assert!(mistake.to_string().contains(part), "not {part:?} in\n{mistake}\nof\n{shown}");
    }
}

fn feature(properties: &str, geometry: &str) -> String {
    format!(r#"{{"type": "Feature", "properties": {{{properties}}}, "geometry": {{{geometry}}}}}"#)
}

fn fence(extra: &str, geometry: &str) -> String {
    feature(&format!(r#""id": "depot", "tenant": "acme", "meaning": "keep_in"{extra}"#), geometry)
}

fn polygon(rings: &str) -> String {
    fence("", &format!(r#""type": "Polygon", "coordinates": {rings}"#))
}

fn device_id(text: &str) -> DeviceId {
    DeviceId::parse(text).unwrap()
}

fn tenant_name(text: &str) -> TenantName {
    TenantName::parse(text).unwrap()
}

/// A topic that applies are written to and read back from.
struct Topic {
    entries: Entries,
    records: Vec<Write>,
    newest: Arc<Rulebook>,
}

impl Topic {
    fn new() -> Self {
        Self { entries: Entries::new(), records: Vec::new(), newest: Arc::new(Rulebook::empty()) }
    }

    fn write(&mut self, key: &str, value: Option<&[u8]>) -> Option<Arc<Rulebook>> {
        let offset = i64::try_from(self.records.len()).unwrap();
        self.records.push((key.to_owned(), value.map(<[u8]>::to_vec)));
        let version = self.entries.read(offset, key, value);
        if let Some(version) = &version {
            self.newest = Arc::clone(version);
        }
        version
    }

    fn json(&mut self, key: &str, value: &str) -> Option<Arc<Rulebook>> {
        self.write(key, Some(value.as_bytes()))
    }

    fn apply(&mut self, files: &[(&str, &str)]) -> usize {
        let writes = plan(&self.entries, &legal(files), "ann", "a test", 1_000);
        for (key, value) in &writes {
            self.write(key, value.as_deref());
        }
        writes.len()
    }

    fn device(&self, id: &str) -> &Device {
        self.newest.device(&device_id(id)).unwrap()
    }
}

// ---- the folder ----

#[test]
fn the_starter_folder_is_legal() {
    let starter = starter_folder(&StarterAnswers::default());
    let rulebook = check(&starter).unwrap_or_else(|mistakes| panic!("{}", lines(&mistakes))).rulebook();
    let dev_1 = rulebook.device(&device_id("dev-1")).unwrap();
    assert_eq!(dev_1.rules.lost_contact.unwrap().silence_millis, 300_000);
    assert_eq!(rulebook.device(&device_id("dev-2")).unwrap().rules.battery_low, None);
    assert_eq!(rulebook.fences().len(), 1);
    let other = StarterAnswers { centre: "one".into(), feed: "two".into(), tenant: "three".into(), zone: "UTC".into() };
    check(&starter_folder(&other)).unwrap();
}

#[test]
fn all_mistakes_come_at_once() {
    mistaken(
        &[
            (
                "installation.toml",
                "reconnect_grace = 5\n[centres.North]\n[feeds.main]\ntenants = ['acme', 'acne']\nfallback_centre = 'south'\n[rules]\nlost_contact = { silense = '10m' }\n",
            ),
            (
                "tenants/acme.toml",
                "centre = 'north'\nzone = 'here and there'\n[rules]\nlost_contact = { silence = '2s', after_will = '0s' }\nman_down = {}\n[devices.dev-1]\ngroup = 'visitor'\n[devices.\"a/b\"]\n[groups.visitors]\n",
            ),
            ("tenants/beta.toml", "centre = 'north'\n[devices.dev-1]\n"),
            ("fences/a.geojson", &polygon("[[[0, 51], [0.1, 51], [0.1, 51.1], [0, 51.1]]]")),
            ("notes.toml", ""),
        ],
        &[
            "fences/a.geojson: feature 1 (depot), ring 1, coordinate 4: the ring is not closed; end the ring with its first",
            "installation.toml: rules.lost_contact.silense: is not a key that is known here; did you mean `silence`?",
            "installation.toml: reconnect_grace: is 5; write a duration such as",
            "installation.toml: centres.North: \"North\" is not a centre name; use a lower-case",
            "installation.toml: centres: is missing",
            "installation.toml: feeds.main.fallback_centre: centre south does not exist; add [centres.south] to installation.toml",
            "installation.toml: feeds.main.tenants: tenant acne does not exist; write tenants/acne.toml, or did you mean `acme`?",
            "notes.toml: is not read; move it",
            "tenants/acme.toml: zone: \"here and there\" is not a time zone",
            "tenants/acme.toml: rules.lost_contact.silence: is 2s; write a duration from 3s to 7d",
            "tenants/acme.toml: rules.lost_contact.after_will: is 0s; write a duration from 3s to 7d",
            "tenants/acme.toml: rules.man_down: is not supported yet; remove it",
            "tenants/acme.toml: devices.\"a/b\": \"a/b\" is not a device id",
            "tenants/acme.toml: centre: centre north does not exist; add [centres.north] to installation.toml",
            "tenants/acme.toml: devices.dev-1.group: group visitor does not exist in tenant acme; add [groups.visitor] to tenants/acme.toml, or did you mean `visitors`?",
            "tenants/beta.toml: devices.dev-1: device dev-1 is defined already, in tenants/acme.toml at devices.dev-1",
            "tenants/beta.toml: centre: centre north does not exist",
            "tenants/beta.toml: no feed carries the devices of tenant beta",
        ],
    );
}

#[test]
fn a_garbled_file_is_one_mistake() {
    mistaken(&[("tenants/acme.toml", "centre = 'north'\n[devices\n")], &["tenants/acme.toml: line 2: is not TOML"]);
    mistaken(&[("installation.toml", "centres")], &["installation.toml: line 1: is not TOML"]);
    mistaken(&[("fences/a.geojson", "{\n\n]")], &["fences/a.geojson: line 3: is not JSON"]);
    mistaken(&[("fences/a.geojson", "[]")], &["is no FeatureCollection and no Feature"]);
    mistaken(&[("tenants/Big Co.toml", "")], &["\"Big Co\" is not a tenant name, which the file's name is"]);
    let mistakes = check(&[("tenants/acme.toml".to_owned(), TENANT.to_owned())]).unwrap_err();
    assert!(
        mistakes.len() == 1 && lines(&mistakes).starts_with("installation.toml: is missing; write one"),
        "{}",
        lines(&mistakes)
    );
}

#[test]
fn wrong_types_and_switches_are_told() {
    mistaken(
        &[(
            "tenants/acme.toml",
            "centre = 3\ndevices = 'many'\n[rules]\nstage = 'lice'\nlost_contact = 'off'\nbattery_low = { low = 101, clear = '20', severity = 'bad' }\n",
        )],
        &[
            "centre: is 3; write a text in quotes",
            "rules.stage: is \"lice\"; did you mean `live`?",
            "rules.lost_contact: is neither a table nor true or false",
            "rules.battery_low.low: is 101; write a whole number",
            "rules.battery_low.clear: is \"20\"; write a whole number from 0 to 100",
            "rules.battery_low.severity: is \"bad\"; known here: warning, minor, major, critical",
            "devices: is \"many\"; write a table",
        ],
    );
}

#[test]
fn battery_limits_that_meet_by_inheritance_are_a_mistake() {
    mistaken(
        &[("tenants/acme.toml", "centre = 'north'\n[devices.dev-1.rules]\nbattery_low = { low = 20 }\n")],
        &["devices.dev-1.rules.battery_low: low is 20 and clear is 20, here or inherited; set clear above low"],
    );
}

#[test]
fn fences_are_checked_to_the_coordinate() {
    let multi = |polygons: &str| fence("", &format!(r#""type": "MultiPolygon", "coordinates": {polygons}"#));
    for (file, expected) in [
        (polygon("[[[0, 51], [0.1, 51.1], [0.1, 51], [0, 51.1], [0, 51]]]"), "ring 1: the edges from coordinates 1 and 3 meet"),
        (polygon("[[[0, 51], [0, 51], [0.1, 51.1], [0.1, 51], [0, 51.1], [0, 51]]]"), "the edges from coordinates 2 and 4 meet"),
        (polygon("[[[0, 51], [0.1, 151], [0.1, 51], [0, 51]]]"), "ring 1, coordinate 2: [0.1, 151] is not on Earth"),
        (polygon("[[[51, 100], [51, 101], [52, 101], [51, 100]]]"), "are the two swapped?"),
        (polygon("[[[179, 1], [181, 1], [181, 2], [179, 1]]]"), "cut it at the antimeridian into a MultiPolygon"),
        (
            polygon("[[[179, 1], [-179, 1], [-179, 2], [179, 2], [179, 1]]]"),
            "ring 1: spans over 180 degrees of longitude; cut it",
        ),
        (polygon("[[[0, 51], [0.1, 51], [0, 51]]]"), "ring 1: has under 3 different corners"),
        (polygon("[]"), "polygon: has no ring"),
        (polygon("[[[0], [1, 1], [2, 2], [0]]]"), "ring 1, coordinate 1: has under 2 numbers (1 more of this line are wrong)"),
        (polygon("[[[\"a\", 1]]]"), "feature 1 (depot): is no GeoJSON"),
        (multi("[]"), "has no polygon"),
        (
            multi(&format!("[{SQUARE}, [[[0.05, 51.05], [0.2, 51.05], [0.2, 51.2], [0.05, 51.05]]]]")),
            "polygon 1, ring 1: the edge from",
        ),
        (fence("", r#""type": "Point", "coordinates": [0, 51]"#), "radius_metres: is missing; a Point is a circle"),
        (
            fence(r#", "radius_metres": 1"#, r#""type": "Point", "coordinates": [0, 51]"#),
            "radius_metres: is 1; write a number from 5 to 50000",
        ),
        (fence("", r#""type": "LineString", "coordinates": [[0, 51], [1, 51]]"#), "width_metres: is missing; a LineString"),
        (fence("", r#""type": "MultiPoint", "coordinates": [[0, 51]]"#), "a MultiPoint is no fence"),
        (
            fence(r#", "dwel": "3s""#, &format!(r#""type": "Polygon", "coordinates": {SQUARE}"#)),
            "feature 1 (depot).dwel: is not a key that is known here; did you mean `dwell`?",
        ),
        (
            fence(r#", "groups": ["nobody"]"#, &format!(r#""type": "Polygon", "coordinates": {SQUARE}"#)),
            "feature 1 (depot).groups: group nobody does not exist",
        ),
        (r#"{"type": "Feature", "properties": {}, "geometry": null}"#.to_owned(), "feature 1: has no geometry"),
    ] {
        mistaken(&[("fences/a.geojson", &file)], &[expected]);
    }
}

#[test]
fn a_fence_says_what_it_lacks() {
    let bare = feature(r#""tenant": "acne""#, &format!(r#""type": "Polygon", "coordinates": {SQUARE}"#));
    mistaken(&[("fences/a.geojson", &bare)], &["feature 1.id: is missing", "feature 1.meaning: is missing"]);
    let orphan =
        feature(r#""id": "a", "tenant": "acne", "meaning": "notify""#, &format!(r#""type": "Polygon", "coordinates": {SQUARE}"#));
    mistaken(&[("fences/a.geojson", &orphan)], &["feature 1 (a).tenant: tenant acne does not exist"]);
}

#[test]
fn too_many_vertices_are_refused_before_anything_is_computed() {
    let corners: Vec<String> = (0..=crate::limits::FENCE_VERTICES_MAX).map(|n| format!("[{}, 51]", n % 7)).collect();
    mistaken(
        &[("fences/a.geojson", &polygon(&format!("[[{}]]", corners.join(","))))],
        &["has 50001 coordinates, the limit is 50000"],
    );
}

#[test]
fn either_winding_is_read_and_the_defaults_hold() {
    for rings in [SQUARE, "[[[0, 51], [0, 51.1], [0.1, 51.1], [0.1, 51], [0, 51]]]"] {
        let rulebook = legal(&[("fences/a.geojson", &polygon(rings))]).rulebook();
        let slot = rulebook.fences().find(&tenant_name("acme"), &FenceName::parse("depot").unwrap()).unwrap();
        let fence = rulebook.fences().fence(slot);
        assert_eq!((fence.buffer_metres, fence.dwell_millis, fence.severity), (15.0, 30_000, Severity::Major));
        assert!(fence.signed_distance_metres(Position::from_degrees(51.05, 0.05).unwrap()) < -3_000.0);
        assert!(fence.applies_to(None), "no groups: all of the tenant");
    }
}

#[test]
fn only_the_tenants_own_fences_are_near() {
    let installation = INSTALLATION.replace("['acme']", "['acme', 'beta']");
    let collection = |tenant: &str, ids: [&str; 2]| {
        let features = ids.map(|id| {
            let properties = format!(r#""id": "{id}", "tenant": "{tenant}", "meaning": "notify", "radius_metres": 100"#);
            feature(&properties, r#""type": "Point", "coordinates": [0.0, 51.0]"#)
        });
        format!(r#"{{"type": "FeatureCollection", "features": [{}]}}"#, features.join(","))
    };
    let rulebook = legal(&[
        ("installation.toml", &installation),
        ("tenants/beta.toml", "centre = 'north'"),
        ("fences/a.geojson", &collection("beta", ["z", "a"])),
        ("fences/b.geojson", &collection("acme", ["q", "b"])),
    ])
    .rulebook();
    let near = |tenant: &str, lat: f64| {
        let mut found = Vec::new();
        rulebook.fences().near(&tenant_name(tenant), Position::from_degrees(lat, 0.0).unwrap(), 50.0, &mut found);
        found.iter().map(|slot| rulebook.fences().fence(*slot).name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(near("acme", 51.0), ["b", "q"]);
    assert_eq!(near("beta", 51.001), ["a", "z"], "111 m off, within radius and reach");
    assert!(near("beta", 51.01).is_empty());
    assert!(near("nobody", 51.0).is_empty());
}

// ---- inheritance ----

#[test]
fn rules_are_inherited_from_installation_to_device() {
    let installation =
        format!("{INSTALLATION}\n[rules]\nlost_contact = {{ silence = '20m', after_will = '8m', severity = 'minor' }}\n");
    let tenant = "
centre = 'north'
reconnect_grace = '0s'
[rules]
stage = 'shadow'
battery_low = false
[groups.visitors.rules]
lost_contact = { silence = '5m' }
[groups.quiet.rules]
lost_contact = false
[devices.plain]
[devices.visitor]
group = 'visitors'
[devices.special]
group = 'quiet'
rules = { stage = 'live', lost_contact = true, battery_low = { low = 30, clear = 40 } }
[devices.silent]
group = 'quiet'
";
    let mut topic = Topic::new();
    topic.apply(&[("installation.toml", &installation), ("tenants/acme.toml", tenant)]);
    let rules = |id: &str| &topic.device(id).rules;
    let silence = |id: &str| rules(id).lost_contact.map(|rule| (rule.silence_millis, rule.severity));
    let after_will = |id: &str| rules(id).lost_contact.map(|rule| rule.after_will_millis);
    assert_eq!(after_will("plain"), Some(480_000));
    assert_eq!(after_will("visitor"), Some(300_000), "a will never lengthens a silence");
    assert_eq!(after_will("special"), Some(480_000));
    assert_eq!(silence("plain"), Some((1_200_000, Severity::Minor)));
    assert_eq!(silence("visitor"), Some((300_000, Severity::Minor)));
    assert_eq!(silence("silent"), None);
    assert_eq!(silence("special"), Some((1_200_000, Severity::Minor)), "switched on again with what was inherited");
    assert_eq!(rules("plain").stage, Stage::Shadow);
    assert_eq!(rules("special").stage, Stage::Live);
    assert_eq!(rules("plain").battery_low, None);
    assert_eq!(rules("special").battery_low.map(|rule| (rule.low_percent, rule.severity)), Some((30, Severity::Warning)));
    let tenant = topic.newest.tenant(&tenant_name("acme")).unwrap();
    assert_eq!((tenant.reconnect_grace_millis, tenant.zone.as_str()), (0, "UTC"));
    assert_eq!(tenant.feeds, [FeedName::parse("main").unwrap()]);
    assert_eq!(topic.device("visitor").group, Some(GroupName::parse("visitors").unwrap()));
}

#[test]
fn a_folder_that_says_nothing_has_the_documented_defaults() {
    let mut topic = Topic::new();
    topic.apply(&[]);
    let rules = &topic.device("dev-1").rules;
    assert_eq!(rules.stage, Stage::Live);
    let lost_contact = LostContact { silence_millis: 600_000, after_will_millis: 120_000, severity: Severity::Major };
    assert_eq!(rules.lost_contact, Some(lost_contact));
    assert_eq!(rules.battery_low, Some(BatteryLow { low_percent: 15, clear_percent: 20, severity: Severity::Warning }));
    assert_eq!(topic.newest.tenant(&tenant_name("acme")).unwrap().reconnect_grace_millis, 300_000);
}

// ---- versions ----

#[test]
fn nothing_takes_effect_between_commits() {
    let mut topic = Topic::new();
    let writes = plan(&topic.entries, &legal(&[]), "ann", "a test", 1_000);
    let (commit, rest) = writes.split_last().unwrap();
    for (key, value) in rest {
        assert!(topic.write(key, value.as_deref()).is_none(), "{key}");
    }
    let version = topic.write(&commit.0, commit.1.as_deref()).unwrap();
    assert_eq!(version.version(), i64::try_from(rest.len()).unwrap());
    let mut old = topic.newest.devices().map(|device| device.id.to_string());
    assert_eq!((old.next().as_deref(), old.next().as_deref(), old.next()), (Some("dev-1"), Some("dev-2"), None));
    drop(old);
    assert!(topic.json("device/dev-3", r#"{"author":"a","reason":"b","at":1,"content":{"tenant":"acme"}}"#).is_none());
    assert!(topic.newest.device(&device_id("dev-3")).is_none());
    assert!(topic.json("commit", r#"{"author":"a","reason":"b","at":1}"#).unwrap().device(&device_id("dev-3")).is_some());
}

#[test]
fn an_apply_writes_only_what_changed_and_ends_in_a_commit() {
    let mut topic = Topic::new();
    assert_eq!(topic.apply(&[]), 8, "defaults, centre, tenant, group, two devices, feed, commit");
    assert_eq!(topic.apply(&[]), 0, "nothing changes, nothing is written");
    let before = topic.device("dev-1").entry;
    let tenant = TENANT.replace("[devices.dev-2]", "[devices.dev-2]\ntest = true");
    let changes = diff(&topic.entries, &legal(&[("tenants/acme.toml", &tenant)]));
    assert_eq!(changes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["~ device/dev-2  (test: false -> true)"]);
    assert_eq!(topic.apply(&[("tenants/acme.toml", &tenant)]), 2);
    assert_eq!(topic.records[8].0, "device/dev-2");
    assert_eq!(topic.records[9].0, "commit");
    assert_eq!((topic.device("dev-1").entry, topic.device("dev-2").entry, topic.newest.version()), (before, 8, 9));
}

#[test]
fn fractions_survive_the_topic() {
    for metres in ["123.4567890123", "0.1", "33.333333333333336", "9999.999999999999"] {
        let properties = format!(r#", "radius_metres": 100.123456789, "buffer_metres": {metres}"#);
        let circle = fence(&properties, r#""type": "Point", "coordinates": [0.123456789012345, 51.987654321098765]"#);
        let mut topic = Topic::new();
        assert_eq!(topic.apply(&[("fences/a.geojson", &circle)]), 9);
        assert_eq!(topic.apply(&[("fences/a.geojson", &circle)]), 0, "{metres}");
    }
}

#[test]
fn a_removal_says_who_and_why_before_the_tombstone() {
    let mut topic = Topic::new();
    topic.apply(&[]);
    let tenant = TENANT.replace("[devices.dev-2]", "");
    assert_eq!(topic.apply(&[("tenants/acme.toml", &tenant)]), 3);
    let [said, tombstone, commit] = &topic.records[8..] else { panic!("three records") };
    let said_text = String::from_utf8(said.1.clone().unwrap()).unwrap();
    assert_eq!(said_text, r#"{"format":1,"author":"ann","reason":"a test","at":1000,"removed":true}"#);
    assert_eq!((said.0.as_str(), tombstone, commit.0.as_str()), ("device/dev-2", &("device/dev-2".to_owned(), None), "commit"));
    assert!(topic.newest.device(&device_id("dev-2")).is_none());
    assert!(topic.newest.device(&device_id("dev-1")).is_some());
}

#[test]
fn an_unusable_entry_leaves_the_last_good_one_in_force_and_the_next_apply_mends_it() {
    let mut topic = Topic::new();
    topic.apply(&[]);
    for bad in [
        "junk",
        r#"{"author":"a","reason":"b","at":1}"#,
        r#"{"author":"a","reason":"b","at":1,"content":{"tenant":"NO"}}"#,
        r#"{"author":"a","reason":"b","at":1,"content":{"tenant":"acme","rules":{"lost_contact":{"silence_millis":1}}}}"#,
        r#"{"author":"a","reason":"b","at":1,"content":{"tenant":"acme","rules":{"lost_contact":{"after_will_millis":0}}}}"#,
        r#"{"format":2,"author":"a","reason":"b","at":1,"content":{"tenant":"acme"}}"#,
    ] {
        topic.json("device/dev-1", bad);
        topic.json("commit", r#"{"author":"a","reason":"b","at":1}"#).unwrap();
        assert_eq!(topic.device("dev-1").rules.lost_contact.unwrap().silence_millis, 600_000);
        let fault = topic.entries.faults();
        assert!(fault.len() == 1 && fault[0].key == "device/dev-1" && fault[0].what.contains("last good"), "{fault:?}");
    }
    assert!(topic.json("commit", "junk").is_none(), "an unreadable commit commits nothing");
    topic.json("planet/earth", "{}");
    topic.json("device/never", "junk");
    assert_eq!(topic.entries.faults().len(), 4);
    let changes: Vec<_> = diff(&topic.entries, &legal(&[])).iter().map(ToString::to_string).collect();
    assert_eq!(changes, ["~ device/dev-1  (replaces an unusable entry)", "- device/never  (was never usable)"]);
    assert_eq!(topic.apply(&[]), 4);
    assert_eq!(topic.apply(&[]), 0);
    assert_eq!(topic.entries.faults().iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), ["planet/earth"]);
}

#[test]
fn what_does_not_fit_together_is_told_and_the_rest_holds() {
    let mut topic = Topic::new();
    topic.apply(&[]);
    let content = |content: &str| format!(r#"{{"author":"a","reason":"b","at":1,"content":{content}}}"#);
    topic.json("device/lost", &content(r#"{"tenant":"gone"}"#));
    topic.json("device/loose", &content(r#"{"tenant":"acme","group":"gone"}"#));
    topic.json("feed/second", &content(r#"{"tenants":["gone","acme"],"fallback_centre":"gone"}"#));
    topic.json("commit", r#"{"author":"a","reason":"b","at":1}"#).unwrap();
    let told: Vec<_> = topic.entries.faults().iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(told, ["device/loose", "device/lost", "feed/second", "feed/second"]);
    assert!(topic.newest.device(&device_id("lost")).is_none());
    assert!(topic.newest.device(&device_id("loose")).is_some());
    assert_eq!(topic.newest.tenant(&tenant_name("acme")).unwrap().feeds.len(), 2);
    topic.apply(&[]);
    assert!(topic.entries.faults().is_empty());
}

#[test]
fn fields_of_later_versions_are_passed_over() {
    let mut topic = Topic::new();
    topic.apply(&[]);
    let later = r#"{"author":"a","reason":"b","at":1,"colour":"red","content":{"tenant":"acme","positions":"sometimes",
        "rules":{"man_down":{"pre_alert_millis":"soon"},"check_in_missed":false,"moon":1,"lost_contact":{"silence_millis":5000,"stage":"odd"}}}}"#;
    topic.json("device/dev-1", later);
    topic.json("commit", r#"{"author":"a","reason":"b","at":1}"#);
    assert_eq!(topic.entries.faults(), []);
    assert_eq!(topic.device("dev-1").rules.lost_contact.unwrap().silence_millis, 5_000);
}

#[test]
fn the_same_entries_give_equal_rulebooks() {
    let mut topic = Topic::new();
    topic.apply(&[("fences/a.geojson", &polygon(SQUARE))]);
    topic.apply(&[]);
    topic.apply(&[("fences/a.geojson", &polygon(SQUARE))]);
    let mut again = Entries::new();
    let versions: Vec<_> =
        (0..).zip(&topic.records).filter_map(|(offset, (key, value))| again.read(offset, key, value.as_deref())).collect();
    assert_eq!(versions.iter().map(|version| version.fences().len()).collect::<Vec<_>>(), [1, 0, 1]);
    assert_eq!(versions.last(), Some(&topic.newest));
    assert_eq!(again.version(), topic.newest.version());
}

#[test]
fn keys_read_back_as_they_print() {
    for key in [
        "installation/defaults",
        "centre/north",
        "tenant/acme",
        "group/acme/g",
        "device/A.b_c-1",
        "feed/main",
        "fence/acme/f",
        "commit",
    ] {
        assert_eq!(Key::parse(key).unwrap().to_string(), key);
    }
    for wrong in ["", "device", "device/", "device/a/b", "group/acme", "planet/x", "commit/"] {
        assert!(Key::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_changed_fence_shows_no_coordinate() {
    let mut topic = Topic::new();
    topic.apply(&[("fences/a.geojson", &polygon(SQUARE))]);
    let wider = fence(
        r#", "dwell": "1m""#,
        r#""type": "Polygon", "coordinates": [[[0, 51], [0.2, 51], [0.1, 51.1], [0, 51.1], [0, 51]]]"#,
    );
    let changes = diff(&topic.entries, &legal(&[("fences/a.geojson", &wider)]));
    assert_eq!(changes[0].to_string(), "~ fence/acme/depot  (dwell: 30s -> 1m, shape)");
    let shown = format!("{:?}", topic.newest.fences());
    assert!(!shown.contains("1000000") && !shown.contains("51"), "{shown}");
}

// ---- nothing breaks it ----

/// What is put in the place of a stretch of text: what texts are made of, and what limits are made of.
fn scrap() -> impl Strategy<Value = String> {
    let known = [
        "",
        "\"",
        "[",
        "]",
        "{",
        "}",
        "0",
        "-1",
        "1e400",
        "nan",
        "99999999999999999999",
        "null",
        "true",
        ".",
        ",",
        "\n",
        "é",
        "180",
        "-180",
    ];
    prop_oneof![prop::sample::select(known.to_vec()).prop_map(str::to_owned), "[a-z0-9_. =\"\\[\\]{},-]{0,12}"]
}

fn damaged(text: &str, at: prop::sample::Index, length: usize, scrap: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let from = at.index(chars.len());
    let (head, tail) = (&chars[..from], &chars[(from + length).min(chars.len())..]);
    head.iter().collect::<String>() + scrap + &tail.iter().collect::<String>()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_damaged_folder_is_judged_without_panic(
        file in 0..4_usize, at in any::<prop::sample::Index>(), length in 0..20_usize, scrap in scrap(),
    ) {
        let mut files = starter_folder(&StarterAnswers::default());
        files.push(("fences/many.geojson".to_owned(), fence("", &format!(r#""type": "MultiPolygon", "coordinates": [{SQUARE}]"#))));
        files[file].1 = damaged(&files[file].1, at, length, &scrap);
        match check(&files) {
            Ok(folder) => {
                let rulebook = folder.rulebook();
                for (_, fence) in rulebook.fences().iter() {
                    prop_assert!(fence.signed_distance_metres(Position::from_degrees(51.5, -0.1).unwrap()).is_finite());
                }
                prop_assert!(folder.is_empty() || plan(&Entries::new(), &folder, "a", "b", 0).len() == folder.len() + 1);
            }
            Err(mistakes) => prop_assert!(mistakes.iter().all(|mistake| !mistake.wrong.is_empty() && !mistake.mend.is_empty())),
        }
    }

    #[test]
    fn a_damaged_entry_is_read_without_panic(
        entry in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), length in 0..20_usize, scrap in scrap(),
    ) {
        let mut writes = plan(&Entries::new(), &legal(&[("fences/a.geojson", &polygon(SQUARE))]), "a", "b", 0);
        let entry = entry.index(writes.len());
        let text = String::from_utf8(writes[entry].1.clone().unwrap()).unwrap();
        writes[entry].1 = Some(damaged(&text, at, length, &scrap).into_bytes());
        let mut topic = Topic::new();
        for (key, value) in &writes {
            topic.write(key, value.as_deref());
        }
        for (_, fence) in topic.newest.fences().iter() {
            prop_assert!(fence.signed_distance_metres(Position::from_degrees(51.5, -0.1).unwrap()).is_finite());
        }
        prop_assert!(topic.newest.version() > 0 || !topic.entries.faults().is_empty());
        topic.apply(&[("fences/a.geojson", &polygon(SQUARE))]);
        prop_assert_eq!(topic.entries.faults(), []);
        prop_assert_eq!(topic.newest.devices().count(), 2);
    }
}

/// The fenced blocks of a document that are files of a folder: TOML names its file in its first line, JSON beside the fence.
fn files_in(document: &str) -> Vec<(String, String)> {
    let blocks = document.split("\n```").skip(1).step_by(2);
    let file = |block: &str| {
        let (language, text) = block.split_once('\n')?;
        let name = match language.split_once(' ') {
            Some((_, name)) => name,
            None => text.lines().next()?.strip_prefix("# ")?,
        };
        [".toml", ".geojson"].iter().any(|ending| name.ends_with(ending)).then(|| (name.to_owned(), text.to_owned()))
    };
    blocks.filter_map(file).collect()
}

#[test]
fn the_examples_of_the_document_are_a_rulebook() {
    let document = include_str!("../../docs/RULEBOOK.md");
    let files = files_in(document);
    assert_eq!(files.len(), 3, "{files:?}");
    let rulebook = check(&files).unwrap().rulebook();
    let fences: Vec<String> = rulebook.fences().iter().map(|(_, fence)| fence.name.to_string()).collect();
    assert_eq!(fences, ["depot", "quarry"]);
    let phone = rulebook.device(&DeviceId::parse("joe.phone").unwrap()).unwrap();
    assert_eq!((phone.rules.battery_low, phone.rules.lost_contact.unwrap().silence_millis), (None, 300_000));
    assert_eq!(phone.rules.lost_contact.unwrap().after_will_millis, 120_000);
}
