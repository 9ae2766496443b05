//! Packets out of the bytes that the broker sends. Frames are cut here, and messages and goodbyes are read here; the rest is rumqttc's.
//!
//! rumqttc takes a packet whose body is cut short for one that has not come whole, and loses it: the goodbye of Mosquitto with which it
//! names a take-over is of that kind. And it refuses a message for a property that nobody here reads; a message that some device sent must
//! never stand in the way of those behind it, so of properties only the length is read.

use bytes::{Buf as _, Bytes, BytesMut};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Disconnect, DisconnectReasonCode, Packet, Publish, UnsubAck};

/// The first byte's upper half (MQTT 5, 2.1.2).
const PUBLISH: u8 = 3;
const UNSUBACK: u8 = 11;
const DISCONNECT: u8 = 14;
/// Bytes that the length of a packet may take (MQTT 5, 1.5.5).
const LENGTH_BYTES_MAX: usize = 4;

/// Why bytes are no packet that we can take.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a length of more than four bytes")]
    Length,
    #[error("a packet of {0} bytes, and we had said that we take {1}")]
    TooLong(usize, usize),
    #[error("a message that is cut short")]
    Message,
    #[error("a message of a quality of service that there is not")]
    Quality,
    #[error("{0}")]
    Other(String),
}

/// The next packet; none where it has not come whole.
pub(super) fn take(input: &mut BytesMut, bytes_max: usize) -> Result<Option<Packet>, Malformed> {
    let Some(&first) = input.first() else { return Ok(None) };
    let Some((length, length_bytes)) = length_of(&input[1..])? else { return Ok(None) };
    if length > bytes_max {
        return Err(Malformed::TooLong(length, bytes_max));
    }
    let head = 1 + length_bytes;
    if input.len() < head + length {
        return Ok(None);
    }
    let mut frame = input.split_to(head + length);
    match (first >> 4, &frame[head..]) {
        (PUBLISH, body) => message(first, body).map(|publish| Some(Packet::Publish(publish))),
        // Nobody reads it: whether there was anything to take out, and what a broker makes of it, ends no connection.
        (UNSUBACK, _) => Ok(Some(Packet::UnsubAck(UnsubAck { pkid: 0, reasons: Vec::new(), properties: None }))),
        (DISCONNECT, []) => Ok(Some(goodbye(DisconnectReasonCode::NormalDisconnection))),
        // Without the length of its properties, as the standard allows (3.14.2.2.1).
        (DISCONNECT, [0x8E]) => Ok(Some(goodbye(DisconnectReasonCode::SessionTakenOver))),
        (DISCONNECT, [reason]) => Err(Malformed::Other(format!("a goodbye for reason {reason:#04x}"))),
        _any_other => Packet::read(&mut frame, None).map(Some).map_err(|fault| Malformed::Other(fault.to_string())),
    }
}

const fn goodbye(reason_code: DisconnectReasonCode) -> Packet {
    Packet::Disconnect(Disconnect { reason_code, properties: None })
}

/// A length and how many bytes it takes; none where it has not come whole.
fn length_of(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut length = 0;
    for (place, byte) in bytes.iter().take(LENGTH_BYTES_MAX).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(Some((length, place + 1)));
        }
    }
    if bytes.len() < LENGTH_BYTES_MAX { Ok(None) } else { Err(Malformed::Length) }
}

/// Reads a message. Its topic and its payload each own their bytes: what waits for Kafka must not hold all that was read with it, nor one of
/// them the other.
fn message(first: u8, body: &[u8]) -> Result<Publish, Malformed> {
    let qos = match (first >> 1) & 0b11 {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        2 => QoS::ExactlyOnce,
        _none => return Err(Malformed::Quality),
    };
    let mut rest = body;
    let topic_bytes = usize::from(rest.try_get_u16().map_err(|_| Malformed::Message)?);
    let topic = Bytes::copy_from_slice(cut(&mut rest, topic_bytes)?);
    let pkid = if qos == QoS::AtMostOnce { 0 } else { rest.try_get_u16().map_err(|_| Malformed::Message)? };
    let (properties, length_bytes) = length_of(rest)?.ok_or(Malformed::Message)?;
    cut(&mut rest, length_bytes + properties)?;
    let (dup, retain) = (first & 0b1000 != 0, first & 1 != 0);
    Ok(Publish { dup, qos, retain, topic, pkid, payload: Bytes::copy_from_slice(rest), properties: None })
}

fn cut<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], Malformed> {
    let (front, rest) = bytes.split_at_checked(count).ok_or(Malformed::Message)?;
    *bytes = rest;
    Ok(front)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rumqttc::v5::mqttbytes::v5::PublishProperties;

    use super::*;

    const MAX: usize = 100_000;

    fn all(bytes: &[u8]) -> (Vec<Packet>, Result<(), Malformed>) {
        let mut input = BytesMut::from(bytes);
        let mut packets = Vec::new();
        loop {
            match take(&mut input, MAX) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => return (packets, Ok(())),
                Err(fault) => return (packets, Err(fault)),
            }
        }
    }

    #[test]
    fn a_goodbye_without_properties_is_read_and_hides_nothing_behind_it() {
        let (packets, end) = all(&[0xE0, 0x01, 0x8E, 0xD0, 0x00]);
        assert_eq!(end, Ok(()));
        assert!(matches!(packets[0], Packet::Disconnect(Disconnect { reason_code: DisconnectReasonCode::SessionTakenOver, .. })));
        assert!(matches!(packets[1], Packet::PingResp(_)));
        assert!(matches!(all(&[0xE0, 0x00]).0[..], [Packet::Disconnect(_)]));
    }

    #[test]
    fn the_answer_to_an_unsubscribe_is_taken_whatever_is_in_it() {
        for answer in [&[0xB0, 0x02, 0x00, 0x01][..], &[0xB0, 0x03, 0x00, 0x01, 0x00], &[0xB0, 0x04, 0x00, 0x01, 0x00, 0x11]] {
            let (packets, end) = all(answer);
            assert!(matches!(packets[..], [Packet::UnsubAck(_)]) && end.is_ok(), "{answer:?}");
        }
    }

    #[test]
    fn a_packet_that_is_cut_short_is_a_fault_and_not_waited_for() {
        // A CONNACK without its properties.
        assert!(matches!(all(&[0x20, 0x02, 0x00, 0x87]), (packets, Err(Malformed::Other(_))) if packets.is_empty()));
        // A message whose topic is longer than itself.
        assert_eq!(all(&[0x30, 0x03, 0x00, 0x09, b'a']).1, Err(Malformed::Message));
    }

    #[test]
    fn a_property_that_is_no_text_does_not_keep_a_message_from_us() {
        let mut bytes = BytesMut::new();
        let properties = PublishProperties { content_type: Some("x".into()), ..PublishProperties::default() };
        let mut publish = Publish::new("lw/v1/dev-1/duress", QoS::AtLeastOnce, b"help".to_vec(), Some(properties));
        publish.pkid = 7;
        publish.write(&mut bytes).unwrap();
        let place = bytes.iter().position(|byte| *byte == b'x').unwrap();
        bytes[place] = 0xFF;
        let (packets, end) = all(&bytes);
        let [Packet::Publish(read)] = &packets[..] else { panic!("{packets:?}") };
        assert_eq!((&read.topic[..], &read.payload[..], read.pkid, end), (&b"lw/v1/dev-1/duress"[..], &b"help"[..], 7, Ok(())));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            topic in "[a-z/]{1,300}",
            payload in proptest::collection::vec(any::<u8>(), 0..20_000),
            pkid in 1_u16..,
            quality in 0_u8..3,
            (dup, retain) in any::<(bool, bool)>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(quality)];
            let mut publish = Publish::new(topic, qos, payload, None);
            publish.pkid = if qos == QoS::AtMostOnce { 0 } else { pkid };
            (publish.dup, publish.retain) = (dup, retain);
            let mut bytes = BytesMut::new();
            publish.write(&mut bytes).unwrap();
            let whole = bytes.len();
            let mut input = bytes.clone();
            input.truncate(cut.index(whole));
            prop_assert!(matches!(take(&mut input, MAX), Ok(None)), "not whole yet");
            input.extend_from_slice(&bytes[input.len()..]);
            prop_assert_eq!(take(&mut input, MAX), Ok(Some(Packet::Publish(publish))));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (_packets, _end) = all(&bytes);
        }
    }
}
