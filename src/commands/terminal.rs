//! What people see: colours on a terminal only, and one line for an alert.

use std::io::Write as _;

use anstyle::{AnsiColor, Style};

use crate::alert::{Alert, Kind, Lane, Severity, State};
use crate::runbook::Entry;
use crate::time::clock_text;

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const GREEN: Style = AnsiColor::Green.on_default();
const DIM: Style = Style::new().dimmed();

/// Prints a line. A reader that has gone away is no reason to stop.
pub(super) fn say(line: &str) {
    let _written_or_gone = writeln!(anstream::stdout(), "{line}");
}

/// Prints a line on standard error.
pub(super) fn complain(line: &str) {
    let _written_or_gone = writeln!(anstream::stderr(), "{line}");
}

fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Something is wrong.
pub(super) fn bad(text: &str) -> String {
    styled(RED, text)
}

/// Something is well.
pub(super) fn good(text: &str) -> String {
    styled(GREEN, text)
}

/// Something to note.
pub(super) fn noted(text: &str) -> String {
    styled(YELLOW, text)
}

/// Something in the background.
pub(super) fn dim(text: &str) -> String {
    styled(DIM, text)
}

/// One alert on one line, readable by someone who has never seen the program.
pub(super) fn alert_line(alert: &Alert) -> String {
    let time = dim(&clock_text(alert.changed_at));
    let who = alert.device.as_ref().map_or_else(|| alert.subject.clone(), ToString::to_string);
    let what = format!("{:<13}", heading(alert));
    let what = match (alert.state, alert.severity) {
        (State::Cleared, _) => good(&what),
        (_, Severity::Critical) => bad(&what),
        (_, Severity::Major | Severity::Minor | Severity::Warning) => noted(&what),
    };
    let mut line = format!("{time}  {what} {who:<14} {}", sentence(alert));
    if let Some(late) = alert.late {
        line += &noted(&format!(" [late by {} s]", late.age_millis / 1_000));
    }
    if alert.test {
        line += &noted(" [test device]");
    }
    if let Some(entry) = Entry::of_alert(alert.kind).filter(|_| alert.state != State::Cleared) {
        line = line + " (see " + &entry.to_string() + ")";
    }
    line + &dim(&format!("  #{} rev {}", &alert.id.to_string()[..8], alert.revision))
}

fn heading(alert: &Alert) -> String {
    match (alert.kind, alert.state) {
        (Kind::Duress, _) => "DURESS".to_owned(),
        (_, State::Cleared) => "over".to_owned(),
        (kind, State::Active | State::PreAlert) => kind.as_str().replace('_', " "),
    }
}

fn sentence(alert: &Alert) -> String {
    match alert.kind {
        Kind::Duress => duress_sentence(alert),
        Kind::Blind if alert.state == State::Active => {
            let lanes = alert.lanes.iter().map(|lane| match lane {
                Lane::Duress => "presses",
                Lane::Reports => "reports",
            });
            format!("we do not hear {}: devices there may be in need and we cannot know", lanes.collect::<Vec<_>>().join(" and "))
        }
        Kind::FenceEntered | Kind::FenceExited | Kind::FenceCrossed if alert.state == State::Cleared => {
            let what = alert.kind.as_str().replace('_', " ");
            format!("{} ({what}: {})", alert.reason.text, alert.subject)
        }
        kind if alert.state == State::Cleared => format!("{} ({})", alert.reason.text, kind.as_str().replace('_', " ")),
        _any_other => alert.reason.text.clone(),
    }
}

fn duress_sentence(alert: &Alert) -> String {
    if alert.revision == 1 {
        return "somebody presses for help".to_owned();
    }
    let place = alert.place.map_or_else(
        || "position unknown".to_owned(),
        |place| format!("at {:.5}, {:.5} (within {:.0} m)", place.coordinates.lat, place.coordinates.lon, place.accuracy_metres),
    );
    let press = alert.episode.map_or_else(String::new, |episode| format!(", press {} of this episode", episode.press));
    let tenant =
        alert.tenant.as_ref().map_or_else(|| "a device that no rulebook names".to_owned(), |tenant| format!("of {tenant}"));
    format!("{tenant}, {place}{press}")
}
