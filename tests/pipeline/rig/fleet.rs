//! Devices as docs/DEVICES.md asks for them, each on an MQTT 5 connection of its own: they report, press, repeat the same bytes until
//! their receipt, and come back after the broker has gone. All of them live on one thread; what they did stands in the [`Diary`].
//!
//! A device stores no reports: what is due while it has no connection is gone. A connection that fails is dropped whole, with what the
//! client still held, as when a modem resets; only presses are kept, until their receipt.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use lonewatch::clock::wall_millis;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, Packet};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::diary::Diary;
use super::mosquitto::Mosquitto;
use super::wait::wait_for;

/// Waits between the copies of a press: 1, 2, 4, 8, 16 and then every 30 s.
const REPEAT_FIRST: Duration = Duration::from_secs(1);
const REPEAT_MAX: Duration = Duration::from_secs(30);
/// Between two attempts to connect; each device adds a share of its own.
const RETRY: Duration = Duration::from_millis(300);
/// Long enough that a broker frozen for some seconds loses no device, short enough that one frozen for longer does.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Messages that a device's client may hold.
const HELD_MAX: usize = 64;
/// Between the last word of a device that vanishes and the end of its connection: a will within the same second of probes as the last
/// message shortens nothing.
const LAST_BREATH: Duration = Duration::from_secs(2);
/// Later than any test.
const NEVER: Duration = Duration::from_hours(24);

/// What a fleet is.
#[derive(Clone, Debug)]
pub struct FleetPlan {
    /// How many devices: `dev-0`, `dev-1` ...
    pub devices: usize,
    /// Between two reports of a device.
    pub report_every: Duration,
    /// Between two presses of the whole fleet.
    pub press_every: Duration,
    /// Every device leaves a will.
    pub wills: bool,
}

impl FleetPlan {
    /// The devices' ids.
    pub fn ids(&self) -> Vec<String> {
        (0..self.devices).map(device_id).collect()
    }
}

fn device_id(number: usize) -> String {
    format!("dev-{number}")
}

/// A running fleet. Dropping it ends it.
pub struct Fleet {
    inboxes: Vec<UnboundedSender<Word>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    diary: Mutex<Diary>,
    pressing: AtomicBool,
    away_millis: AtomicU64,
}

impl Shared {
    fn diary(&self) -> MutexGuard<'_, Diary> {
        // Each entry is whole before anything that could panic.
        self.diary.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a device is told: by the test, or by the connection of that number.
enum Word {
    Press,
    Vanish,
    Return,
    Connected(u64),
    Subscribed(u64),
    Received(u64, Vec<u8>),
    Broken(u64),
    End,
}

impl Fleet {
    /// Starts all devices at once. They report; nobody presses yet.
    pub fn start(mosquitto: &Mosquitto, plan: &FleetPlan) -> Self {
        let shared =
            Arc::new(Shared { diary: Mutex::default(), pressing: AtomicBool::new(false), away_millis: AtomicU64::new(0) });
        let mut inboxes = Vec::new();
        let mut devices = Vec::new();
        for number in 0..plan.devices {
            let (outbox, inbox) = unbounded_channel();
            inboxes.push(outbox.clone());
            devices.push((number, outbox, inbox));
        }
        let (plan, port, of_devices) = (plan.clone(), mosquitto.port(), Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("fleet".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime for the fleet");
            runtime.block_on(async {
                let mut all = JoinSet::new();
                for (number, outbox, inbox) in devices {
                    all.spawn(Device::new(number, &plan, port, Arc::clone(&of_devices), outbox).live(inbox));
                }
                while let Some(ended) = all.join_next().await {
                    ended.expect("a device ends when it is told to");
                }
            });
        });
        Self { inboxes, shared, thread: Some(thread.expect("a thread for the fleet")) }
    }

    /// The diary as it is now.
    pub fn diary(&self) -> Diary {
        self.shared.diary().clone()
    }

    /// Whether its thread works: it ends early only by a panic.
    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// How many presses there were so far.
    pub fn presses(&self) -> usize {
        self.shared.diary().presses.len()
    }

    /// One device presses, besides those that press by themselves.
    pub fn press(&self, device: usize) {
        self.tell(device, Word::Press);
    }

    /// A device drops its connection without a goodbye and says nothing more.
    pub fn vanish(&self, device: usize) {
        self.tell(device, Word::Vanish);
    }

    /// It comes back.
    pub fn come_back(&self, device: usize) {
        self.tell(device, Word::Return);
    }

    /// Devices press by themselves from now on.
    pub fn start_pressing(&self) {
        self.shared.pressing.store(true, Ordering::Relaxed);
    }

    /// Nobody presses by himself any more.
    pub fn stop_pressing(&self) {
        self.shared.pressing.store(false, Ordering::Relaxed);
    }

    /// From now on a device that loses its connection waits this long before it tries again.
    pub fn stay_away_for(&self, time: Duration) {
        self.shared.away_millis.store(u64::try_from(time.as_millis()).expect("a short time"), Ordering::Relaxed);
    }

    /// Waits until every press has its receipt.
    #[track_caller]
    pub fn wait_receipted(&self, deadline: Duration) {
        wait_for(deadline, "every press to be receipted", || {
            let diary = self.shared.diary();
            let missing = diary.presses.iter().find(|press| press.receipted_at.is_none());
            missing.map_or(Ok(()), |press| Err(format!("{} of {}: {press:?}", diary.unreceipted(), diary.presses.len())))
        });
    }

    fn tell(&self, device: usize, word: Word) {
        self.inboxes[device].send(word).expect("devices live as long as their fleet");
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for inbox in &self.inboxes {
            // A device that panicked has ended already.
            let _ = inbox.send(Word::End);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A connection, or the attempt at one. Dropping it cuts it off.
struct Link {
    client: AsyncClient,
    number: u64,
    /// The receipts' filter is granted: before, nothing is sent.
    ready: bool,
    poll: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.poll.abort();
    }
}

/// A press whose receipt has not come.
struct Unreceipted {
    id: String,
    payload: Vec<u8>,
    place: usize,
    due_at: Instant,
    wait: Duration,
}

struct Device {
    id: String,
    port: u16,
    wills: bool,
    shared: Arc<Shared>,
    outbox: UnboundedSender<Word>,
    /// Its own share of every wait, so that no two devices do the same at the same moment.
    jitter: Duration,
    link: Option<Link>,
    links: u64,
    connect_at: Instant,
    report_every: Duration,
    report_at: Instant,
    press_every: Duration,
    press_at: Instant,
    sequence: u64,
    pressed: u64,
    unreceipted: Vec<Unreceipted>,
    gone: bool,
    /// When the connection of one that is gone breaks.
    breaks_at: Option<Instant>,
}

impl Device {
    fn new(number: usize, plan: &FleetPlan, port: u16, shared: Arc<Shared>, outbox: UnboundedSender<Word>) -> Self {
        let (now, count) = (Instant::now(), u32::try_from(plan.devices).expect("few devices"));
        let turn = u32::try_from(number).expect("few devices");
        Self {
            id: device_id(number),
            port,
            wills: plan.wills,
            shared,
            outbox,
            jitter: Duration::from_millis(u64::from(turn) * 37 % 500),
            link: None,
            links: 0,
            connect_at: now,
            report_every: plan.report_every,
            report_at: now + plan.report_every * turn / count,
            press_every: plan.press_every * count,
            press_at: now + plan.press_every * (turn + 1),
            sequence: 0,
            pressed: 0,
            unreceipted: Vec::new(),
            gone: false,
            breaks_at: None,
        }
    }

    async fn live(mut self, mut inbox: UnboundedReceiver<Word>) {
        loop {
            match tokio::time::timeout_at(self.next_at(), inbox.recv()).await {
                Err(_) => self.do_what_is_due(),
                Ok(Some(Word::End) | None) => return,
                Ok(Some(word)) => self.heed(word),
            }
        }
    }

    fn is_ready(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.ready)
    }

    fn next_at(&self) -> Instant {
        let never = Instant::now() + NEVER;
        if self.gone {
            return self.breaks_at.unwrap_or(never);
        }
        let connect_at = if self.link.is_some() { never } else { self.connect_at };
        let presses = self.unreceipted.iter().filter(|_| self.is_ready()).map(|press| press.due_at);
        presses.chain([connect_at, self.report_at, self.press_at]).min().unwrap_or(never)
    }

    fn do_what_is_due(&mut self) {
        let now = Instant::now();
        if self.gone {
            (self.link, self.breaks_at) = (None, None);
            return;
        }
        if self.link.is_none() && self.connect_at <= now {
            self.connect();
        }
        if self.press_at <= now {
            self.press_at += self.press_every;
            if self.shared.pressing.load(Ordering::Relaxed) {
                self.press();
            }
        }
        self.send_presses(now);
        if self.report_at <= now {
            self.report_at += self.report_every;
            self.report();
        }
    }

    fn heed(&mut self, word: Word) {
        let current = self.link.as_ref().map(|link| link.number);
        match word {
            Word::Press => self.press(),
            Word::Vanish => {
                self.gone = true;
                self.breaks_at = Some(Instant::now() + LAST_BREATH);
                self.shared.diary().fell_silent(&self.id);
            }
            Word::Return => {
                let now = Instant::now();
                (self.gone, self.breaks_at, self.connect_at, self.report_at) = (false, None, now, now);
                self.press_at = now + self.press_every;
                self.shared.diary().spoke_again(&self.id);
            }
            Word::Connected(number) if current == Some(number) => {
                self.shared.diary().connects += 1;
                let receipts = format!("lw/v1/{}/rx", self.id);
                let link = self.link.as_ref();
                if link.is_some_and(|link| link.client.try_subscribe(receipts, QoS::AtLeastOnce).is_err()) {
                    self.cut();
                }
            }
            Word::Subscribed(number) if current == Some(number) => {
                if let Some(link) = &mut self.link {
                    link.ready = true;
                }
                // What waited for a connection waits no longer.
                let now = Instant::now();
                self.unreceipted.iter_mut().for_each(|press| press.due_at = now);
            }
            Word::Received(number, payload) if current == Some(number) => self.receipt(&payload),
            Word::Broken(number) if current == Some(number) => self.cut(),
            // Of a connection that was dropped already; the end is seen by the caller.
            Word::Connected(_) | Word::Subscribed(_) | Word::Received(..) | Word::Broken(_) | Word::End => {}
        }
    }

    fn connect(&mut self) {
        self.links += 1;
        let mut options = MqttOptions::new(&self.id, "127.0.0.1", self.port);
        options.set_keep_alive(KEEP_ALIVE).set_clean_start(true);
        if self.wills {
            let topic = format!("lw/v1/{}/status", self.id);
            options.set_last_will(LastWill::new(topic, br#"{"status":"offline"}"#, QoS::AtLeastOnce, false, None));
        }
        let mut network = options.network_options();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        let (client, mut events) = AsyncClient::new(options, HELD_MAX);
        let (number, outbox) = (self.links, self.outbox.clone());
        let poll = tokio::spawn(async move {
            loop {
                let word = match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => Word::Connected(number),
                    Ok(Event::Incoming(Packet::SubAck(_))) => Word::Subscribed(number),
                    Ok(Event::Incoming(Packet::Publish(publish))) => Word::Received(number, publish.payload.to_vec()),
                    Ok(_) => continue,
                    Err(_) => Word::Broken(number),
                };
                let over = matches!(word, Word::Broken(_));
                if outbox.send(word).is_err() || over {
                    return;
                }
            }
        });
        self.link = Some(Link { client, number, ready: false, poll: poll.abort_handle() });
    }

    /// The connection is over. One that had worked is mourned for as long as the fleet is told to.
    fn cut(&mut self) {
        let had_worked = self.is_ready();
        self.link = None;
        let away = Duration::from_millis(self.shared.away_millis.load(Ordering::Relaxed));
        self.connect_at = Instant::now() + RETRY + self.jitter + if had_worked { away } else { Duration::ZERO };
    }

    fn report(&mut self) {
        self.sequence += 1;
        let payload = format!("{{\"boot\":1,\"seq\":{},\"sent\":{},\"battery\":80}}", self.sequence, wall_millis());
        let sent = self.send("report", payload.into_bytes());
        self.shared.diary().reported(&self.id, sent);
    }

    fn press(&mut self) {
        self.pressed += 1;
        let id = format!("p-{}", self.pressed);
        let payload = format!("{{\"id\":\"{id}\",\"time\":{}}}", wall_millis()).into_bytes();
        let place = self.shared.diary().pressed(&self.id, id.clone(), payload.clone());
        let now = Instant::now();
        self.unreceipted.push(Unreceipted { id, payload, place, due_at: now, wait: REPEAT_FIRST });
        self.send_presses(now);
    }

    fn send_presses(&mut self, now: Instant) {
        if !self.is_ready() {
            return;
        }
        let mut presses = std::mem::take(&mut self.unreceipted);
        for press in presses.iter_mut().filter(|press| press.due_at <= now) {
            if self.send("duress", press.payload.clone()) {
                self.shared.diary().copied(press.place);
            }
            press.due_at = now + press.wait;
            press.wait = (press.wait * 2).min(REPEAT_MAX);
        }
        self.unreceipted = presses;
    }

    fn send(&self, word: &str, payload: Vec<u8>) -> bool {
        let Some(link) = self.link.as_ref().filter(|link| link.ready) else { return false };
        link.client.try_publish(format!("lw/v1/{}/{word}", self.id), QoS::AtLeastOnce, false, payload).is_ok()
    }

    fn receipt(&mut self, payload: &[u8]) {
        let receipt: serde_json::Value = serde_json::from_slice(payload).expect("a receipt is JSON");
        let shared = Arc::clone(&self.shared);
        self.unreceipted.retain(|press| {
            let named = receipt["id"] == press.id;
            if named {
                shared.diary().receipted(press.place);
            }
            !named
        });
    }
}
