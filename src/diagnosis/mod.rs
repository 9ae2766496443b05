//! What `lonewatch check` concludes: findings with their mends, from what its shell has seen.
//!
//! Pure: messages, settings and rulebooks come in, findings go out. No finding, and no line about a message, ever holds a position
//! (P12): a fix is spoken of by its accuracy.

mod device;
mod finding;
mod message;
mod press;
mod rulebook;

pub use device::{DeviceWatch, Known, Target};
pub use finding::{Finding, Part, Verdict};
pub use message::Seen;
pub use rulebook::rulebook_findings;
