//! The language of the stories.
//!
//! ```text
//! partition 1 of 4                                    this machine's partition (default: 0 of 1)
//! start truncated                                     the journal's start is gone
//! show outcomes                                       the expected part ends with what became of the records
//! show only dev-1                                     ... and has alerts about that device alone
//! device dev-1 tenant acme ...                        a line of the rulebook (rules.rs), in force from the start
//! 09:00:00 rules + device dev-2 tenant acme           a new version, named by an observation that hears nothing
//! 09:00:00 rules - device dev-2 ; - fence depot       several changes in one version
//! 09:00:00..09:30:00 tick                             a metronome record a second
//! 09:00:00..09:30:00 hear a main [duress|reports]     what ingester a heard of the feed: from the range's start, to each second;
//!                                                     `run N` is its incarnation
//! 09:00:00..09:01:00 fault a main clock taken-over    ingester a says of itself what is wrong, and hears nothing
//! 09:00:00..09:30:00 dev-1 report every 30s           reports; words below
//! 09:00:00 dev-1 press [junk]                         a press on the duress lane
//! 09:00:00 dev-1 will / unreadable
//! 09:00:00 crowd 100 press                            the same from x-1, x-2, ...
//! =>                                                  and then what the centre is told
//! ```
//! Words of a message: `at EAST,NORTH` (metres), `acc METRES`, `time T`, `sent T` (device's clock), `id X` (or `id each`), `boot N`, `seq N` (or
//! `seq each`), `battery N`, `via a,b`, `feed F`, `to CENTRE`, `after T` or `after none` (the newest probe), `unproven` (it was long before; so the
//! lane says), `qos0` (dated by itself, past that probe), `connected T` (when its connection began), `retained`. A line may say
//! `appended T`: the records reach Kafka then, in order of their own times. `leap D`: they bear an append time
//! so far ahead, and keep their place. T is `09:00:00` or `now`, `now-30m`, `now+1s` by the
//! line's own time. A line without `after` leans on the probe of its own whole second.

use lonewatch::position::Position;

/// 2026-09-25T00:00:00Z: the day of every story.
pub(crate) const DAY: i64 = 1_790_294_400_000;

/// A line of a story that happens once, or at each step of a range.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) every: i64,
    pub(crate) appended: Option<String>,
    /// By how much Kafka's clock is ahead then.
    pub(crate) leap: i64,
    pub(crate) words: Vec<String>,
}

/// A story.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) partition: (u32, u32),
    pub(crate) truncated: bool,
    pub(crate) outcomes: bool,
    /// Whose alerts are shown; none for everybody's.
    pub(crate) only: Option<String>,
    pub(crate) rules: Vec<String>,
    pub(crate) lines: Vec<Line>,
}

/// One step: when Kafka appends it, when it happens, and which line says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Step {
    pub(crate) appended: i64,
    pub(crate) happens: i64,
    pub(crate) line: usize,
}

impl Script {
    pub(crate) fn parse(text: &str) -> Self {
        let mut script = Self { partition: (0, 1), ..Self::default() };
        for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["partition", here, "of", count] => script.partition = (number(here), number(count)),
                ["start", "truncated"] => script.truncated = true,
                ["show", "outcomes"] => script.outcomes = true,
                ["show", "only", device] => script.only = Some((*device).to_owned()),
                ["centre" | "feed" | "tenant" | "device" | "fence", ..] => script.rules.push(line.to_owned()),
                [when, rest @ ..] => script.lines.push(timed(when, rest)),
                [] => {}
            }
        }
        script
    }

    /// Every step, in the order of the journal.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (at, line) in self.lines.iter().enumerate() {
            let mut happens = line.from;
            while happens <= line.to {
                let appended = line.appended.as_ref().map_or(happens, |text| time(text, happens));
                steps.push(Step { appended, happens, line: at });
                happens += line.every;
            }
        }
        steps.sort();
        steps
    }
}

fn timed(when: &str, rest: &[&str]) -> Line {
    let (from, to) = when.split_once("..").unwrap_or((when, when));
    let mut words: Vec<String> = rest.iter().map(|word| (*word).to_owned()).collect();
    let mut take = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.remove(at);
        Some(words.remove(at))
    };
    let every = take("every").map_or(1_000, |text| duration(&text));
    let appended = take("appended");
    let leap = take("leap").map_or(0, |text| duration(&text));
    Line { from: time(from, 0), to: time(to, 0), every, appended, leap, words }
}

pub(crate) fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not a number"))
}

/// `30s`, `10m`, `2h`, `3y`, `250ms` in milliseconds.
pub(crate) fn duration(text: &str) -> i64 {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "y" => 365 * 24 * 3_600_000,
        other => panic!("{other:?} of {text:?} is no unit"),
    };
    number::<i64>(digits) * unit
}

/// A time of the story's day; `now` is `happens`.
pub(crate) fn time(text: &str, happens: i64) -> i64 {
    if let Some(rest) = text.strip_prefix("now") {
        return match rest.split_at(rest.len().min(1)) {
            ("", _) => happens,
            ("-", by) => happens - duration(by),
            (_, by) => happens + duration(by),
        };
    }
    let (clock, millis) = text.split_once('.').unwrap_or((text, "0"));
    let parts: Vec<i64> = clock.split(':').map(number).collect();
    assert_eq!(parts.len(), 3, "{text:?} is not HH:MM:SS");
    DAY + ((parts[0] * 60 + parts[1]) * 60 + parts[2]) * 1_000 + number::<i64>(millis)
}

/// A place by metres east and north of the story's middle in London.
pub(crate) fn place(text: &str) -> Position {
    let (east, north) = text.split_once(',').unwrap_or_else(|| panic!("{text:?} is not EAST,NORTH"));
    metres(number(east), number(north))
}

/// See [`place`].
pub(crate) fn metres(east: f64, north: f64) -> Position {
    const METRES_A_DEGREE: f64 = 111_195.0;
    const COSINE: f64 = 0.622_515;
    Position::from_degrees(51.5 + north / METRES_A_DEGREE, -0.12 + east / (METRES_A_DEGREE * COSINE)).expect("within London")
}
