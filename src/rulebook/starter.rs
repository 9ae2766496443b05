//! The source folder that `lonewatch rules init` writes: small, commented, and legal as it stands.

/// What `rules init` asks; the defaults make a folder to try things with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StarterAnswers {
    /// The alarm receiving centre's name.
    pub centre: String,
    /// The feed's name, as in the ingesters' configuration.
    pub feed: String,
    /// The first tenant's name.
    pub tenant: String,
    /// Its IANA time zone.
    pub zone: String,
}

impl Default for StarterAnswers {
    fn default() -> Self {
        let [centre, feed, tenant, zone] = ["north", "main", "acme", "Europe/London"].map(str::to_owned);
        Self { centre, feed, tenant, zone }
    }
}

/// The starter folder's files: relative path and text.
pub fn starter_folder(answers: &StarterAnswers) -> Vec<(String, String)> {
    let StarterAnswers { centre, feed, tenant, zone } = answers;
    let fill =
        |text: &str| text.replace("{centre}", centre).replace("{feed}", feed).replace("{tenant}", tenant).replace("{zone}", zone);
    vec![
        ("installation.toml".to_owned(), fill(INSTALLATION)),
        (format!("tenants/{tenant}.toml"), fill(TENANT)),
        ("fences/depot.geojson".to_owned(), fill(FENCE)),
    ]
}

const INSTALLATION: &str = r#"# What all tenants share. Check with `lonewatch rules check`, put in force with `lonewatch rules apply`.

# After we could not listen for a while: how long nothing counts against devices that reconnect one by one.
reconnect_grace = "5m"

# Rules of every device, unless its tenant, its group or the device itself says otherwise.
[rules]
stage = "live"                                   # "shadow": alerts go to the shadow topic; a press goes to the centre always
# Silence counts only while we listen. A device whose connection broke (the MQTT broker sends its will) gets after_will, if that is
# sooner; as long as the silence, and wills shorten nothing. false switches the rule off.
lost_contact = { silence = "10m", after_will = "2m", severity = "major" }
battery_low = { low = 15, clear = 20, severity = "warning" }

# Alarm receiving centres. Each has Kafka topics of its own: lonewatch.alerts.{centre} and so on.
[centres.{centre}]

# Feeds: one for each MQTT broker. Endpoint and filters are in the ingesters' configuration.
[feeds.{feed}]
tenants = ["{tenant}"]
fallback_centre = "{centre}"                     # hears presses of devices that nobody has entered
"#;

const TENANT: &str = r#"# One tenant; the file's name is the tenant's name.
centre = "{centre}"
zone = "{zone}"

# Rules of this tenant; what is left out is inherited.
# [rules]
# lost_contact = { silence = "5m" }

[groups.visitors.rules]
lost_contact = { silence = "5m" }

# Devices, by the id that stands in their MQTT topics: lw/v1/{id}/report and lw/v1/{id}/duress.
[devices.dev-1]
group = "visitors"

[devices.dev-2]
group = "visitors"
test = true                                      # its alerts are marked as tests, and routed as true ones
rules = { battery_low = false }
"#;

const FENCE: &str = r#"{
  "type": "FeatureCollection",
  "features": [
    {
      "type": "Feature",
      "properties": {
        "id": "depot",
        "tenant": "{tenant}",
        "meaning": "keep_in",
        "groups": ["visitors"],
        "severity": "major",
        "buffer_metres": 15,
        "dwell": "30s",
        "stage": "live"
      },
      "geometry": {
        "type": "Polygon",
        "coordinates": [[[-0.1300, 51.5050], [-0.1240, 51.5050], [-0.1240, 51.5090], [-0.1300, 51.5090], [-0.1300, 51.5050]]]
      }
    }
  ]
}
"#;
