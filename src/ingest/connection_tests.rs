//! A connection against a broker that hands out more than it may: what was read is acknowledged, however much is still to be read.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::{ConnAck, ConnectReturnCode, SubAck};

use super::*;

/// More than there are packet ids: Mosquitto 2.0.11 was seen to do that with the backlog of a session.
const BACKLOG: u32 = 200_000;

fn put(packet: &Packet, bytes: &mut BytesMut) {
    packet.write(bytes, None).unwrap();
}

fn purpose() -> Purpose {
    Purpose {
        client_id: "test".into(),
        filters: vec!["lw/v1/+/report".into()],
        keeps_session: true,
        gather: Duration::from_millis(2),
        receive_maximum: 1_000,
    }
}

/// Answers greeting and subscription.
fn accept(listener: &TcpListener) -> (TcpStream, BytesMut) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut input = BytesMut::new();
    let mut output = BytesMut::new();
    assert!(matches!(next(&mut stream, &mut input), Packet::Connect(..)));
    put(&Packet::ConnAck(ConnAck { session_present: true, code: ConnectReturnCode::Success, properties: None }), &mut output);
    stream.write_all(&output.split()).unwrap();
    let Packet::Subscribe(subscribe) = next(&mut stream, &mut input) else { panic!("a lane subscribes first") };
    let granted = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce)];
    put(&Packet::SubAck(SubAck { pkid: subscribe.pkid, return_codes: granted, properties: None }), &mut output);
    stream.write_all(&output).unwrap();
    (stream, input)
}

/// Writes the backlog as fast as TCP takes it while it counts what comes back.
fn broker(listener: &TcpListener) -> u32 {
    let (mut stream, mut input) = accept(listener);
    let mut output = BytesMut::new();
    for number in 0..BACKLOG {
        let mut publish = Publish::new("lw/v1/dev-1/report", QoS::AtLeastOnce, vec![b'x'; 200], None);
        publish.pkid = u16::try_from(1 + number % 65_535).unwrap();
        put(&Packet::Publish(publish), &mut output);
    }
    let mut writing = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || writing.write_all(&output));
    let mut acknowledged = 0;
    while acknowledged < BACKLOG {
        let Packet::PubAck(answer) = next(&mut stream, &mut input) else { continue };
        assert_eq!(u32::from(answer.pkid), 1 + acknowledged % 65_535, "in receive order");
        acknowledged += 1;
    }
    writer.join().unwrap().unwrap();
    acknowledged
}

fn next(stream: &mut TcpStream, input: &mut BytesMut) -> Packet {
    let mut bytes = [0; 4096];
    loop {
        if let Ok(packet) = Packet::read(input, None) {
            return packet;
        }
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "the connection was given up");
        input.extend_from_slice(&bytes[..count]);
    }
}

#[test]
fn a_backlog_past_the_receive_maximum_is_acknowledged_and_ends_no_connection() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let endpoint = Endpoint { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port(), credentials: None };
    let broker = std::thread::spawn(move || broker(&listener));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connection = runtime.block_on(async {
        let mut connection = Connection::open(&endpoint, &purpose());
        let mut taken = 0;
        while taken < BACKLOG {
            match connection.next().await {
                Happening::Message(publish) => {
                    connection.acknowledge(&publish).unwrap();
                    taken += 1;
                }
                Happening::Ended(why) => panic!("after {taken} messages: {why:?}"),
                Happening::Connected | Happening::Subscribed | Happening::Published | Happening::Refused(_) => {}
            }
        }
        // The last acknowledgements are still on their way; the broker closes when it has them.
        while !matches!(connection.next().await, Happening::Ended(_)) {}
        connection
    });
    assert_eq!(broker.join().unwrap(), BACKLOG);
    drop(connection);
}

/// What a connection tells of a broker that grants the subscription, writes these bytes and closes.
fn told(bytes: Vec<u8>) -> Vec<Happening> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let endpoint = Endpoint { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port(), credentials: None };
    let broker = std::thread::spawn(move || accept(&listener).0.write_all(&bytes).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let happenings = runtime.block_on(async {
        let mut connection = Connection::open(&endpoint, &purpose());
        let mut happenings = Vec::new();
        while !matches!(happenings.last(), Some(Happening::Ended(_))) {
            happenings.push(connection.next().await);
        }
        happenings
    });
    broker.join().unwrap();
    happenings
}

#[test]
fn a_take_over_that_mosquitto_names_is_known_by_its_name() {
    let happenings = told(vec![0xE0, 0x01, 0x8E]);
    assert!(matches!(happenings.last(), Some(Happening::Ended(End::TakenOver))), "{happenings:?}");
}

#[test]
fn what_came_before_something_that_cannot_be_read_is_heard() {
    let mut bytes = BytesMut::new();
    let mut publish = Publish::new("lw/v1/dev-1/report", QoS::AtLeastOnce, "help", None);
    publish.pkid = 1;
    put(&Packet::Publish(publish), &mut bytes);
    bytes.extend_from_slice(&[0x20, 0x01, 0x00]);
    let happenings = told(bytes.to_vec());
    let [.., Happening::Message(message), Happening::Ended(End::Broken(trouble))] = &happenings[..] else {
        panic!("{happenings:?}")
    };
    assert_eq!(&message.payload[..], b"help");
    assert!(trouble.why.contains("no MQTT 5"), "{}", trouble.why);
}

/// More than come in the time that messages gather, by far; fewer than come while a connection reads without letting anybody take.
const SOON: u32 = 400;
const TRIES: u32 = 5;

/// Sends a message each millisecond until the first is acknowledged, and counts them.
fn trickle(listener: &TcpListener) -> u32 {
    let (mut stream, mut input) = accept(listener);
    let mut writing = stream.try_clone().unwrap();
    let (stop, stopped) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        let mut sent = 0;
        while sent < 10 * SOON && stopped.recv_timeout(Duration::from_millis(1)).is_err() {
            sent += 1;
            let mut publish = Publish::new("lw/v1/dev-1/report", QoS::AtLeastOnce, "{}", None);
            publish.pkid = u16::try_from(sent).unwrap();
            let mut output = BytesMut::new();
            put(&Packet::Publish(publish), &mut output);
            writing.write_all(&output).unwrap();
        }
        sent
    });
    while !matches!(next(&mut stream, &mut input), Packet::PubAck(_)) {}
    stop.send(()).unwrap();
    writer.join().unwrap()
}

/// How many messages come before the first is acknowledged.
fn come_before_one_is_taken() -> u32 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let endpoint = Endpoint { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port(), credentials: None };
    let broker = std::thread::spawn(move || trickle(&listener));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = Connection::open(&endpoint, &purpose());
        loop {
            match connection.next().await {
                Happening::Message(publish) => connection.acknowledge(&publish).unwrap(),
                Happening::Ended(_) => break,
                Happening::Connected | Happening::Subscribed | Happening::Published | Happening::Refused(_) => {}
            }
        }
    });
    broker.join().unwrap()
}

#[test]
fn messages_that_gather_are_taken_while_others_come() {
    // A busy machine may keep the connection from its core for as long, but not each time.
    let soon = (0..TRIES).any(|_| come_before_one_is_taken() < SOON);
    assert!(soon, "{SOON} messages and more came before the first was taken, {TRIES} times");
}
