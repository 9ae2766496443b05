//! An installation as an operator sets it up, through the program's own commands: configuration, rulebook, Kafka topics, roles.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::time::Duration;

use super::process::Lonewatch;
use super::wait::wait_for;
use super::watchdog::Watchdog;
use super::world::World;

/// Partitions of the journal in these tests: enough to differ, few enough to be quick.
pub const PARTITIONS: u32 = 3;
/// The centre that the rules of [`Rules`] name.
pub const CENTRE: &str = "north";

/// A command that talks to Kafka and is done.
const COMMAND_DEADLINE: Duration = Duration::from_mins(1);
/// From a start to readiness, on cores that builds and other tests share.
const READY_DEADLINE: Duration = Duration::from_mins(1);
/// From SIGTERM to the end: the drains inside are bounded by 10 s each.
pub const STOP_DEADLINE: Duration = Duration::from_secs(40);

/// A rulebook folder: one tenant, `acme`, whose alerts go to the centre `north`.
pub struct Rules {
    /// The value of `lost_contact`, such as `{ silence = "5s" }`.
    lost_contact: String,
    reconnect_grace: String,
    devices: Vec<String>,
    /// File name below `fences/` and text.
    fences: Vec<(String, String)>,
}

impl Rules {
    /// Devices without any rule but duress.
    pub fn of(devices: &[&str]) -> Self {
        Self {
            lost_contact: "false".to_owned(),
            reconnect_grace: "1s".to_owned(),
            devices: devices.iter().map(|device| (*device).to_owned()).collect(),
            fences: Vec::new(),
        }
    }

    /// With a silence limit.
    pub fn silence(self, limit: &str) -> Self {
        self.lost_contact(&format!("{{ silence = \"{limit}\" }}"))
    }

    /// With the rule of lost contact as the rulebook writes it.
    pub fn lost_contact(mut self, rule: &str) -> Self {
        rule.clone_into(&mut self.lost_contact);
        self
    }

    /// With a reconnect grace; it is a second otherwise.
    pub fn grace(mut self, grace: &str) -> Self {
        grace.clone_into(&mut self.reconnect_grace);
        self
    }

    /// With a fence to stay in: a square around a middle, half a side long in degrees, without dwell.
    pub fn keep_in(mut self, name: &str, (lat, lon): (f64, f64), half: f64) -> Self {
        let (south, north, west, east) = (lat - half, lat + half, lon - half, lon + half);
        let fence = serde_json::json!({
            "type": "FeatureCollection",
            "features": [{
                "type": "Feature",
                "properties": { "id": name, "tenant": "acme", "meaning": "keep_in", "dwell": "0s", "buffer_metres": 15 },
                "geometry": {
                    "type": "Polygon",
                    "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]],
                },
            }],
        });
        self.fences.push((format!("{name}.geojson"), fence.to_string()));
        self
    }

    fn write(&self, folder: &Path) {
        let write = |path: PathBuf, text: String| {
            std::fs::create_dir_all(path.parent().expect("a file of the folder")).expect("make the rulebook folder");
            std::fs::write(path, text).expect("write the rulebook folder");
        };
        let (grace, lost_contact) = (&self.reconnect_grace, &self.lost_contact);
        write(
            folder.join("installation.toml"),
            format!(
                "reconnect_grace = \"{grace}\"\n[rules]\nlost_contact = {lost_contact}\nbattery_low = false\n[centres.{CENTRE}]\n\
                 [feeds.main]\ntenants = [\"acme\"]\nfallback_centre = \"{CENTRE}\"\n"
            ),
        );
        let devices: Vec<String> = self.devices.iter().map(|device| format!("[devices.\"{device}\"]\n")).collect();
        let devices = devices.concat();
        write(folder.join("tenants/acme.toml"), format!("centre = \"{CENTRE}\"\nzone = \"Europe/London\"\n{devices}"));
        for (file, text) in &self.fences {
            write(folder.join("fences").join(file), text.clone());
        }
    }
}

/// An installation of one test.
pub struct Site {
    /// Its brokers and names.
    pub world: World,
    folder: PathBuf,
}

impl Site {
    /// Topics made, rulebook checked and applied, nothing running.
    #[track_caller]
    pub fn new(world: World, rules: &Rules) -> Self {
        let site = Self::bare(world);
        rules.write(&site.rules_folder());
        site.must(&["topics", "create"]);
        site.apply();
        site
    }

    /// The configuration file alone.
    pub fn bare(world: World) -> Self {
        let folder = Watchdog::shared().fresh_folder("site");
        let site = Self { world, folder };
        site.configure(&site.configuration("main", PARTITIONS));
        site
    }

    /// What stands in `lonewatch.toml`, with another feed or partition count where a test wants one.
    pub fn configuration(&self, feed: &str, partitions: u32) -> String {
        let (kafka, mosquitto, prefix) = (self.world.kafka.bootstrap(), self.world.mosquitto.address(), &self.world.prefix);
        format!(
            "[kafka]\nbrokers = \"{kafka}\"\nprefix = \"{prefix}\"\npartitions = {partitions}\n\
             [ingest]\nname = \"a\"\n[[ingest.feeds]]\nname = \"{feed}\"\nurl = \"mqtt://{mosquitto}\"\n\
             [detect]\nname = \"d-0\"\ngroup = \"{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n",
            self.group()
        )
    }

    /// Writes `lonewatch.toml`.
    pub fn configure(&self, text: &str) {
        std::fs::write(self.configuration_file(), text).expect("write lonewatch.toml");
    }

    /// The detectors' group.
    pub fn group(&self) -> String {
        format!("{}-detect", self.world.prefix)
    }

    /// Where the rulebook folder is.
    pub fn rules_folder(&self) -> PathBuf {
        self.folder.join("rules")
    }

    /// Checks the rulebook folder and puts it in force.
    #[track_caller]
    pub fn apply(&self) {
        let rules = self.rules_folder();
        let rules = rules.to_str().expect("the temporary folder's name is text");
        self.must(&["rules", "check", rules]);
        self.must(&["rules", "apply", rules, "--reason", "a test"]);
    }

    fn configuration_file(&self) -> String {
        self.folder.join("lonewatch.toml").to_str().expect("the temporary folder's name is text").to_owned()
    }

    /// Runs a command to its end: status, output, log.
    #[track_caller]
    pub fn command(&self, arguments: &[&str]) -> (ExitStatus, String, String) {
        Lonewatch::run(COMMAND_DEADLINE, arguments, [("LONEWATCH_CONFIG", self.configuration_file().as_str())])
    }

    /// Runs a command that must succeed, and gives its output.
    #[track_caller]
    pub fn must(&self, arguments: &[&str]) -> String {
        let (status, output, log) = self.command(arguments);
        assert!(status.success(), "lonewatch {arguments:?} ended with {status}:\n{output}\n{log}");
        output
    }

    /// Runs a command that must fail, and gives its log.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str]) -> String {
        let (status, output, log) = self.command(arguments);
        assert_eq!(status.code(), Some(1), "lonewatch {arguments:?} should have refused:\n{output}\n{log}");
        log
    }

    /// Starts a command that goes on until it is ended.
    pub fn follow(&self, arguments: &[&str]) -> Lonewatch {
        Lonewatch::start(arguments, [("LONEWATCH_CONFIG", self.configuration_file().as_str())])
    }

    /// Starts `run`, `ingest` or `detect` without waiting for anything.
    pub fn launch(&self, role: &str) -> Role {
        self.launch_as(role, "a")
    }

    /// Starts a role whose ingester bears another name.
    pub fn launch_as(&self, role: &str, ingester: &str) -> Role {
        self.launch_named(role, ingester, "d-0")
    }

    /// Starts a role whose ingester and detector bear other names.
    pub fn launch_named(&self, role: &str, ingester: &str, detector: &str) -> Role {
        let configuration = self.configuration_file();
        let environment = [
            ("LONEWATCH_CONFIG", configuration.as_str()),
            ("LONEWATCH__INGEST__NAME", ingester),
            ("LONEWATCH__DETECT__NAME", detector),
        ];
        Role { process: Lonewatch::start(&[role], environment), admin_port: OnceLock::new() }
    }

    /// Starts `run`, `ingest` or `detect`, and waits until `/readyz` says yes.
    #[track_caller]
    pub fn start(&self, role: &str) -> Role {
        let mut role = self.launch(role);
        role.wait_ready();
        role
    }

    /// Starts `lonewatch run`, and waits until every partition has the rulebook in force.
    #[track_caller]
    pub fn run(&self) -> Role {
        let mut role = self.start("run");
        role.wait_watching();
        role
    }

    /// The Kafka topic that the centre reads.
    pub fn alerts_topic(&self) -> String {
        self.world.kafka_topic(&format!("alerts.{CENTRE}"))
    }
}

/// One of our processes, with its admin port.
pub struct Role {
    process: Lonewatch,
    /// As it has said itself; none before.
    admin_port: OnceLock<u16>,
}

impl Role {
    /// Waits until `/readyz` says yes.
    #[track_caller]
    pub fn wait_ready(&mut self) {
        wait_for(READY_DEADLINE, "/readyz to say yes", || match self.get("/readyz") {
            (200, _) => Ok(()),
            (status, text) => {
                assert!(self.process.ended().is_none(), "it has ended; {}", self.process.tail());
                Err(format!("{status} {text}; {}", self.process.tail()))
            }
        });
    }

    /// Waits until the machines have counted listening on both lanes twice over: then the rulebook is in force everywhere.
    #[track_caller]
    pub fn wait_watching(&mut self) {
        self.wait_watching_while(|| ());
    }

    /// As [`Role::wait_watching`], and does this at each look: a device's silence counts from the first listening on.
    #[track_caller]
    pub fn wait_watching_while(&mut self, mut meanwhile: impl FnMut()) {
        let wanted = f64::from(2 * 2 * PARTITIONS);
        wait_for(READY_DEADLINE, "observations to be applied", || {
            meanwhile();
            let applied = self.metric("lonewatch_records_total", &["outcome=\"observation\""]);
            if applied >= wanted { Ok(()) } else { Err(format!("{applied} of {wanted}; {}", self.process.tail())) }
        });
    }

    /// `GET` of a path: status and text; status 0 while nobody answers.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path).unwrap_or_else(|fault| (0, fault.to_string()))
    }

    fn try_get(&self, path: &str) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin_port()?))?;
        stream.set_read_timeout(Some(COMMAND_DEADLINE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((status, body.to_owned()))
    }

    /// Where it listens: the system gave it a free port.
    fn admin_port(&self) -> std::io::Result<u16> {
        if let Some(port) = self.admin_port.get() {
            return Ok(*port);
        }
        let log = self.process.log();
        // A line that is not whole yet may show a part of the number.
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let said = whole.lines().find(|line| line.contains("metrics and readiness are served"));
        let address = said.and_then(|line| line.rsplit_once("127.0.0.1:"));
        let digits = address.and_then(|(_, rest)| rest.split(|character: char| !character.is_ascii_digit()).next());
        let port = digits.and_then(|digits| digits.parse().ok());
        let port = port.ok_or_else(|| std::io::Error::other("it has not said where it listens"))?;
        Ok(*self.admin_port.get_or_init(|| port))
    }

    /// The sum of a metric over all its lines that bear these labels; 0 where there is none. Waits for an answer.
    #[track_caller]
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = wait_for(READY_DEADLINE, "/metrics", || match self.get("/metrics") {
            (200, text) => Ok(text),
            (status, text) => Err(format!("{status} {text}; {}", self.process.tail())),
        });
        let lines = text.lines().filter(|line| {
            let rest = line.strip_prefix(name).unwrap_or("#");
            rest.starts_with([' ', '{']) && labels.iter().all(|label| rest.contains(label))
        });
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).fold(0.0, |sum, value| sum + value)
    }

    /// SIGTERM, and the status of the end.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.process.stop(STOP_DEADLINE)
    }
}

impl std::ops::Deref for Role {
    type Target = Lonewatch;

    fn deref(&self) -> &Lonewatch {
        &self.process
    }
}

impl std::ops::DerefMut for Role {
    fn deref_mut(&mut self) -> &mut Lonewatch {
        &mut self.process
    }
}
