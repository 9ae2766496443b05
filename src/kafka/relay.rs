//! A relay before an embedded Kafka, for tests: it can make that name no broker, as Kafka does while all of them come back from an outage, and
//! hold the answers that name them.
//!
//! Of Kafka's protocol it knows frames (length, then for a request api key, version and correlation id, for an answer correlation id), and the
//! head of the answer `Metadata`, versions 3 to 8: throttle time, brokers (id, host, port, rack). <https://kafka.apache.org/protocol>

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rdkafka::types::RDKafkaApiKey;

use super::MockKafka;

/// The api key of `Metadata`.
const METADATA: i16 = 3;

/// What becomes of answers that name brokers.
#[derive(Default)]
struct Fence {
    /// They name none.
    is_up: bool,
    /// So many wait for each other, then pass at once.
    gathered: usize,
}

/// The relay. It serves until the process ends.
pub(crate) struct Relay {
    port: u16,
    fence: Arc<Mutex<Fence>>,
}

impl Relay {
    pub(crate) fn start(mock: &MockKafka) -> Self {
        mock.apiversion(RDKafkaApiKey::Metadata, Some(0), Some(4)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Self { port: listener.local_addr().unwrap().port(), fence: Arc::default() };
        let (kafka, port, fence) = (mock.bootstrap_servers(), relay.port, Arc::clone(&relay.fence));
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                relay_connection(&client, &TcpStream::connect(&kafka).unwrap(), port, &fence);
            }
        });
        relay
    }

    /// Where it listens.
    pub(crate) fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on no broker is named.
    pub(crate) fn name_none(&self) {
        self.fence.lock().unwrap().is_up = true;
    }

    /// The next so many answers of a connection that tell of brokers come all at once.
    pub(crate) fn hold(&self, gathered: usize) {
        self.fence.lock().unwrap().gathered = gathered;
    }

    /// Brokers are named again.
    pub(crate) fn name_all(&self) {
        *self.fence.lock().unwrap() = Fence::default();
    }
}

fn relay_connection(client: &TcpStream, kafka: &TcpStream, port: u16, fence: &Arc<Mutex<Fence>>) {
    let asked = Arc::new(Mutex::new(BTreeSet::new()));
    let [(from_client, to_client), (from_kafka, to_kafka)] =
        [client, kafka].map(|stream| (stream.try_clone().unwrap(), stream.try_clone().unwrap()));
    let noted = Arc::clone(&asked);
    std::thread::spawn(move || {
        pass(from_client, to_kafka, |frame| {
            if i16::from_be_bytes([frame[0], frame[1]]) == METADATA {
                noted.lock().unwrap().insert(frame[4..8].to_vec());
            }
            vec![frame]
        });
    });
    let (fence, mut gathered) = (Arc::clone(fence), Vec::new());
    std::thread::spawn(move || {
        pass(from_kafka, to_client, |frame| {
            if !asked.lock().unwrap().remove(&frame[..4]) {
                return vec![frame];
            }
            let mut fence = fence.lock().unwrap();
            gathered.push(with_brokers(&frame, (!fence.is_up).then_some(port)));
            if gathered.len() < fence.gathered {
                return Vec::new();
            }
            fence.gathered = 0;
            std::mem::take(&mut gathered)
        });
    });
}

/// Passes frames on as `alter` has them, until one side closes; then both do.
fn pass(mut from: TcpStream, mut to: TcpStream, mut alter: impl FnMut(Vec<u8>) -> Vec<Vec<u8>>) {
    let mut relay = || -> std::io::Result<()> {
        loop {
            let mut length = [0; 4];
            from.read_exact(&mut length)?;
            let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
            from.read_exact(&mut frame)?;
            let mut out = Vec::new();
            for frame in alter(frame) {
                out.extend(u32::try_from(frame.len()).unwrap().to_be_bytes());
                out.extend(frame);
            }
            to.write_all(&out)?;
        }
    };
    let ended = relay().expect_err("it ends with a connection");
    assert!(matches!(ended.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{ended}");
    for stream in [from, to] {
        // The other direction may have done so.
        let _closed = stream.shutdown(std::net::Shutdown::Both);
    }
}

/// The answer with every broker at this port of ours; without a port, with no broker.
fn with_brokers(frame: &[u8], port: Option<u16>) -> Vec<u8> {
    // Correlation id and throttle time.
    let (head, rest) = frame.split_at(8);
    let (count, mut rest) = rest.split_at(4);
    let mut brokers = Vec::new();
    for _ in 0..u32::from_be_bytes(count.try_into().unwrap()) {
        let mut take = |length: usize| rest.split_off(..length).unwrap();
        let text = |length: &[u8]| usize::try_from(i16::from_be_bytes(length.try_into().unwrap()).max(0)).unwrap();
        let id = take(4);
        let host_length = take(2);
        let host = take(text(host_length));
        take(4);
        let rack_length = take(2);
        let rack = take(text(rack_length));
        let port = u32::from(port.unwrap_or_default()).to_be_bytes();
        brokers.extend([id, host_length, host, &port, rack_length, rack].concat());
    }
    match port {
        Some(_) => [head, count, &brokers, rest].concat(),
        None => [head, &[0; 4], rest].concat(),
    }
}
