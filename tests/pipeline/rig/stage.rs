//! What a fault happens to: an installation with mirrored ingesters and detectors, a fleet that speaks, a centre that reads.
//!
//! The same scenarios run at two lengths. In CI every limit and outage is seconds long; with `LONEWATCH_REAL_LENGTH=1` they are as
//! long as the fault matrix says.

use std::time::Duration;

use lonewatch::clock::wall_millis;
use lonewatch::limits;
use lonewatch::time::clock_text;

use super::centre::{CURRENT_WITHIN, Centre, SAID_WITHIN};
use super::fleet::{Fleet, FleetPlan};
use super::site::{PARTITIONS, Role, Rules, Site};
use super::verdict::{Verdict, assert_one_alarm, same_again, wait_answered};
use super::wait::{figure, wait_for, wait_until};
use super::world::World;

/// Whether outages are as long as the fault matrix says.
pub fn is_real_length() -> bool {
    std::env::var_os("LONEWATCH_REAL_LENGTH").is_some_and(|value| value != "0")
}

/// The first in CI, the second at real length.
pub fn length<T>(scaled: T, real: T) -> T {
    if is_real_length() { real } else { scaled }
}

/// What the limits of a stage are, and who plays on it.
pub struct Cast {
    /// Names of the ingesters.
    pub ingesters: Vec<&'static str>,
    /// Names of the detectors.
    pub detectors: Vec<&'static str>,
    /// The silence limit, in seconds.
    pub silence_seconds: u32,
    /// The reconnect grace, in seconds.
    pub grace_seconds: u32,
    /// After a will, in seconds; none where wills are not watched.
    pub after_will_seconds: Option<u32>,
    /// The devices.
    pub fleet: FleetPlan,
}

impl Default for Cast {
    fn default() -> Self {
        Self {
            ingesters: vec!["a", "b"],
            detectors: vec!["d-0"],
            silence_seconds: length(6, 20),
            grace_seconds: 1,
            after_will_seconds: None,
            fleet: FleetPlan {
                devices: length(12, 300),
                report_every: length(Duration::from_secs(1), Duration::from_secs(2)),
                press_every: length(Duration::from_millis(300), Duration::from_secs(1)),
                wills: false,
            },
        }
    }
}

/// A stage at work. The fields end in their order: first the roles, then devices and centre, last the brokers.
pub struct Stage {
    /// In the order of their names.
    pub ingesters: Vec<Role>,
    /// In the order of their names.
    pub detectors: Vec<Role>,
    /// The devices.
    pub fleet: Fleet,
    /// Who reads.
    pub centre: Centre,
    /// Where all that stands.
    pub site: Site,
    cast: Cast,
}

const SOON: Duration = Duration::from_mins(1);

impl Stage {
    /// Starts everything and waits until it works.
    #[track_caller]
    pub fn start(world: World, cast: Cast) -> Self {
        let ids = cast.fleet.ids();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let silence = cast.silence_seconds;
        let lost_contact = match cast.after_will_seconds {
            Some(after_will) => format!("{{ silence = \"{silence}s\", after_will = \"{after_will}s\" }}"),
            None => format!("{{ silence = \"{silence}s\" }}"),
        };
        let rules = Rules::of(&ids).lost_contact(&lost_contact).grace(&format!("{}s", cast.grace_seconds));
        let site = Site::new(world, &rules);
        let centre = Centre::start(&site.world.kafka, &site.alerts_topic());
        let fleet = Fleet::start(&site.world.mosquitto, &cast.fleet);
        let mut ingesters: Vec<Role> = cast.ingesters.iter().map(|name| site.launch_named("ingest", name, "d-0")).collect();
        let mut detectors: Vec<Role> = cast.detectors.iter().map(|name| site.launch_named("detect", "a", name)).collect();
        for role in ingesters.iter_mut().chain(&mut detectors) {
            role.wait_ready();
        }
        let began = wall_millis();
        centre.wait_current(PARTITIONS, began);
        centre.wait_seeing(began);
        fleet.start_pressing();
        Self { ingesters, detectors, fleet, centre, site, cast }
    }

    /// The silence limit.
    pub fn silence(&self) -> Duration {
        Duration::from_secs(u64::from(self.cast.silence_seconds))
    }

    /// After how long a device that has dropped its connection is called lost.
    fn lost_after(&self) -> Duration {
        let seconds = self.cast.after_will_seconds.filter(|_| self.cast.fleet.wills).unwrap_or(self.cast.silence_seconds);
        Duration::from_secs(u64::from(seconds))
    }

    fn lost_after_millis(&self) -> i64 {
        i64::try_from(self.lost_after().as_millis()).expect("a short time")
    }

    /// Starts an ingester again after its end.
    #[track_caller]
    pub fn restart_ingester(&mut self, which: usize) {
        self.ingesters[which] = self.site.launch_named("ingest", self.cast.ingesters[which], "d-0");
    }

    /// Starts a detector again after its end.
    #[track_caller]
    pub fn restart_detector(&mut self, which: usize) {
        self.detectors[which] = self.site.launch_named("detect", "a", self.cast.detectors[which]);
    }

    /// Lets the fleet live on for a time: it presses meanwhile.
    #[track_caller]
    pub fn go_on_for(&self, time: Duration) {
        let until = wall_millis() + i64::try_from(time.as_millis()).expect("a short time");
        wait_until(time + SOON, "time to pass", || {
            assert!(self.fleet.is_alive(), "a device has panicked");
            wall_millis() >= until
        });
    }

    /// Waits until every press so far has its receipt; the fleet goes on.
    #[track_caller]
    pub fn wait_receipted(&self, deadline: Duration) {
        let count = self.fleet.presses();
        wait_for(deadline, "the presses so far to be receipted", || {
            let diary = self.fleet.diary();
            let open = diary.presses[..count].iter().find(|press| press.receipted_at.is_none());
            open.map_or(Ok(()), |press| Err(format!("{press:?}")))
        });
    }

    /// Waits until blindness to these words is said, for a fault that began at `since`, and holds it against P5.
    #[track_caller]
    pub fn must_be_blind(&self, since: i64, words: &str) {
        let took = self.centre.wait_blind(since, words);
        say(&format!("blind was said {took:?} after the fault: {:?}", self.centre.dark()));
        assert!(took <= SAID_WITHIN, "I5: {took:?}");
    }

    /// Waits until all is seen and current again, for a fault that was healed at `since`, and holds it against I5 and I9.
    #[track_caller]
    pub fn must_see_again(&self, since: i64) {
        self.must_see_again_within(since, SAID_WITHIN);
    }

    /// As [`Stage::must_see_again`], where something of ours waits before it looks again. A detector that Kafka leaves without its partitions
    /// has the patience on top that it needs to know; its log says so.
    #[track_caller]
    pub fn must_see_again_within(&self, since: i64, within: Duration) {
        let joined_anew = self.joined_anew();
        let current = self.centre.wait_current(PARTITIONS, since);
        let seeing = self.centre.wait_seeing(since);
        say(&format!("seeing again {seeing:?} after healing, no lag after {current:?}"));
        let stranded = self.joined_anew() > joined_anew;
        let within = if stranded { within + Duration::from_millis(limits::REJOIN_MILLIS_MIN) } else { within };
        assert!(seeing <= within, "I5: {seeing:?}, a detector was stranded: {stranded}; {:?}", self.centre.said());
        assert!(current <= within.max(CURRENT_WITHIN), "I9: {current:?}");
    }

    /// How often detectors have found themselves stranded so far.
    fn joined_anew(&self) -> usize {
        self.detectors.iter().map(|detector| detector.log().matches(lonewatch::kafka::JOINS_ANEW).count()).sum()
    }

    /// A device falls truly silent, and comes back once its one alarm is there (I4).
    #[track_caller]
    pub fn must_tell_a_true_silence(&self, device: usize) {
        self.fleet.vanish(device);
        let id = format!("dev-{device}");
        wait_for(self.lost_after() + SOON, "a true silence to be told", || {
            let lost = self.centre.alerts_of("lost_contact");
            if lost.iter().any(|alert| alert.text("device") == id) { Ok(()) } else { Err(format!("{} alarms", lost.len())) }
        });
        self.fleet.come_back(device);
        let silences = self.fleet.diary().silences;
        let silence = silences.iter().find(|silence| silence.device == id).expect("it fell silent");
        assert_one_alarm(silence, &self.centre.seen(), self.lost_after_millis());
        say(&format!("{id} was truly silent: one alarm"));
    }

    /// The end of a scenario: every press has its receipt and both revisions, then I1 to I3 and I6 are judged.
    #[track_caller]
    pub fn judge(mut self) -> Verdict {
        self.fleet.stop_pressing();
        self.fleet.wait_receipted(SOON);
        wait_answered(SOON, || self.fleet.diary(), || self.centre.seen());
        let verdict = Verdict::of(&self.fleet.diary(), &self.centre.seen(), self.lost_after_millis());
        say(&verdict.line());
        for role in self.ingesters.iter_mut().chain(&mut self.detectors) {
            role.thaw();
            role.stop();
        }
        verdict.assert_clean();
        say(&same_again(&self.site));
        verdict
    }
}

/// A line of the log of a run, with its time.
pub fn say(text: &str) {
    figure(&format!("{} {text}", clock_text(wall_millis())));
}
