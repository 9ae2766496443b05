//! As much of MQTT 5 as a device that only publishes needs: small and without a runtime, so that the load costs the machine little.

use std::io::{Error, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::clock;

/// How long a broker may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(20);
/// How long to wait where the broker takes no more for the moment.
const STALLED: Duration = Duration::from_micros(200);

/// The connection of some devices.
pub(crate) struct Connection {
    stream: TcpStream,
    output: Vec<u8>,
    input: Vec<u8>,
    packet_id: u16,
    /// Messages that the broker has not acknowledged yet.
    pub(crate) unacknowledged: u64,
    /// Messages that nobody subscribes to, or that the broker refused.
    pub(crate) unheard: u64,
    /// Times that a write had to wait.
    pub(crate) stalls: u64,
}

impl Connection {
    /// Connects, and waits for the broker's word.
    pub(crate) fn open(port: u16, client_id: &str) -> std::io::Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CONNECT))?;
        stream.write_all(&connect(client_id))?;
        let mut head = [0; 2];
        stream.read_exact(&mut head)?;
        let mut rest = vec![0; usize::from(head[1])];
        stream.read_exact(&mut rest)?;
        if head[0] != 0x20 || rest.get(1) != Some(&0) {
            return Err(Error::other(format!("the MQTT broker refused {client_id}: {head:?} {rest:?}")));
        }
        stream.set_nonblocking(true)?;
        Ok(Self { stream, output: Vec::new(), input: Vec::new(), packet_id: 0, unacknowledged: 0, unheard: 0, stalls: 0 })
    }

    /// Publishes at QoS 1, and takes what acknowledgements are there.
    pub(crate) fn publish(&mut self, mqtt_topic: &str, payload: &[u8]) -> std::io::Result<()> {
        self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
        self.output.clear();
        publish(&mut self.output, mqtt_topic, self.packet_id, payload);
        self.unacknowledged += 1;
        let mut written = 0;
        while written < self.output.len() {
            match self.stream.write(&self.output[written..]) {
                Ok(count) => written += count,
                Err(fault) if fault.kind() == ErrorKind::WouldBlock => {
                    self.stalls += 1;
                    self.settle()?;
                    clock::pause(STALLED);
                }
                Err(fault) => return Err(fault),
            }
        }
        self.settle()
    }

    /// Takes the acknowledgements that are there.
    pub(crate) fn settle(&mut self) -> std::io::Result<()> {
        let mut bytes = [0; 4096];
        while self.unacknowledged > 0 {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.input.extend_from_slice(&bytes[..count]),
                Err(fault) if fault.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(fault) => return Err(fault),
            }
            self.take_answers()?;
        }
        Ok(())
    }

    /// Every packet that a publisher gets is a few bytes long.
    fn take_answers(&mut self) -> std::io::Result<()> {
        let mut at = 0;
        while let [kind, length, rest @ ..] = &self.input[at..] {
            let length = usize::from(*length);
            let Some(body) = rest.get(..length) else { break };
            if *kind != 0x40 {
                return Err(Error::other(format!("the MQTT broker sent packet {kind:#x} {body:?} to a publisher")));
            }
            self.unacknowledged -= 1;
            self.unheard += u64::from(body.get(2).is_some_and(|reason| *reason >= 0x10));
            at += 2 + length;
        }
        self.input.drain(..at);
        Ok(())
    }

    /// Waits until the broker has acknowledged everything.
    pub(crate) fn finish(&mut self, within: Duration) -> std::io::Result<()> {
        let deadline = clock::now() + within;
        loop {
            self.settle()?;
            if self.unacknowledged == 0 {
                return Ok(());
            }
            if clock::now() > deadline {
                return Err(Error::other(format!("{} messages were not acknowledged in time", self.unacknowledged)));
            }
            clock::pause(Duration::from_millis(1));
        }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&u16::try_from(text.len()).expect("names are short").to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// A clean start, no keep-alive: the bench ends before either would matter.
fn connect(client_id: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.extend_from_slice(&[5, 0b10, 0, 0, 0]);
    text(&mut body, client_id);
    let mut packet = vec![0x10, u8::try_from(body.len()).expect("client ids of the bench are short")];
    packet.extend_from_slice(&body);
    packet
}

fn publish(out: &mut Vec<u8>, mqtt_topic: &str, packet_id: u16, payload: &[u8]) {
    out.push(0x32);
    let mut length = 2 + mqtt_topic.len() + 2 + 1 + payload.len();
    loop {
        let digit = u8::try_from(length % 128).expect("under 128");
        length /= 128;
        out.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            break;
        }
    }
    text(out, mqtt_topic);
    out.extend_from_slice(&packet_id.to_be_bytes());
    out.push(0);
    out.extend_from_slice(payload);
}
