//! `lonewatch rules`: the rulebook as a folder of files, checked, compared and applied.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::run::answering;
use super::topics;
use super::{ConfigOpts, Failure, terminal};
use crate::clock;
use crate::kafka::{Cluster, Fault, FaultKind, StartAt, TailItem, TopicNames, TopicTail, rulebook_apply};
use crate::rulebook::{self, Entries, Rulebook, SourceFolder, StarterAnswers};

/// How long Kafka may take.
const WITHIN: Duration = Duration::from_secs(30);

/// Options of `rules`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  lonewatch rules init rules && lonewatch rules check rules && lonewatch rules apply rules --reason 'first devices'"
)]
pub(super) struct Opts {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Writes a commented folder to begin with.
    Init {
        /// The folder; it must not exist, or be empty.
        dir: PathBuf,
    },
    /// Checks a folder and says every mistake at once. Asks no Kafka.
    Check {
        /// The folder.
        dir: PathBuf,
    },
    /// Shows what an apply would change.
    Diff {
        /// The folder.
        dir: PathBuf,
        #[command(flatten)]
        config: ConfigOpts,
    },
    /// Puts a folder in force, whole or not at all, and makes its centres' topics.
    Apply(ApplyOpts),
}

#[derive(Debug, clap::Args)]
struct ApplyOpts {
    /// The folder.
    dir: PathBuf,
    #[command(flatten)]
    config: ConfigOpts,
    /// Why; kept with every entry that changes.
    #[arg(long, default_value = "")]
    reason: String,
    /// Who; kept with every entry that changes.
    #[arg(long, env = "USER", default_value = "unknown")]
    author: String,
    /// Copies of each partition of new centres' topics; without it the cluster's default.
    #[arg(long)]
    replicas: Option<u16>,
    /// Even where a centre, a tenant, all fences or many devices go.
    #[arg(long)]
    remove: bool,
}

/// Runs the command.
pub(super) fn run(opts: &Opts) -> Result<(), Failure> {
    match &opts.what {
        What::Init { dir } => init(dir),
        What::Check { dir } => {
            let folder = checked(dir)?;
            terminal::say(&format!("{} {}: {} entries", terminal::good("good"), dir.display(), folder.len()));
            Ok(())
        }
        What::Diff { dir, config } => {
            let (settings, folder) = (config.load()?, checked(dir)?);
            let (cluster, _) = answering(&settings)?;
            let entries = entries(&cluster, &TopicNames::new(&settings.kafka.prefix), WITHIN)?;
            show(&entries, &folder);
            if let Some(losses) = losses(&entries, &folder) {
                terminal::say(&format!("{} apply would ask for --remove: this removes {losses}", terminal::noted("?")));
            }
            Ok(())
        }
        What::Apply(opts) => apply(opts),
    }
}

fn init(dir: &Path) -> Result<(), Failure> {
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::new(format!("{} is not empty: name a new folder", dir.display())));
    }
    for (path, text) in rulebook::starter_folder(&StarterAnswers::default()) {
        let path = dir.join(path);
        let parent = path.parent().unwrap_or(dir);
        fs::create_dir_all(parent).map_err(|fault| Failure::new(format!("cannot make {}: {fault}", parent.display())))?;
        fs::write(&path, text).map_err(|fault| Failure::new(format!("cannot write {}: {fault}", path.display())))?;
        terminal::say(&format!("{} {}", terminal::good("wrote"), path.display()));
    }
    terminal::say(&format!("next: lonewatch rules check {}", dir.display()));
    Ok(())
}

/// Reads and checks a folder; all mistakes come at once.
fn checked(dir: &Path) -> Result<SourceFolder, Failure> {
    let mut files = Vec::new();
    gather(dir, dir, &mut files)?;
    files.sort();
    rulebook::check(&files)
        .map_err(|mistakes| Failure::all(mistakes.iter().map(|mistake| format!("{}/{mistake}", dir.display()))))
}

/// Every file of the folder that could be meant, as relative path and text. Hidden files (an editor's, git's) are passed over.
fn gather(root: &Path, dir: &Path, files: &mut Vec<(String, String)>) -> Result<(), Failure> {
    let unreadable = |path: &Path, fault: &std::io::Error| Failure::new(format!("cannot read {}: {fault}", path.display()));
    for entry in fs::read_dir(dir).map_err(|fault| unreadable(dir, &fault))? {
        let path = entry.map_err(|fault| unreadable(dir, &fault))?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            gather(root, &path, files)?;
        } else {
            let text = fs::read_to_string(&path).map_err(|fault| unreadable(&path, &fault))?;
            let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            files.push((relative, text));
        }
    }
    Ok(())
}

/// The rulebook topic as it stands.
fn entries(cluster: &Cluster, names: &TopicNames, within: Duration) -> Result<Entries, Fault> {
    Ok(in_force(cluster, names, within)?.0)
}

/// The rulebook topic as it stands, and the version in force.
pub(super) fn in_force(cluster: &Cluster, names: &TopicNames, within: Duration) -> Result<(Entries, Arc<Rulebook>), Fault> {
    let mut tail = TopicTail::open(cluster, &names.rulebook(), StartAt::Beginning, within)?;
    let (mut entries, mut rulebook) = (Entries::new(), Arc::new(Rulebook::empty()));
    let deadline = clock::wall_millis() + i64::try_from(within.as_millis()).unwrap_or(i64::MAX);
    while !tail.has_caught_up() {
        match tail.poll(Duration::from_millis(500)) {
            TailItem::Record { offset, key, payload, .. } => {
                if let Some(built) = entries.read(offset, &String::from_utf8_lossy(&key), payload.as_deref()) {
                    rulebook = built;
                }
            }
            // From the beginning again; entries that come twice are the same.
            TailItem::End { .. } | TailItem::Anew => {}
            // A fault that lasts would only be said later.
            TailItem::Fault(fault) if fault.kind != FaultKind::Passing => return Err(fault),
            TailItem::Idle | TailItem::Fault(_) if clock::wall_millis() < deadline => {}
            TailItem::Idle => {
                let text = format!("{} was not read to its end in time", names.rulebook());
                return Err(Fault { kind: FaultKind::Passing, text });
            }
            TailItem::Fault(fault) => return Err(fault),
        }
    }
    Ok((entries, rulebook))
}

/// Prints the difference.
fn show(entries: &Entries, folder: &SourceFolder) {
    let changes = rulebook::diff(entries, folder);
    for change in &changes {
        terminal::say(&format!("{change}"));
    }
    if changes.is_empty() {
        terminal::say(&format!("nothing to change: version {} is in force", entries.version()));
    }
}

/// What would go that is seldom meant, in one line.
fn losses(entries: &Entries, folder: &SourceFolder) -> Option<String> {
    let losses = rulebook::losses(entries, folder);
    (!losses.is_empty()).then(|| losses.join(", "))
}

fn apply(opts: &ApplyOpts) -> Result<(), Failure> {
    let ApplyOpts { dir, config, reason, author, replicas, remove } = opts;
    let (settings, folder) = (config.load()?, checked(dir)?);
    let (cluster, _) = answering(&settings)?;
    let names = TopicNames::new(&settings.kafka.prefix);
    let entries = entries(&cluster, &names, WITHIN)?;
    show(&entries, &folder);
    if let Some(losses) = losses(&entries, &folder).filter(|_| !remove) {
        let mend = format!("is {} the whole of the folder that is meant? If it is, add --remove", dir.display());
        return Err(Failure::new(format!("this removes {losses}; nothing was applied. Mend: {mend}")));
    }
    // The topics come first: a centre that is in force must be writable.
    let centres: Vec<_> = folder.rulebook().centres().map(|centre| centre.name.clone()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    topics::create(&runtime, &settings, &cluster, &centres, *replicas)?;
    if let Some(version) = write(&cluster, &names, &entries, &folder, author, reason)? {
        terminal::say(&format!("{} version {version}", terminal::good("in force:")));
    }
    Ok(())
}

/// Writes what changes in one transaction; the new version, or none where nothing changes. Only the difference to `shown` is written: where
/// the topic has moved on since that was read, nothing is.
pub(super) fn write(
    cluster: &Cluster,
    names: &TopicNames,
    shown: &Entries,
    folder: &SourceFolder,
    author: &str,
    reason: &str,
) -> Result<Option<i64>, Failure> {
    let plan = |entries: &Entries| rulebook::plan(entries, folder, author, reason, clock::wall_millis());
    if plan(shown).is_empty() {
        return Ok(None);
    }
    let plan_anew = || {
        let now = entries(cluster, names, WITHIN)?;
        if rulebook::diff(&now, folder) != rulebook::diff(shown, folder) {
            let version = now.version();
            return Err(Failure::new(format!(
                "the rulebook was changed meanwhile: version {version} is in force. Nothing was applied: look at the difference again, then \
                 apply"
            )));
        }
        Ok(plan(&now))
    };
    rulebook_apply(cluster, names, plan_anew, WITHIN)
}

#[cfg(test)]
mod tests {

    use super::*;

    fn folder(devices: &str) -> SourceFolder {
        let files = [
            ("installation.toml", "[centres.c]\n[feeds.main]\ntenants = [\"t\"]\nfallback_centre = \"c\"\n".to_owned()),
            ("tenants/t.toml", format!("centre = \"c\"\nzone = \"UTC\"\n{devices}")),
        ];
        rulebook::check(&files.map(|(path, text)| (path.to_owned(), text))).unwrap()
    }

    /// Two people applied two folders within seconds, and what came into force was a mixture that nobody had checked.
    #[test]
    fn an_apply_writes_the_difference_that_it_has_shown_or_nothing() {
        let mock = crate::kafka::mock(1);
        let names = TopicNames::new("lonewatch");
        mock.create_topic(&names.rulebook(), 1, 1).unwrap();
        let cluster = Cluster::embedded(&mock.bootstrap_servers());
        let shown_to_both = Entries::new();
        let (one, other) = (folder("[devices.dev-1]\n"), folder("[devices.dev-2]\n"));
        let apply = |shown: &Entries, folder| write(&cluster, &names, shown, folder, "a", "r");
        let version = apply(&shown_to_both, &one).unwrap();
        assert!(version.is_some());
        let refused = apply(&shown_to_both, &other).unwrap_err();
        assert!(refused.lines[0].contains("changed meanwhile"), "{refused:?}");
        let (entries, rulebook) = in_force(&cluster, &names, WITHIN).unwrap();
        assert_eq!((Some(rulebook.version()), rulebook.devices().count()), (version, 1), "whole, as the one folder says");
        assert_eq!(apply(&entries, &one).unwrap(), None);
        assert!(apply(&entries, &other).unwrap() > version);
    }

    /// The simulator's folder, applied where people are watched, took every tenant, device and fence away in one breath.
    #[test]
    fn what_is_seldom_meant_is_asked_for() {
        let entries_of = |folder: &SourceFolder| {
            let mut entries = Entries::new();
            for (offset, (key, value)) in (0..).zip(rulebook::plan(&Entries::new(), folder, "a", "r", 1)) {
                entries.read(offset, &key, value.as_deref());
            }
            entries
        };
        let many = |count: usize| folder(&(0..count).map(|n| format!("[devices.dev-{n}]\n")).collect::<Vec<_>>().concat());
        let (none, fifty) = (Entries::new(), entries_of(&many(50)));
        assert_eq!(losses(&none, &many(50)), None, "the first apply");
        assert_eq!((losses(&fifty, &many(60)), losses(&fifty, &many(45))), (None, None));
        assert_eq!(losses(&fifty, &many(44)).unwrap(), "6 of 50 devices");
        assert_eq!(losses(&entries_of(&many(4)), &many(1)), None, "a few");
        let starter = rulebook::starter_folder(&StarterAnswers::default());
        let without_fences: Vec<_> = starter.iter().filter(|(path, _)| !path.starts_with("fences/")).cloned().collect();
        let before = entries_of(&rulebook::check(&starter).unwrap());
        assert_eq!(losses(&before, &rulebook::check(&without_fences).unwrap()).unwrap(), "the only fence");
        assert_eq!(losses(&before, &folder("")).unwrap(), "centre/north, tenant/acme, the only fence");
    }
}
