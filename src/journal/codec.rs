//! Records to bytes and back (`proto/journal.proto`). What a record must have is checked here once; the machine sees whole records only.

use prost::Message as _;

use super::proto;
use super::record::{Counted, Heard, IngestFault, MessageContent, MessageRecord, Observation, Press, Record};
use crate::alert::Lane;
use crate::device::{Decoder, Fix, Motion, RejectReason, Report, Signals, VisitStep};
use crate::ids::{CentreName, DeviceId, EventId, FeedName, Incarnation, IngesterName, NameFault, ProbeRef};
use crate::position::Position;
use crate::time::{DeviceMillis, IngestMillis, ProbeMillis};

/// Bytes in the journal that are no record of ours. The partition stops: guessing would break replay.
#[derive(Debug, thiserror::Error)]
pub enum RecordFault {
    /// Not Protobuf, or of another shape.
    #[error("not a journal record: {0}")]
    Bytes(#[from] prost::DecodeError),
    /// A field that must be there is missing or has a value that it cannot have.
    #[error("journal record: {0} is missing or illegal")]
    Field(&'static str),
    /// A name in it is none.
    #[error("journal record: {0}")]
    Name(#[from] NameFault),
}

/// The bytes of a record.
pub fn encode(record: &Record) -> Vec<u8> {
    let body = match record {
        Record::Message(message) => proto::record::Body::Message(message_out(message)),
        Record::Observation(observation) => proto::record::Body::Observation(proto::Observation {
            feed: observation.feed.to_string(),
            ingester: observation.ingester.to_string(),
            incarnation: observation.incarnation.0,
            rulebook_version: observation.rulebook_version,
            heard: observation
                .heard
                .iter()
                .map(|heard| proto::Heard {
                    lane: lane_out(heard.lane).into(),
                    from_probe_millis: heard.from.get(),
                    to_probe_millis: heard.to.get(),
                })
                .collect(),
            faults: observation.faults.iter().map(|fault| fault_out(*fault).into()).collect(),
        }),
        Record::Metronome { detector } => proto::record::Body::Metronome(proto::Metronome { detector: detector.clone() }),
        Record::Action => proto::record::Body::Action(proto::Action::default()),
    };
    proto::Record { body: Some(body) }.encode_to_vec()
}

/// Reads a record.
///
/// # Errors
/// A [`RecordFault`] where the bytes are none of ours.
pub fn decode(bytes: &[u8]) -> Result<Record, RecordFault> {
    match proto::Record::decode(bytes)?.body.ok_or(RecordFault::Field("body"))? {
        proto::record::Body::Message(message) => Ok(Record::Message(Box::new(message_in(message)?))),
        proto::record::Body::Observation(observation) => Ok(Record::Observation(observation_in(&observation)?)),
        proto::record::Body::Metronome(metronome) => Ok(Record::Metronome { detector: metronome.detector }),
        proto::record::Body::Action(_) => Ok(Record::Action),
    }
}

fn message_out(message: &MessageRecord) -> proto::Message {
    proto::Message {
        device: message.device.to_string(),
        feed: message.feed.to_string(),
        lane: lane_out(message.lane).into(),
        ingester: message.ingester.to_string(),
        event: message.event.0.to_vec(),
        received_at_ingest_millis: message.received_at.get(),
        connected_at_ingest_millis: message.connected_at.get(),
        after_probe: message.after_probe.as_ref().map(|probe| proto::Probe {
            ingester: probe.ingester.to_string(),
            incarnation: probe.incarnation.0,
            number: probe.number,
            sent_at_probe_millis: probe.sent_at.get(),
        }),
        retained: message.retained,
        decoder: message.decoder.number(),
        content: Some(match &message.content {
            MessageContent::Report(report) => proto::message::Content::Report(report_out(report)),
            MessageContent::Will => proto::message::Content::Will(proto::Will {}),
            MessageContent::Other => proto::message::Content::Other(proto::Other {}),
            MessageContent::Unreadable(reason) => {
                proto::message::Content::Unreadable(proto::Unreadable { reason: reason.as_str().to_owned() })
            }
        }),
        press: message.press.as_ref().map(press_out),
        past_probe_millis: message.past_probe_millis,
    }
}

fn message_in(message: proto::Message) -> Result<MessageRecord, RecordFault> {
    let lane = lane_in(message.lane())?;
    let decoder = Decoder::from_number(message.decoder).ok_or(RecordFault::Field("decoder"))?;
    let content = match message.content.ok_or(RecordFault::Field("content"))? {
        proto::message::Content::Report(report) => MessageContent::Report(Box::new(report_in(&report)?)),
        proto::message::Content::Will(_) => MessageContent::Will,
        proto::message::Content::Other(_) => MessageContent::Other,
        proto::message::Content::Unreadable(unreadable) => {
            MessageContent::Unreadable(RejectReason::parse(&unreadable.reason).ok_or(RecordFault::Field("unreadable.reason"))?)
        }
    };
    Ok(MessageRecord {
        device: DeviceId::parse(&message.device)?,
        feed: FeedName::parse(&message.feed)?,
        lane,
        ingester: IngesterName::parse(&message.ingester)?,
        event: EventId(message.event.try_into().map_err(|_| RecordFault::Field("event"))?),
        received_at: IngestMillis::new(message.received_at_ingest_millis),
        connected_at: IngestMillis::new(message.connected_at_ingest_millis),
        after_probe: message.after_probe.as_ref().map(probe_in).transpose()?,
        past_probe_millis: message.past_probe_millis,
        retained: message.retained,
        decoder,
        content,
        press: message.press.as_ref().map(press_in).transpose()?,
    })
}

fn press_out(press: &Press) -> proto::Press {
    let counted = press.counted.map(|counted| proto::Counted {
        incarnation: counted.incarnation.0,
        counter: counted.counter,
        quiet_millis: counted.quiet_millis,
    });
    proto::Press { centre: press.centre.to_string(), counted }
}

fn press_in(press: &proto::Press) -> Result<Press, RecordFault> {
    let counted = press.counted.map(|counted| Counted {
        incarnation: Incarnation(counted.incarnation),
        counter: counted.counter,
        quiet_millis: counted.quiet_millis,
    });
    Ok(Press { centre: CentreName::parse(&press.centre)?, counted })
}

fn probe_in(probe: &proto::Probe) -> Result<ProbeRef, RecordFault> {
    Ok(ProbeRef {
        ingester: IngesterName::parse(&probe.ingester)?,
        incarnation: Incarnation(probe.incarnation),
        number: probe.number,
        sent_at: ProbeMillis::new(probe.sent_at_probe_millis),
    })
}

fn observation_in(observation: &proto::Observation) -> Result<Observation, RecordFault> {
    let heard = observation.heard.iter().map(|heard| {
        Ok(Heard {
            lane: lane_in(heard.lane())?,
            from: ProbeMillis::new(heard.from_probe_millis),
            to: ProbeMillis::new(heard.to_probe_millis),
        })
    });
    Ok(Observation {
        feed: FeedName::parse(&observation.feed)?,
        ingester: IngesterName::parse(&observation.ingester)?,
        incarnation: Incarnation(observation.incarnation),
        rulebook_version: observation.rulebook_version,
        heard: heard.collect::<Result<_, RecordFault>>()?,
        faults: observation.faults().filter_map(fault_in).collect(),
    })
}

const fn fault_out(fault: IngestFault) -> proto::IngestFault {
    match fault {
        IngestFault::Clock => proto::IngestFault::Clock,
        IngestFault::TakenOver => proto::IngestFault::TakenOver,
    }
}

/// What an ingester of a later version complains of is no reason to stop a partition: it is passed over.
const fn fault_in(fault: proto::IngestFault) -> Option<IngestFault> {
    match fault {
        proto::IngestFault::Clock => Some(IngestFault::Clock),
        proto::IngestFault::TakenOver => Some(IngestFault::TakenOver),
        proto::IngestFault::Unspecified => None,
    }
}

const fn lane_out(lane: Lane) -> proto::Lane {
    match lane {
        Lane::Duress => proto::Lane::Duress,
        Lane::Reports => proto::Lane::Reports,
    }
}

const fn lane_in(lane: proto::Lane) -> Result<Lane, RecordFault> {
    match lane {
        proto::Lane::Duress => Ok(Lane::Duress),
        proto::Lane::Reports => Ok(Lane::Reports),
        proto::Lane::Unspecified => Err(RecordFault::Field("lane")),
    }
}

fn report_out(report: &Report) -> proto::Report {
    proto::Report {
        own_id: report.own_id.clone(),
        boot: report.boot,
        sequence: report.sequence,
        happened_device_millis: report.happened.map(DeviceMillis::get),
        sent_device_millis: report.sent.map(DeviceMillis::get),
        fix: report.fix.map(|fix| proto::Fix {
            lat_e7: fix.position.lat_e7(),
            lon_e7: fix.position.lon_e7(),
            at_device_millis: fix.at.map(DeviceMillis::get),
            accuracy_cm: fix.accuracy_cm,
            altitude_cm: fix.altitude_cm,
            speed_cm_s: fix.speed_cm_s,
            course_cdeg: fix.course_cdeg,
        }),
        battery_percent: report.battery_percent.map(u32::from),
        charging: report.charging,
        motion: match report.motion {
            None => proto::Motion::Unspecified,
            Some(Motion::Still) => proto::Motion::Still,
            Some(Motion::Moving) => proto::Motion::Moving,
        }
        .into(),
        interval_seconds: report.interval_seconds,
        visit: match report.visit {
            None => proto::VisitStep::Unspecified,
            Some(VisitStep::Start) => proto::VisitStep::Start,
            Some(VisitStep::CheckIn) => proto::VisitStep::CheckIn,
            Some(VisitStep::Extend) => proto::VisitStep::Extend,
            Some(VisitStep::End) => proto::VisitStep::End,
        }
        .into(),
        visit_until_device_millis: report.visit_until.map(DeviceMillis::get),
        signals: report.signals.bits(),
    }
}

fn report_in(report: &proto::Report) -> Result<Report, RecordFault> {
    Ok(Report {
        own_id: report.own_id.clone(),
        boot: report.boot,
        sequence: report.sequence,
        happened: report.happened_device_millis.map(DeviceMillis::new),
        sent: report.sent_device_millis.map(DeviceMillis::new),
        fix: report.fix.as_ref().map(fix_in).transpose()?,
        battery_percent: match report.battery_percent {
            Some(percent) => Some(u8::try_from(percent).map_err(|_| RecordFault::Field("battery_percent"))?),
            None => None,
        },
        charging: report.charging,
        motion: match report.motion() {
            proto::Motion::Unspecified => None,
            proto::Motion::Still => Some(Motion::Still),
            proto::Motion::Moving => Some(Motion::Moving),
        },
        interval_seconds: report.interval_seconds,
        visit: match report.visit() {
            proto::VisitStep::Unspecified => None,
            proto::VisitStep::Start => Some(VisitStep::Start),
            proto::VisitStep::CheckIn => Some(VisitStep::CheckIn),
            proto::VisitStep::Extend => Some(VisitStep::Extend),
            proto::VisitStep::End => Some(VisitStep::End),
        },
        visit_until: report.visit_until_device_millis.map(DeviceMillis::new),
        signals: Signals::from_bits(report.signals),
    })
}

fn fix_in(fix: &proto::Fix) -> Result<Fix, RecordFault> {
    Ok(Fix {
        position: Position::from_e7(fix.lat_e7, fix.lon_e7).ok_or(RecordFault::Field("fix"))?,
        at: fix.at_device_millis.map(DeviceMillis::new),
        accuracy_cm: fix.accuracy_cm,
        altitude_cm: fix.altitude_cm,
        speed_cm_s: fix.speed_cm_s,
        course_cdeg: fix.course_cdeg,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_report() -> impl Strategy<Value = Report> {
        let fix = (-900_000_000..=900_000_000_i32, -1_800_000_000..=1_800_000_000_i32, any::<Option<i64>>(), any::<u32>());
        let numbers = (any::<Option<u32>>(), any::<Option<u64>>(), any::<Option<i64>>(), any::<Option<i64>>());
        let rest = (any::<Option<u8>>(), any::<Option<bool>>(), any::<u32>(), proptest::option::of("[a-z0-9]{1,20}"));
        (proptest::option::of(fix), numbers, rest).prop_map(|(fix, numbers, rest)| Report {
            own_id: rest.3,
            boot: numbers.0,
            sequence: numbers.1,
            happened: numbers.2.map(DeviceMillis::new),
            sent: numbers.3.map(DeviceMillis::new),
            fix: fix.map(|(lat, lon, at, accuracy_cm)| Fix {
                position: Position::from_e7(lat, lon).unwrap(),
                at: at.map(DeviceMillis::new),
                accuracy_cm,
                altitude_cm: None,
                speed_cm_s: Some(accuracy_cm),
                course_cdeg: None,
            }),
            battery_percent: rest.0,
            charging: rest.1,
            motion: rest.1.map(|moving| if moving { Motion::Moving } else { Motion::Still }),
            interval_seconds: numbers.0,
            visit: rest.1.map(|start| if start { VisitStep::Start } else { VisitStep::End }),
            visit_until: None,
            signals: Signals::from_bits(rest.2),
        })
    }

    fn any_content() -> impl Strategy<Value = MessageContent> {
        prop_oneof![
            any_report().prop_map(|report| MessageContent::Report(Box::new(report))),
            Just(MessageContent::Will),
            Just(MessageContent::Other),
            (0..RejectReason::ALL.len()).prop_map(|i| MessageContent::Unreadable(RejectReason::ALL[i])),
        ]
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let names = ("[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "[a-z0-9][a-z0-9_-]{0,20}");
        (names, any::<[u8; 16]>(), any::<(i64, i64, u64, u64)>(), any::<(bool, bool, bool)>(), any_content()).prop_map(
            |((device, name), event, (at, sent, incarnation, number), (retained, probed, pressed), content)| {
                let probe = ProbeRef {
                    ingester: IngesterName::parse(&name).unwrap(),
                    incarnation: Incarnation(incarnation),
                    number,
                    sent_at: ProbeMillis::new(sent),
                };
                Record::Message(Box::new(MessageRecord {
                    device: DeviceId::parse(&device).unwrap(),
                    feed: FeedName::parse(&name).unwrap(),
                    lane: if pressed { Lane::Duress } else { Lane::Reports },
                    ingester: IngesterName::parse(&name).unwrap(),
                    event: EventId(event),
                    received_at: IngestMillis::new(at),
                    connected_at: IngestMillis::new(sent),
                    after_probe: probed.then_some(probe),
                    past_probe_millis: sent,
                    retained,
                    decoder: Decoder::ALL[usize::from(event[0]) % Decoder::ALL.len()],
                    content,
                    press: pressed.then(|| Press {
                        centre: CentreName::parse(&name).unwrap(),
                        counted: retained.then_some(Counted {
                            incarnation: Incarnation(number),
                            counter: incarnation,
                            quiet_millis: at,
                        }),
                    }),
                }))
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(record in any_record()) {
            prop_assert_eq!(decode(&encode(&record)).unwrap(), record);
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _fault_or_record = decode(&bytes);
        }

        #[test]
        fn no_damage_to_a_record_breaks_the_reader(record in any_record(), at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = encode(&record);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _fault_or_record = decode(&bytes);
        }
    }

    #[test]
    fn observations_and_metronomes_are_read_back() {
        for record in [
            Record::Metronome { detector: "d-0".into() },
            Record::Action,
            Record::Observation(Observation {
                feed: FeedName::parse("main").unwrap(),
                ingester: IngesterName::parse("a").unwrap(),
                incarnation: Incarnation(u64::MAX),
                rulebook_version: 12,
                heard: Lane::ALL.map(|lane| Heard { lane, from: ProbeMillis::new(-1), to: ProbeMillis::new(9) }).to_vec(),
                faults: vec![IngestFault::TakenOver, IngestFault::Clock],
            }),
        ] {
            assert_eq!(decode(&encode(&record)).unwrap(), record);
        }
    }

    /// The table in `src/device/mod.rs` gives the numbers; the format names them for whoever else reads a journal.
    #[test]
    fn the_format_names_each_dialect_by_its_number() {
        let named = |number| proto::Decoder::try_from(number).ok().map(|dialect| dialect.as_str_name().to_owned());
        for decoder in Decoder::ALL {
            let row = format!("DECODER_{}", decoder.as_str().to_uppercase());
            assert_eq!(
                named(decoder.number()),
                Some(row),
                "add the row to enum Decoder of proto/journal.proto, and run with REGENERATE=1"
            );
        }
        let rows = (1..100).filter(|number| named(*number).is_some()).count();
        assert_eq!(rows, Decoder::ALL.len(), "proto/journal.proto names a dialect that the table does not have");
    }

    #[test]
    fn faults_of_later_versions_are_passed_over_and_old_observations_have_none() {
        let bytes = |faults: Vec<i32>| {
            let body = proto::Observation { feed: "main".into(), ingester: "a".into(), faults, ..proto::Observation::default() };
            proto::Record { body: Some(proto::record::Body::Observation(body)) }.encode_to_vec()
        };
        for (written, read) in [(vec![], vec![]), (vec![0, 1, 99], vec![IngestFault::Clock])] {
            let Record::Observation(observation) = decode(&bytes(written)).unwrap() else { panic!("an observation") };
            assert_eq!(observation.faults, read);
        }
    }

    /// The bytes of a report as version 0.1.0 wrote it, before messages at QoS 0 were dated by themselves.
    #[test]
    fn a_message_of_an_earlier_version_is_read_as_before() {
        let device = |fields: &[u8]| [&[0x0A, u8::try_from(fields.len()).unwrap()][..], fields].concat();
        let written = [
            &b"\x0a\x05dev-1\x12\x04main\x18\x02\x22\x01a\x2a\x10"[..],
            &[7; 16],
            b"\x30\xe8\x07\x38\x01\x42\x11\x0a\x01b\x11\x03\0\0\0\0\0\0\0\x18\x04\x20\xf4\x03\x50\x01\x6a\0",
        ];
        let Record::Message(message) = decode(&device(&written.concat())).unwrap() else { panic!("a message") };
        let probe = message.after_probe.clone().map(|probe| (probe.number, probe.sent_at.get()));
        assert_eq!((message.received_at.get(), probe, message.past_probe_millis), (1_000, Some((4, 500)), 0));
        assert_eq!(message.arrived_at(), 500, "as old as the probe before it");
        assert_eq!(
            encode(&Record::Message(message)),
            device(&written.concat()),
            "and who does not know the field reads what it knows"
        );
    }

    #[test]
    fn empty_bytes_are_no_record() {
        assert!(matches!(decode(b""), Err(RecordFault::Field("body"))));
    }

    /// `src/journal/proto.rs` is what `proto/journal.proto` generates. `REGENERATE=1 cargo test --no-default-features proto` writes it anew.
    #[test]
    fn generated_code_is_current() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = protox::compile([root.join("proto/journal.proto")], [root.join("proto")]).unwrap();
        let out = std::env::temp_dir().join(format!("lonewatch-proto-{}", std::process::id()));
        std::fs::create_dir_all(&out).unwrap();
        prost_build::Config::new().out_dir(&out).compile_fds(files).unwrap();
        let generated = std::fs::read_to_string(out.join("lonewatch.journal.v1.rs")).unwrap();
        std::fs::remove_dir_all(&out).unwrap();
        let committed = root.join("src/journal/proto.rs");
        if std::env::var_os("REGENERATE").is_some() {
            std::fs::write(&committed, &generated).unwrap();
        }
        assert!(std::fs::read_to_string(&committed).unwrap_or_default() == generated, "stale: run with REGENERATE=1");
    }
}
