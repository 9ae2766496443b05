//! The presses of a watched device: how often each is repeated, and what ends that.

use crate::time::SECOND_MILLIS;

/// Presses that a watch remembers; past it the oldest is forgotten, and counted as it stood.
const PRESSES_MAX: usize = 256;
/// A device that has no receipt by then should have repeated its press: the first repeat is due after 1 s.
const REPEAT_DUE_MILLIS: i64 = 3 * SECOND_MILLIS;
/// A repeat may cross its receipt on the way.
const RECEIPT_CROSSES_MILLIS: i64 = 2 * SECOND_MILLIS;

/// One press, as far as it was seen.
#[derive(Clone, Debug)]
struct Press {
    /// What its receipt will name: the device's own id for it, else the hash of its bytes.
    key: String,
    hash: String,
    has_id: bool,
    first_at: i64,
    copies: u32,
    differs: bool,
    receipt_at: Option<i64>,
    copies_after_receipt: u32,
}

/// Every press seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Presses(Vec<Press>);

/// How many presses had what wrong with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) presses: usize,
    pub(super) receipted: usize,
    pub(super) without_id: usize,
    pub(super) repeats_differ: usize,
    /// No receipt came, and the device did not repeat it although it should have.
    pub(super) given_up: usize,
    /// No receipt came.
    pub(super) without_receipt: usize,
    pub(super) goes_on_after_receipt: usize,
    /// The longest time from a first copy to its receipt, in milliseconds.
    pub(super) slowest_receipt_millis: Option<i64>,
}

impl Presses {
    /// A press came: what to say of it beside its content.
    pub(super) fn came(&mut self, at: i64, own_id: Option<&str>, hash: &str) -> Option<String> {
        let key = own_id.unwrap_or(hash);
        let Some(press) = self.0.iter_mut().rev().find(|press| press.key == key) else {
            if self.0.len() == PRESSES_MAX {
                self.0.remove(0);
            }
            self.0.push(Press {
                key: key.to_owned(),
                hash: hash.to_owned(),
                has_id: own_id.is_some(),
                first_at: at,
                copies: 1,
                differs: false,
                receipt_at: None,
                copies_after_receipt: 0,
            });
            return None;
        };
        press.copies += 1;
        let mut says = format!("copy {}, {} after the first", press.copies, super::message::seconds(at - press.first_at));
        if press.hash != hash {
            press.differs = true;
            says += ", WITH OTHER BYTES";
        }
        if press.receipt_at.is_some_and(|receipt_at| at > receipt_at + RECEIPT_CROSSES_MILLIS) {
            press.copies_after_receipt += 1;
            says += ", after its receipt";
        }
        Some(says)
    }

    /// A receipt came: what to say of it.
    pub(super) fn receipted(&mut self, at: i64, key: &str) -> Option<String> {
        let press = self.0.iter_mut().rev().find(|press| press.key == key)?;
        let first = press.receipt_at.is_none();
        press.receipt_at.get_or_insert(at);
        let took = super::message::seconds(at - press.first_at);
        let which = if first { "" } else { "another " };
        let copies = press.copies;
        Some(format!(
            "{which}receipt of the press, {took} after its first copy, {copies} {}",
            if copies == 1 { "copy" } else { "copies" }
        ))
    }

    /// What is to be said at the end.
    pub(super) fn tally(&self, now: i64) -> Tally {
        let count = |wanted: &dyn Fn(&Press) -> bool| self.0.iter().filter(|press| wanted(press)).count();
        let due = |press: &Press| now >= press.first_at + REPEAT_DUE_MILLIS;
        Tally {
            presses: self.0.len(),
            receipted: count(&|press| press.receipt_at.is_some()),
            without_id: count(&|press| !press.has_id),
            repeats_differ: count(&|press| press.differs),
            given_up: count(&|press| press.receipt_at.is_none() && press.copies == 1 && due(press)),
            without_receipt: count(&|press| press.receipt_at.is_none() && due(press)),
            goes_on_after_receipt: count(&|press| press.copies_after_receipt > 0),
            slowest_receipt_millis: self.0.iter().filter_map(|press| Some(press.receipt_at? - press.first_at)).max(),
        }
    }
}
