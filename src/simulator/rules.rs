//! The rulebook folder that fits a fleet: the tenants, groups, devices and fences that its devices live by.
//!
//! Text as a person would write it; `lonewatch rules check` reads it like any other folder.

use std::fmt::Write as _;

use serde_json::json;

use super::fleet::{Fleet, Plan};
use super::terrain::{AREAS, Area, Shape, Spot};

/// The centre that hears the fleet's alerts.
pub const CENTRE: &str = "demo";
/// The feed that carries the fleet.
pub const FEED: &str = "main";

/// The folder's files: path within it, and text.
pub fn folder(plan: &Plan) -> Vec<(String, String)> {
    let mut files = vec![("installation.toml".to_owned(), installation(plan))];
    for tenant in tenants() {
        files.push((format!("tenants/{tenant}.toml"), tenant_file(plan, tenant)));
    }
    for area in &AREAS {
        files.push((format!("fences/{}.geojson", area.fence), fence_file(plan, area)));
    }
    files
}

/// The fleet's tenants, in the order of their first device.
fn tenants() -> Vec<&'static str> {
    let mut tenants = Vec::new();
    for area in &AREAS {
        if !tenants.contains(&area.tenant) {
            tenants.push(area.tenant);
        }
    }
    tenants
}

fn installation(plan: &Plan) -> String {
    let tenants = tenants().iter().map(|tenant| format!("{tenant:?}")).collect::<Vec<_>>().join(", ");
    format!(
        r#"# Simulated devices. Limits are short so that things happen while one looks on; a real site takes minutes.
reconnect_grace = "0s"

[rules]
lost_contact = {{ silence = "{}", severity = "major" }}
battery_low = {{ low = 15, clear = 20, severity = "warning" }}

[centres.{CENTRE}]

[feeds.{FEED}]
tenants = [{tenants}]
fallback_centre = "{CENTRE}"
"#,
        duration(plan.limits.silence_millis)
    )
}

fn tenant_file(plan: &Plan, tenant: &str) -> String {
    let mut text = format!("centre = \"{CENTRE}\"\nzone = \"Europe/London\"\n");
    for area in AREAS.iter().filter(|area| area.tenant == tenant) {
        let _ = write!(text, "\n[groups.{}]\n", area.group);
    }
    text.push_str("\n[devices]\n");
    for (index, device) in Fleet::new(plan.clone(), 0).devices().enumerate() {
        let area = Area::of_device(index);
        if area.tenant == tenant {
            let _ = writeln!(text, "{device} = {{ group = \"{}\" }}", area.group);
        }
    }
    text
}

fn fence_file(plan: &Plan, area: &Area) -> String {
    let point = |spot| {
        let (lat, lon) = area.degrees(spot);
        json!([lon, lat])
    };
    let mut properties = json!({
        "id": area.fence, "tenant": area.tenant, "groups": [area.group],
        "meaning": "keep_in", "severity": "major", "dwell": duration(plan.limits.dwell_millis),
    });
    let geometry = match area.shape {
        Shape::Circle { radius_metres } => {
            properties["radius_metres"] = json!(radius_metres);
            json!({"type": "Point", "coordinates": point(Spot { east: 0.0, north: 0.0 })})
        }
        Shape::Polygon(corners) => {
            let ring = corners.iter().chain(corners.first());
            let ring: Vec<_> = ring.map(|(east, north)| point(Spot { east: *east, north: *north })).collect();
            json!({"type": "Polygon", "coordinates": [ring]})
        }
    };
    let file =
        json!({"type": "FeatureCollection", "features": [{"type": "Feature", "properties": properties, "geometry": geometry}]});
    serde_json::to_string_pretty(&file).expect("text and finite numbers only") + "\n"
}

fn duration(millis: i64) -> String {
    if millis % 1_000 == 0 { format!("{}s", millis / 1_000) } else { format!("{millis}ms") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::Limits;

    fn files() -> Vec<(String, String)> {
        folder(&Plan { devices: 50, seed: 1, seconds: None, limits: Limits::DEMO })
    }

    #[test]
    fn every_device_stands_in_one_group_with_a_fence() {
        let mut devices = 0;
        for (path, text) in files().iter().filter(|(path, _)| path.starts_with("tenants/")) {
            let tenant: toml::Table = text.parse().unwrap();
            let groups = tenant["groups"].as_table().unwrap();
            for (device, entry) in tenant["devices"].as_table().unwrap() {
                assert!(groups.contains_key(entry["group"].as_str().unwrap()), "{path}: {device}");
                devices += 1;
            }
            for group in groups.keys() {
                let fenced = AREAS.iter().any(|area| path.contains(area.tenant) && area.group == group);
                assert!(fenced, "{path}: {group}");
            }
        }
        assert_eq!(devices, 50);
    }

    #[test]
    fn fences_are_geojson_and_the_installation_is_toml() {
        for (path, text) in files() {
            if path.ends_with(".geojson") {
                text.parse::<geojson::FeatureCollection>().unwrap();
            } else {
                text.parse::<toml::Table>().unwrap();
            }
        }
        let installation: toml::Table = files()[0].1.parse().unwrap();
        assert_eq!(installation["rules"]["lost_contact"]["silence"].as_str(), Some("6s"));
    }
}
