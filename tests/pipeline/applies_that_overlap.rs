//! Two applies overlap by seconds: the later fences the earlier before it reads what is in force, so that what comes into force is one folder,
//! whole. (It read first and fenced later: what the other committed in between was in force together with half of its own.)

use std::collections::BTreeMap;
use std::time::Duration;

use lonewatch::kafka::{ApplyFault, Cluster, TopicNames, rulebook_apply};

use crate::rig::{Rules, Site, World};

#[test]
fn an_apply_that_another_overtakes_while_it_plans_writes_nothing() {
    let site = Site::new(World::new("overlap"), &Rules::of(&["dev-1"]));
    let names = TopicNames::new(&site.world.prefix);
    let cluster = Cluster::new(&site.world.kafka.bootstrap(), BTreeMap::new());
    let rules = site.rules_folder();
    let tenant = rules.join("tenants/acme.toml");
    let text = std::fs::read_to_string(&tenant).expect("read the rulebook folder");
    let plan = || {
        std::fs::write(&tenant, format!("{text}[devices.\"dev-2\"]\n")).expect("write the rulebook folder");
        site.apply();
        Ok(vec![("device/dev-3".to_owned(), Some(b"of a folder that is overtaken".to_vec()))])
    };
    let overtaken: Result<_, ApplyFault> = rulebook_apply(&cluster, &names, plan, Duration::from_secs(30));
    assert_eq!(overtaken, Err(ApplyFault::Overtaken));
    let difference = site.must(&["rules", "diff", &rules.display().to_string()]);
    assert!(difference.starts_with("nothing to change"), "{difference}");
}
