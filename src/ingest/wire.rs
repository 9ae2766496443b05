//! One MQTT 5 connection as bytes: packets in, packets out, and no opinion; what they mean is `connection`'s.
//!
//! The packets are rumqttc's, its event loop is not: where acknowledgements and messages are both due it takes ten messages for each
//! acknowledgement that it sends, so a broker that hands out a backlog past our receive maximum (Mosquitto 2.0.11 does) outruns the
//! acknowledgements until no room is left for them. Here what is to be sent goes first, and all of it that waits leaves in one write.
//! Nothing more is read while what was read waits for its taker, so TCP holds back what we cannot take; pings go on meanwhile. What ends
//! a connection is told after all that came before it.
//!
//! Where messages may gather, the thread sleeps between two reads instead of waiting for each packet: at 5,000 reports a second most of
//! what ingest cost was being woken for every one of them (docs/PERFORMANCE.md).

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Connect, ConnectReturnCode, Login, Packet, PingReq, Publish};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::packet;
use crate::limits;

/// What is read at once: some hundred reports.
const READ_BYTES: usize = 64 * 1024;
/// A read that brings this much shows that more waits: nothing need gather.
const MUCH_BYTES: usize = READ_BYTES / 2;
/// Requests taken at once. An acknowledgement is 4 bytes, so one write has room for all of them.
const REQUESTS_AT_ONCE: usize = 1_024;
/// What waits to be written before requests have to wait.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Why a wire ends.
#[derive(Debug)]
pub(super) enum Fault {
    /// The broker closed it without a word.
    Closed,
    /// Anything else, in words.
    Broken(String),
}

impl Fault {
    fn new(why: impl Into<String>) -> Self {
        Self::Broken(why.into())
    }

    fn of(fault: &std::io::Error, doing: &str) -> Self {
        match fault.kind() {
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Self::Closed,
            _any_other => Self::Broken(format!("cannot {doing}: {fault}")),
        }
    }
}

/// A connection's bytes and what is not done about them.
struct Wire {
    input: BytesMut,
    output: BytesMut,
    /// Read, and not taken yet.
    arrived: VecDeque<Packet>,
    /// Waiting until the broker may have another.
    publishes: VecDeque<Publish>,
    in_flight: u16,
    /// The broker's own receive maximum.
    in_flight_max: u16,
    packet_id: u16,
    packet_bytes_max: Option<u32>,
    /// How long messages gather after a read.
    gather: Duration,
    gathers_until: Instant,
    /// What ends the connection, once all that came before it is taken.
    broken: Option<Fault>,
}

/// Connects and serves until the connection ends, or whoever asked for it is gone. With a time to gather it may block its thread for so
/// long: only for a runtime that has nothing else to do.
pub(super) async fn serve(
    address: (String, u16),
    opening: (Connect, Option<Login>),
    gather: Duration,
    mut requests: Receiver<Packet>,
    events: Sender<Result<Packet, Fault>>,
) {
    let mut wire = Wire::new(gather);
    let opened = match addresses(address).await {
        Ok(addresses) => wire.reach(&addresses, opening).await,
        Err(why) => Err(why),
    };
    let ended = match opened {
        Err(why) => Err(why),
        Ok((stream, accepted)) => {
            let ping = wire.accepted(&accepted);
            wire.arrived.push_front(Packet::ConnAck(accepted));
            wire.converse(stream, ping, &mut requests, &events).await
        }
    };
    if let Err(why) = ended {
        // Nobody listens any more: then nobody needs to know.
        let _gone = events.send(Err(why)).await;
    }
}

/// All addresses of a name, beginning with another at each attempt: one that swallows packets must not be the first for ever.
async fn addresses((host, port): (String, u16)) -> Result<Vec<SocketAddr>, Fault> {
    static ATTEMPTS: AtomicUsize = AtomicUsize::new(0);
    let looked_up = in_time(async {
        let found = tokio::net::lookup_host((host.as_str(), port)).await;
        found.map(Iterator::collect).map_err(|fault| Fault::new(format!("cannot connect: {fault}")))
    });
    Ok(in_turn(looked_up.await?, ATTEMPTS.fetch_add(1, Ordering::Relaxed)))
}

fn in_turn(mut addresses: Vec<SocketAddr>, attempt: usize) -> Vec<SocketAddr> {
    let first = attempt % addresses.len().max(1);
    addresses.rotate_left(first);
    addresses
}

/// What is not done in the time that a broker may take is a fault.
async fn in_time<T>(doing: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let waited = tokio::time::timeout(Duration::from_secs(limits::MQTT_CONNECT_SECONDS), doing).await;
    let late = || Fault::new(format!("the broker has not accepted us within {} s", limits::MQTT_CONNECT_SECONDS));
    waited.unwrap_or_else(|_| Err(late()))
}

/// A broker's word for ending or refusing, with what it adds: why, and which server to use instead.
pub(super) fn word(code: &impl Debug, why: Option<&String>, elsewhere: Option<&String>) -> String {
    let short = |text: &String| text.chars().take(limits::BROKER_WORDS_MAX).collect::<String>();
    let why = why.map(|why| format!(" ({})", short(why))).unwrap_or_default();
    let elsewhere = elsewhere.map(|server| format!("; it names another server: {}", short(server))).unwrap_or_default();
    format!("{code:?}{why}{elsewhere}")
}

impl Wire {
    fn new(gather: Duration) -> Self {
        Self {
            gather,
            gathers_until: Instant::now(),
            broken: None,
            input: BytesMut::with_capacity(READ_BYTES),
            output: BytesMut::new(),
            arrived: VecDeque::new(),
            publishes: VecDeque::new(),
            in_flight: 0,
            in_flight_max: u16::MAX,
            packet_id: 0,
            packet_bytes_max: None,
        }
    }

    /// Opens the first of the addresses that takes us. Each has its time: one that swallows packets must not use up that of the next.
    async fn reach(
        &mut self,
        addresses: &[SocketAddr],
        opening: (Connect, Option<Login>),
    ) -> Result<(TcpStream, ConnAck), Fault> {
        let mut whys = Vec::new();
        for address in addresses {
            match in_time(self.open(*address, opening.clone())).await {
                Ok(opened) => return Ok(opened),
                Err(why) if addresses.len() == 1 => return Err(why),
                Err(Fault::Closed) => whys.push(format!("{address}: the broker closed the connection")),
                Err(Fault::Broken(why)) => whys.push(format!("{address}: {why}")),
            }
        }
        Err(Fault::new(if whys.is_empty() { "the broker's name has no address".to_owned() } else { whys.join("; ") }))
    }

    /// Connects, introduces us and waits for the broker's answer. What the broker sends with it stays in the input.
    async fn open(
        &mut self,
        address: SocketAddr,
        (connect, login): (Connect, Option<Login>),
    ) -> Result<(TcpStream, ConnAck), Fault> {
        self.input.clear();
        self.output.clear();
        let mut stream = TcpStream::connect(address).await.map_err(|fault| Fault::new(format!("cannot connect: {fault}")))?;
        stream.set_nodelay(true).map_err(|fault| Fault::of(&fault, "connect"))?;
        self.put(&Packet::Connect(connect, None, login))?;
        stream.write_all_buf(&mut self.output).await.map_err(|fault| Fault::of(&fault, "write"))?;
        loop {
            if let Some(packet) = self.next_packet()? {
                return match packet {
                    Packet::ConnAck(accepted) if accepted.code == ConnectReturnCode::Success => Ok((stream, accepted)),
                    Packet::ConnAck(ConnAck { code, properties, .. }) => {
                        let (why, elsewhere) =
                            properties.map_or((None, None), |said| (said.reason_string, said.server_reference));
                        Err(Fault::new(format!("the broker refuses us: {}", word(&code, why.as_ref(), elsewhere.as_ref()))))
                    }
                    other => Err(Fault::new(format!("the broker answers our greeting with {other:?}"))),
                };
            }
            let read = stream.read_buf(&mut self.input).await;
            come(read)?;
        }
    }

    /// Takes what the broker asks of us, and gives the beat of our pings.
    fn accepted(&mut self, accepted: &ConnAck) -> Interval {
        let asked = accepted.properties.as_ref();
        self.in_flight_max = asked.and_then(|asked| asked.receive_max).unwrap_or(u16::MAX);
        self.packet_bytes_max = asked.and_then(|asked| asked.max_packet_size);
        let asked_seconds = asked.and_then(|asked| asked.server_keep_alive).filter(|seconds| *seconds > 0);
        let every = Duration::from_secs(asked_seconds.unwrap_or(u16::MAX).min(limits::KEEP_ALIVE_SECONDS).into());
        let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping
    }

    async fn converse(
        &mut self,
        mut stream: TcpStream,
        mut ping: Interval,
        requests: &mut Receiver<Packet>,
        events: &Sender<Result<Packet, Fault>>,
    ) -> Result<(), Fault> {
        let (reader, mut writer) = stream.split();
        let mut asked = Vec::with_capacity(REQUESTS_AT_ONCE);
        self.take_input();
        loop {
            if self.arrived.is_empty()
                && let Some(fault) = self.broken.take()
            {
                return Err(fault);
            }
            tokio::select! {
                biased;
                _ = ping.tick() => self.put(&Packet::PingReq(PingReq))?,
                count = requests.recv_many(&mut asked, REQUESTS_AT_ONCE), if self.has_room() => {
                    if count == 0 {
                        return Ok(());
                    }
                    for request in asked.drain(..) {
                        if matches!(request, Packet::Disconnect(_)) {
                            self.put(&request)?;
                            writer.write_all_buf(&mut self.output).await.map_err(|fault| Fault::of(&fault, "write"))?;
                            return self.leave(reader, writer).await;
                        }
                        self.request(request)?;
                    }
                }
                written = writer.write_buf(&mut self.output), if !self.output.is_empty() && self.broken.is_none() => {
                    if let Err(fault) = written {
                        // The broker's last words may say why; they stand in the socket before the end.
                        while matches!(reader.try_read_buf(&mut self.input), Ok(count) if count > 0) {}
                        self.take_input();
                        self.broken.get_or_insert_with(|| Fault::of(&fault, "write"));
                    }
                }
                room = events.reserve(), if !self.arrived.is_empty() => {
                    let Ok(room) = room else { return Ok(()) };
                    if let Some(packet) = self.arrived.pop_front() {
                        room.send(Ok(packet));
                    }
                    self.hand_over(events);
                }
                ready = reader.readable(), if self.arrived.is_empty() => {
                    ready.map_err(|fault| Fault::of(&fault, "read"))?;
                    self.read(&reader)?;
                    self.hand_over(events);
                    // Whoever takes them lives on this thread, and must not wait through the next sleep.
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Reads what is there, after it has gathered.
    fn read(&mut self, reader: &ReadHalf<'_>) -> Result<(), Fault> {
        self.let_gather();
        match reader.try_read_buf(&mut self.input) {
            Err(fault) if fault.kind() == ErrorKind::WouldBlock => return Ok(()),
            read => {
                if come(read)? < MUCH_BYTES {
                    self.gathers_until = Instant::now() + self.gather;
                }
            }
        }
        self.take_input();
        Ok(())
    }

    /// Sleeps for what is left of the time to gather. Not a timer of the runtime: while it waits for that, every packet would wake it.
    #[allow(clippy::disallowed_methods, reason = "bounded by milliseconds, on a thread that has nothing else to do")]
    fn let_gather(&self) {
        let left = self.gathers_until.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            std::thread::sleep(left);
        }
    }

    /// Waits until the broker has read our last words and closes. A socket that is closed with something unread in it resets the
    /// connection, and the broker may never see the acknowledgements that were on their way.
    async fn leave(&mut self, mut reader: ReadHalf<'_>, mut writer: WriteHalf<'_>) -> Result<(), Fault> {
        writer.shutdown().await.map_err(|fault| Fault::of(&fault, "say goodbye"))?;
        while matches!(reader.read_buf(&mut self.input).await, Ok(count) if count > 0) {
            self.input.clear();
        }
        Ok(())
    }

    /// Whether requests may come: they wait, in a bounded queue, while the broker takes no bytes or owes us too many answers.
    fn has_room(&self) -> bool {
        self.output.len() < OUTPUT_BYTES_MAX && self.publishes.len() < REQUESTS_AT_ONCE
    }

    /// Hands over what there is room for.
    fn hand_over(&mut self, events: &Sender<Result<Packet, Fault>>) {
        while !self.arrived.is_empty()
            && let Ok(room) = events.try_reserve()
            && let Some(packet) = self.arrived.pop_front()
        {
            room.send(Ok(packet));
        }
    }

    /// Takes all packets that are there whole.
    fn take_input(&mut self) {
        while self.broken.is_none() {
            let taken = self.next_packet().and_then(|packet| {
                let acknowledged = matches!(packet, Some(Packet::PubAck(_)));
                let Some(packet) = packet else { return Ok(false) };
                self.arrived.push_back(packet);
                if acknowledged {
                    self.in_flight = self.in_flight.saturating_sub(1);
                    self.release()?;
                }
                Ok(true)
            });
            match taken {
                Ok(true) => {}
                Ok(false) => return,
                Err(fault) => self.broken = Some(fault),
            }
        }
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, Fault> {
        let packet = packet::take(&mut self.input, limits::CLIENT_PACKET_BYTES_MAX as usize)
            .map_err(|fault| Fault::new(format!("the broker sends what is no MQTT 5: {fault}")))?;
        if packet.is_none() {
            self.input.reserve(READ_BYTES);
        }
        Ok(packet)
    }

    fn request(&mut self, request: Packet) -> Result<(), Fault> {
        match request {
            Packet::Publish(mut publish) => {
                publish.pkid = self.next_packet_id();
                self.publishes.push_back(publish);
                self.release()
            }
            Packet::Subscribe(mut subscribe) => {
                subscribe.pkid = self.next_packet_id();
                self.put(&Packet::Subscribe(subscribe))
            }
            Packet::Unsubscribe(mut unsubscribe) => {
                unsubscribe.pkid = self.next_packet_id();
                self.put(&Packet::Unsubscribe(unsubscribe))
            }
            whole => self.put(&whole),
        }
    }

    /// Sends what the broker may have.
    fn release(&mut self) -> Result<(), Fault> {
        while self.in_flight < self.in_flight_max
            && let Some(publish) = self.publishes.pop_front()
        {
            self.in_flight += 1;
            self.put(&Packet::Publish(publish))?;
        }
        Ok(())
    }

    fn put(&mut self, packet: &Packet) -> Result<(), Fault> {
        packet.write(&mut self.output, self.packet_bytes_max).map_err(|fault| Fault::new(format!("cannot send: {fault}")))?;
        Ok(())
    }

    fn next_packet_id(&mut self) -> u16 {
        self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
        self.packet_id
    }
}

/// Nothing to read any more is an end.
fn come(read: std::io::Result<usize>) -> Result<usize, Fault> {
    match read {
        Ok(0) => Err(Fault::Closed),
        Ok(count) => Ok(count),
        Err(fault) => Err(Fault::of(&fault, "read")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    fn run<T>(doing: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(doing)
    }

    fn opening() -> (Connect, Option<Login>) {
        (Connect { keep_alive: 30, client_id: "test".into(), clean_start: true, properties: None }, None)
    }

    /// A broker that answers the first greeting with this.
    fn broker(answer: Vec<u8>) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _greeting = stream.read(&mut [0; 1024]).unwrap();
            stream.write_all(&answer).unwrap();
            while stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {}
        });
        address
    }

    #[test]
    fn an_address_that_swallows_what_it_gets_keeps_nobody_from_the_next() {
        // The system takes the connection for it, and nobody ever answers.
        let swallows = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let addresses = [swallows.local_addr().unwrap(), broker(vec![0x20, 3, 0, 0, 0])];
        let (stream, _) = run(Wire::new(Duration::ZERO).reach(&addresses, opening())).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addresses[1]);
    }

    #[test]
    fn each_attempt_begins_with_another_address() {
        let two: Vec<SocketAddr> = ["127.0.0.1:1", "127.0.0.2:1"].map(|address| address.parse().unwrap()).into();
        let first = |attempt| in_turn(two.clone(), attempt)[0];
        assert_eq!([first(0), first(1), first(2)], [two[0], two[1], two[0]]);
        assert_eq!(in_turn(two.clone(), 1).len(), 2, "none is left out");
        assert!(
            matches!(run(Wire::new(Duration::ZERO).reach(&[], opening())), Err(Fault::Broken(why)) if why.contains("no address"))
        );
    }

    #[test]
    fn a_broker_that_sends_us_elsewhere_is_heard_out() {
        let answer = [&[0x20, 39, 0, 0x9C, 36, 0x1F, 0, 11][..], b"maintenance", &[0x1C, 0, 19], b"mqtt-2.example:1883"].concat();
        let address = broker(answer);
        let Err(Fault::Broken(why)) = run(Wire::new(Duration::ZERO).reach(&[address], opening())) else { panic!("refused") };
        assert_eq!(why, "the broker refuses us: UseAnotherServer (maintenance); it names another server: mqtt-2.example:1883");
    }
}
