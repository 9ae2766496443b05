//! Where cores are short a press goes first: the threads of the reports lane, librdkafka's for it among them, give way to all others.

use std::path::Path;

use crate::rig::{Rules, Site, World};

/// Name and nice value of each thread of a process.
fn threads(pid: u32) -> Vec<(String, i32)> {
    let thread = |folder: &Path| {
        let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
        // The name stands in parentheses and may hold anything; the nice value is the 17th field after it.
        let (head, fields) = stat.rsplit_once(") ")?;
        let nice = fields.split(' ').nth(16)?.parse().ok()?;
        Some((head.split_once('(')?.1.to_owned(), nice))
    };
    let folders = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs").flatten();
    folders.filter_map(|folder| thread(&folder.path())).collect()
}

#[test]
fn threads_for_reports_give_way_and_no_others() {
    let site = Site::new(World::new("give-way"), &Rules::of(&["dev-1"]));
    let mut role = site.start("ingest");
    let threads = threads(role.pid());
    let nice_of =
        |name: &str| -> Vec<i32> { threads.iter().filter(|(is, _)| is.starts_with(name)).map(|(_, nice)| *nice).collect() };
    let [usual] = nice_of("main-duress")[..] else { panic!("one duress lane: {threads:?}") };
    let [nicer] = nice_of("main-reports")[..] else { panic!("one reports lane: {threads:?}") };
    assert!(nicer > usual, "{threads:?}");
    for name in ["kafka-writer", "rdk:broker"] {
        let nice = nice_of(name);
        assert!(nice.contains(&usual) && nice.contains(&nicer), "{name}: one producer for each lane: {threads:?}");
    }
    assert!(nice_of("main-probes").iter().chain(&nice_of("main-receipts")).all(|nice| *nice == usual), "{threads:?}");
    assert_eq!(role.stop().code(), Some(0));
}
