//! The rulebook in force, held against the configuration: what one names and the other does not know.

use super::finding::{Finding, Part};
use crate::config::IngestSettings;
use crate::rulebook::{EntryFault, Rulebook};

const APPLY: &str = "run `lonewatch rules apply DIR`";

/// What is to be said of a rulebook. `ingest`: the feeds of this configuration, where it has any.
pub fn rulebook_findings(rulebook: &Rulebook, faults: &[EntryFault], ingest: Option<&IngestSettings>) -> Vec<Finding> {
    if rulebook.centres().next().is_none() {
        let says = "no centre is in force: nobody would hear of a press";
        let mend = "`lonewatch rules init DIR` writes a folder to begin with, `lonewatch rules apply DIR` puts it in force";
        return vec![Finding::wrong(Part::Rulebook, "rulebook", says, mend)];
    }
    let count = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    let says = format!(
        "version {} in force: {}, {}, {}, {}, {}",
        rulebook.version(),
        count(rulebook.tenants().count(), "tenant"),
        count(rulebook.devices().count(), "device"),
        count(rulebook.fences().len(), "fence"),
        count(rulebook.feeds().count(), "feed"),
        count(rulebook.centres().count(), "centre"),
    );
    let mut findings = vec![Finding::ok(Part::Rulebook, "rulebook", says)];
    findings.extend(faults.iter().map(|fault| {
        let says = format!("cannot be used: {}", fault.what);
        Finding::wrong(Part::Rulebook, format!("entry {}", fault.key), says, format!("mend it in the folder and {APPLY}"))
    }));
    findings.extend(feed_findings(rulebook, ingest));
    for tenant in rulebook.tenants().filter(|tenant| tenant.feeds.is_empty()) {
        let devices = rulebook.devices().filter(|device| device.tenant == tenant.name).count();
        let says = format!("no feed carries it: the silence of its {} is not watched", count(devices, "device"));
        let mend = format!("name it at the tenants of a feed in installation.toml and {APPLY}");
        findings.push(Finding::wrong(Part::Rulebook, format!("tenant {}", tenant.name), says, mend));
    }
    findings
}

fn feed_findings(rulebook: &Rulebook, ingest: Option<&IngestSettings>) -> Vec<Finding> {
    let Some(ingest) = ingest else { return Vec::new() };
    let mut findings = Vec::new();
    for feed in &ingest.feeds {
        let subject = format!("feed {}", feed.name);
        let Some(entry) = rulebook.feed(&feed.name) else {
            let says = "the configuration watches it and the rulebook has no entry for it: ingest will not start";
            let mend = format!("add [feeds.{}] with tenants and fallback_centre to installation.toml and {APPLY}", feed.name);
            findings.push(Finding::wrong(Part::Rulebook, subject, says, mend));
            continue;
        };
        let tenants: Vec<String> = entry.tenants.iter().map(ToString::to_string).collect();
        let tenants = if tenants.is_empty() { "no tenant".to_owned() } else { tenants.join(", ") };
        let says = format!("carries {tenants}; falls back on centre {}", entry.fallback_centre);
        findings.push(Finding::ok(Part::Rulebook, subject, says));
    }
    for feed in rulebook.feeds().filter(|feed| ingest.feeds.iter().all(|own| own.name != feed.name)) {
        let says = "this configuration does not watch it: its tenants are blind unless another ingester does";
        let mend =
            format!("add [[ingest.feeds]] with name = \"{}\" to the ingester that should, or take the entry out", feed.name);
        findings.push(Finding::note(Part::Rulebook, format!("feed {}", feed.name), says, mend));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;
    use crate::config::Settings;
    use crate::rulebook::{Entries, check, plan};

    const INSTALLATION: &str = "[centres.c]\n[feeds.main]\ntenants = [\"t\"]\nfallback_centre = \"c\"\n";

    /// A rulebook, without the entries of these keys: `lonewatch rules` would not write it so, somebody else might.
    fn rulebook(installation: &str, tenants: &[&str], without: &str) -> std::sync::Arc<Rulebook> {
        let mut files = vec![("installation.toml".to_owned(), installation.to_owned())];
        files.extend(tenants.iter().map(|tenant| {
            let text = format!("centre = \"c\"\nzone = \"UTC\"\n[devices.of-{tenant}]\n");
            (format!("tenants/{tenant}.toml"), text)
        }));
        let mut entries = Entries::new();
        let writes = plan(&entries, &check(&files).unwrap(), "a", "r", 1);
        let kept = writes.into_iter().filter(|(key, _)| key != without).enumerate();
        let built =
            kept.filter_map(|(offset, (key, value))| entries.read(i64::try_from(offset).unwrap(), &key, value.as_deref()));
        built.last().unwrap()
    }

    fn ingest(feeds: &[&str]) -> Settings {
        let feeds: Vec<String> =
            feeds.iter().map(|feed| format!("[[ingest.feeds]]\nname = \"{feed}\"\nurl = \"mqtt://m:1883\"\n")).collect();
        Settings::load(&format!("[kafka]\nbrokers = \"k:9092\"\n[ingest]\nname = \"a\"\n{}", feeds.concat()), []).unwrap()
    }

    fn wrong(findings: &[Finding]) -> Vec<&str> {
        findings.iter().filter(|finding| finding.verdict == Verdict::Wrong).map(|finding| finding.subject.as_str()).collect()
    }

    #[test]
    fn a_rulebook_that_fits_is_only_counted() {
        let settings = ingest(&["main"]);
        let findings = rulebook_findings(&rulebook(INSTALLATION, &["t"], ""), &[], settings.ingest().ok());
        assert!(findings.iter().all(|finding| finding.verdict == Verdict::Ok), "{findings:?}");
        assert!(findings[0].says.contains("1 tenant, 1 device, 0 fences, 1 feed, 1 centre"), "{}", findings[0]);
    }

    #[test]
    fn feeds_that_only_one_side_knows_are_told_apart() {
        let settings = ingest(&["harbour"]);
        let findings = rulebook_findings(&rulebook(INSTALLATION, &["t"], ""), &[], settings.ingest().ok());
        assert_eq!(wrong(&findings), ["feed harbour"]);
        assert!(findings.iter().any(|finding| finding.verdict == Verdict::Note && finding.subject == "feed main"));
        let detect_alone = rulebook_findings(&rulebook(INSTALLATION, &["t"], ""), &[], None);
        assert!(
            detect_alone.iter().all(|finding| finding.verdict == Verdict::Ok),
            "no feeds are configured here: {detect_alone:?}"
        );
    }

    #[test]
    fn a_tenant_that_no_feed_carries_is_wrong() {
        let settings = ingest(&["main"]);
        let two_feeds = format!("{INSTALLATION}[feeds.other]\ntenants = [\"lonely\"]\nfallback_centre = \"c\"\n");
        let findings = rulebook_findings(&rulebook(&two_feeds, &["t", "lonely"], "feed/other"), &[], settings.ingest().ok());
        assert_eq!(wrong(&findings), ["tenant lonely"]);
    }

    #[test]
    fn entries_that_cannot_be_used_are_named() {
        let fault = EntryFault { offset: 7, key: "device/x".to_owned(), what: "no such tenant".to_owned() };
        let findings = rulebook_findings(&rulebook(INSTALLATION, &["t"], ""), &[fault], None);
        assert_eq!(wrong(&findings), ["entry device/x"]);
    }

    #[test]
    fn without_a_centre_nobody_would_hear() {
        assert_eq!(wrong(&rulebook_findings(&Rulebook::empty(), &[], None)), ["rulebook"]);
    }
}
