//! What the devices of a fleet know they did: the oracle that alerts are held against. Times are milliseconds since the epoch.

use std::collections::BTreeMap;

use lonewatch::alert::duress_id;
use lonewatch::clock::wall_millis;
use lonewatch::ids::{AlertId, DeviceId, EventId, Origin};

/// One press, as its device remembers it.
#[derive(Clone, Debug)]
pub struct Pressed {
    /// Whose.
    pub device: String,
    /// Its own id.
    pub id: String,
    /// The bytes of every copy.
    pub payload: Vec<u8>,
    /// When the button went down.
    pub at: i64,
    /// When the first copy was handed to a connection.
    pub first_sent_at: Option<i64>,
    /// When the newest copy was.
    pub last_sent_at: Option<i64>,
    /// How many copies were sent.
    pub copies: u32,
    /// When its receipt came.
    pub receipted_at: Option<i64>,
}

impl Pressed {
    /// The ids that its alert may bear: of the day on which it arrived, which is another one at midnight.
    pub fn alert_ids(&self) -> Vec<AlertId> {
        let device = DeviceId::parse(&self.device).expect("the fleet's ids are legal");
        let mqtt_topic = format!("lw/v1/{device}/duress");
        let id_at = |at: i64| {
            let event = EventId::of(&device, &Origin::own(self.id.clone(), at), &mqtt_topic, &self.payload);
            duress_id(&device, event)
        };
        let mut ids = vec![id_at(self.at), id_at(self.last_sent_at.unwrap_or(self.at))];
        ids.dedup();
        ids
    }
}

/// A time in which a device truly said nothing.
#[derive(Clone, Debug)]
pub struct Silence {
    /// Who.
    pub device: String,
    /// Its last message before.
    pub from: i64,
    /// When it spoke again.
    pub until: Option<i64>,
}

/// All that the fleet did.
#[derive(Clone, Debug, Default)]
pub struct Diary {
    /// Presses, in their order.
    pub presses: Vec<Pressed>,
    /// True silences.
    pub silences: Vec<Silence>,
    /// Reports handed to a connection.
    pub reports_sent: u64,
    /// Reports that were due while the device had no connection: they are gone.
    pub reports_unsent: u64,
    /// Connections that were accepted.
    pub connects: u64,
    last_sent: BTreeMap<String, i64>,
}

impl Diary {
    /// The button went down; gives the press's place in the diary.
    pub fn pressed(&mut self, device: &str, id: String, payload: Vec<u8>) -> usize {
        let (device, at) = (device.to_owned(), wall_millis());
        let press = Pressed { device, id, payload, at, first_sent_at: None, last_sent_at: None, copies: 0, receipted_at: None };
        self.presses.push(press);
        self.presses.len() - 1
    }

    /// A copy of a press was sent.
    pub fn copied(&mut self, place: usize) {
        let (press, now) = (&mut self.presses[place], wall_millis());
        press.first_sent_at.get_or_insert(now);
        press.last_sent_at = Some(now);
        press.copies += 1;
        self.last_sent.insert(press.device.clone(), now);
    }

    /// A receipt came.
    pub fn receipted(&mut self, place: usize) {
        self.presses[place].receipted_at.get_or_insert(wall_millis());
    }

    /// A report was due.
    pub fn reported(&mut self, device: &str, sent: bool) {
        if sent {
            self.reports_sent += 1;
            self.last_sent.insert(device.to_owned(), wall_millis());
        } else {
            self.reports_unsent += 1;
        }
    }

    /// From its last message on the device says nothing.
    pub fn fell_silent(&mut self, device: &str) {
        let from = self.last_sent.get(device).copied().unwrap_or_else(wall_millis);
        self.silences.push(Silence { device: device.to_owned(), from, until: None });
    }

    /// It speaks again.
    pub fn spoke_again(&mut self, device: &str) {
        let silent = self.silences.iter_mut().rfind(|silence| silence.device == device && silence.until.is_none());
        if let Some(silence) = silent {
            silence.until = Some(wall_millis());
        }
    }

    /// How many presses wait for their receipt.
    pub fn unreceipted(&self) -> usize {
        self.presses.iter().filter(|press| press.receipted_at.is_none()).count()
    }
}
