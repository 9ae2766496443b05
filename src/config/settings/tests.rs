//! Configuration: good ones, every kind of mistake, and all of them at once.

use super::*;

fn load(toml: &str, env: &[(&str, &str)]) -> Result<Settings, Vec<Mistake>> {
    Settings::load(toml, env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn mistakes(toml: &str, env: &[(&str, &str)]) -> Vec<String> {
    load(toml, env).unwrap_err().iter().map(ToString::to_string).collect()
}

/// The one mistake must name the key and hold the words.
#[track_caller]
fn check(toml: &str, key: &str, words: &str) {
    let found = mistakes(toml, &[]);
    assert!(found.len() == 1 && found[0].starts_with(key) && found[0].contains(words), "{found:#?}");
}

const FEED: &str = "[ingest]\nname = \"a\"\n[[ingest.feeds]]\nname = \"main\"\n";

#[test]
fn an_empty_file_has_defaults_and_no_roles() {
    let settings = load("", &[("HOME", "/root"), ("LONEWATCH_OTHER", "x")]).unwrap();
    assert_eq!(settings.kafka.brokers, "localhost:9092");
    assert_eq!((settings.kafka.prefix.as_str(), settings.kafka.partitions.get()), ("lonewatch", 12));
    assert_eq!(settings.admin.listen.port(), 9464);
    assert_eq!((settings.log.format, settings.log.level.as_str()), (LogFormat::Text, "info"));
    assert!(settings.ingest().unwrap_err().to_string().contains("[[ingest.feeds]]"));
    assert!(settings.detect().unwrap_err().to_string().contains("LONEWATCH__DETECT__NAME"));
}

#[test]
fn a_feed_needs_only_name_and_url() {
    let settings = load(&format!("{FEED}url = \"mqtt://broker\""), &[]).unwrap();
    let ingest = settings.ingest().unwrap();
    assert_eq!(ingest.name.as_str(), "a");
    let feed = &ingest.feeds[0];
    assert_eq!((feed.name.as_str(), feed.host.as_str(), feed.port, feed.identity), ("main", "broker", 1883, Identity::Topic));
    let sources: Vec<_> = feed.sources.iter().map(|source| (source.lane, source.filter.as_str(), source.decoder)).collect();
    let expected = [
        (Lane::Duress, "lw/v1/+/duress", Decoder::Native),
        (Lane::Reports, "lw/v1/+/report", Decoder::Native),
        (Lane::Reports, "lw/v1/+/status", Decoder::Status),
        (Lane::Reports, "owntracks/+/+", Decoder::Owntracks),
        (Lane::Reports, "owntracks/+/+/event", Decoder::Owntracks),
    ];
    assert_eq!(sources, expected);
}

#[test]
fn every_key_is_a_variable_too_and_the_variable_wins() {
    let env = [
        ("LONEWATCH__INGEST__FEEDS__1__NAME", "second"),
        ("LONEWATCH__INGEST__FEEDS__1__URL", "mqtt://[::1]:1884/"),
        ("LONEWATCH__INGEST__FEEDS__0__URL", "mqtt://first:1"),
        ("LONEWATCH__KAFKA__PARTITIONS", "48"),
        ("LONEWATCH__KAFKA__OPTIONS__SECURITY_PROTOCOL", "sasl_plaintext"),
        ("LONEWATCH__DETECT__NAME", "d-7"),
    ];
    let settings = load(&format!("{FEED}url = \"mqtt://broker\""), &env).unwrap();
    let feeds = &settings.ingest().unwrap().feeds;
    assert_eq!((feeds[0].host.as_str(), feeds[0].port), ("first", 1));
    assert_eq!((feeds[1].name.as_str(), feeds[1].host.as_str(), feeds[1].port), ("second", "::1", 1884));
    assert_eq!(settings.kafka.partitions.get(), 48);
    assert_eq!(settings.kafka.options["security.protocol"], "sasl_plaintext");
    let detect = settings.detect().unwrap();
    assert_eq!((detect.name.as_str(), detect.group.as_str()), ("d-7", "lonewatch-detect"));
    let other =
        load(&format!("[kafka]\nprefix = \"other\"\n{FEED}url = \"mqtt://broker\"\n[detect]\nname = \"d\""), &[]).unwrap();
    assert_eq!(other.detect().unwrap().group, "other-detect", "two installations on one cluster do not share a group");
}

#[test]
fn all_mistakes_come_at_once_each_with_its_key() {
    let toml = "
        surprise = 1
        [kafka]
        brokers = 9092
        partitons = 3
        partitions = 0
        [ingest]
        name = 'A'
        [[ingest.feeds]]
        name = 'main'
        url = 'http://broker'
        [[ingest.feeds]]
        url = 'mqtt://broker:x'
        identity = 'nobody'
        [detect]
        [log]
        format = 'xml'
        level = 'warning'
    ";
    let env = [("LONEWATCH__KAFKA__PREFIX", "Ü"), ("LONEWATCH__ADMIN__LISTEN", "9464"), ("LONEWATCH__INGEST__NAMES", "b")];
    let found = mistakes(toml, &env);
    let keys = [
        "surprise:",
        "kafka.brokers:",
        "kafka.partitons: is no key of the configuration. Mend: perhaps kafka.partitions is meant",
        "kafka.partitions:",
        "kafka.prefix (from LONEWATCH__KAFKA__PREFIX):",
        "admin.listen (from LONEWATCH__ADMIN__LISTEN):",
        "LONEWATCH__INGEST__NAMES: is no key of the configuration. Mend: perhaps ingest.name is meant",
        "ingest.name:",
        "ingest.feeds[0].url: does not begin with mqtt://",
        "ingest.feeds[1].name: is missing. Mend: write name = \"main\"",
        "ingest.feeds[1].url: has no possible port",
        "ingest.feeds[1].identity: is none of the possible words. Mend: write one of: topic, payload",
        "detect.name: is missing",
        "log.format:",
        "log.level: \"warning\" is no level",
    ];
    for key in keys {
        assert_eq!(found.iter().filter(|mistake| mistake.starts_with(key)).count(), 1, "{key} in {found:#?}");
    }
    assert_eq!(found.len(), keys.len(), "{found:#?}");
}

#[test]
fn tls_is_refused_in_plain_words_and_passwords_are_not_repeated() {
    check(&format!("{FEED}url = \"mqtts://broker\""), "ingest.feeds[0].url", "TLS to the MQTT broker is not there yet");
    let found = mistakes(&format!("{FEED}url = \"mqtt://jane:s3cret@broker\""), &[]);
    assert!(found[0].contains("password_file") && !found[0].contains("s3cret"), "{found:?}");
    check(&format!("{FEED}url = \"mqtt://b\"\npassword_file = \"/x\""), "ingest.feeds[0].password_file", "set username");
}

#[test]
fn a_syntax_error_names_its_line_and_shows_none_of_it() {
    let found = mistakes("[kafka]\n[kafka.options]\n\"sasl.password\" = s3cret words\n", &[]);
    assert!(found[0].contains("is no TOML in line 3") && !found.concat().contains("s3cret"), "{found:?}");
}

#[test]
fn a_variable_that_lacks_an_underscore_is_a_mistake() {
    let found = mistakes("", &[("LONEWATCH_KAFKA__BROKERS", "kafka:9092"), ("LONEWATCH_CONFIG", "x")]);
    let told = found.iter().filter(|mistake| mistake.contains("perhaps LONEWATCH__KAFKA__BROKERS is meant"));
    assert_eq!(told.count(), 1, "{found:?}");
}

#[test]
fn a_feed_hears_both_lanes_and_presses_are_native() {
    let feed = |sources: &str| format!("{FEED}url = \"mqtt://broker\"\n{sources}");
    let source = |lane: &str, filter: &str, more: &str| {
        format!("[[ingest.feeds.sources]]\nlane = \"{lane}\"\nfilter = \"{filter}\"\n{more}\n")
    };
    let duress = source("duress", "x/+/sos", "");
    let reports = source("reports", "owntracks/+/+", "decoder = \"owntracks\"");
    let settings = load(&feed(&format!("{duress}{reports}")), &[]).unwrap();
    assert_eq!(settings.ingest().unwrap().feeds[0].sources.len(), 2);
    for (i, decoder) in Decoder::ALL.iter().enumerate() {
        let reports = source("reports", &format!("{i}/+"), &format!("decoder = \"{}\"", decoder.as_str()));
        let settings = load(&feed(&format!("{duress}{reports}")), &[]).unwrap();
        assert_eq!(settings.ingest().unwrap().feeds[0].sources[1].decoder, *decoder);
    }
    let unknown = source("reports", "x/+", "decoder = \"morse\"");
    check(&feed(&format!("{duress}{unknown}")), "ingest.feeds[0].sources[1].decoder", "traccar");
    check(&feed(&reports), "ingest.feeds[0].sources", "lw/v1/+/duress");
    check(&feed(&duress), "ingest.feeds[0].sources", "lw/v1/+/report");
    check(&feed(&format!("{duress}{}", source("reports", "a/#", ""))), "ingest.feeds[0].sources[1].filter", "has '#'");
    check(&feed(&format!("{duress}{reports}{reports}")), "ingest.feeds[0].sources[2].filter", "twice");
    // With the name of an ingester in its place each '+' takes 8 bytes.
    let long = source("duress", &format!("{}x", "+/".repeat(29)), "");
    check(&feed(&format!("{long}{reports}")), "ingest.feeds[0].sources[0].filter", "longer than 256 bytes");
    assert!(load(&feed(&format!("{}{reports}", source("duress", &format!("{}x", "+/".repeat(28)), ""))), &[]).is_ok());
    let odd = source("duress", "x/+/sos", "decoder = \"owntracks\"");
    check(&feed(&format!("{odd}{reports}")), "ingest.feeds[0].sources[0].decoder", "is native");
    let twice = format!("{FEED}url = \"mqtt://b\"\n[[ingest.feeds]]\nname = \"main\"\nurl = \"mqtt://c\"");
    check(&twice, "ingest.feeds[1].name", "twice");
}

#[test]
fn what_lonewatch_must_own_cannot_be_set() {
    let toml =
        "[kafka.options]\n\"acks\" = 1\n\"group.id\" = \"x\"\n\"sasl.password\" = \"s3cret\"\n\"fetch.message.max.bytes\" = 5";
    let found = mistakes(toml, &[]);
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found.iter().any(|mistake| mistake.contains("set detect.group")), "{found:#?}");
    assert!(found.iter().all(|mistake| !mistake.contains("s3cret")), "{found:#?}");
    let settings = load("[kafka.options]\n\"sasl.username\" = \"hidden\"", &[]).unwrap();
    assert!(!format!("{settings:?}").contains("hidden"));
}

#[test]
fn variables_that_do_not_fit_say_so() {
    let found =
        mistakes("ingest = 3", &[("LONEWATCH__INGEST__FEEDS__2__URL", "mqtt://b"), ("LONEWATCH__KAFKA__PARTITIONS", "many")]);
    assert!(found.iter().any(|mistake| mistake.starts_with("LONEWATCH__KAFKA__PARTITIONS:")), "{found:#?}");
    assert!(found.iter().any(|mistake| mistake.starts_with("ingest:")), "{found:#?}");
    let gap = mistakes("", &[("LONEWATCH__INGEST__NAME", "a"), ("LONEWATCH__INGEST__FEEDS__2__URL", "mqtt://b")]);
    assert!(gap.iter().any(|mistake| mistake.contains("the next is number 0")), "{gap:#?}");
}

#[test]
fn a_file_that_is_no_toml_says_where() {
    let found = mistakes("[kafka", &[]);
    assert!(found[0].contains("is no TOML") && found[0].contains("line 1"), "{found:?}");
}

#[test]
fn a_prefix_that_cannot_be_one_is_one_mistake() {
    check("[kafka]\nprefix = \"Two Words\"\n[detect]\nname = \"d-0\"", "kafka.prefix", "cannot begin topic names");
    check("[detect]\nname = \"d-0\"\ngroup = \"two words\"", "detect.group", "is no name");
}
