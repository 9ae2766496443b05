//! One word to end, heard by every thread and task: a flag that can be awaited, and polled where nothing can be awaited.

use tokio::sync::watch;

/// The speaking end. Dropping it ends everything as well.
#[derive(Debug)]
pub struct Shutdown(watch::Sender<bool>);

/// The listening end.
#[derive(Clone, Debug)]
pub struct Ending(watch::Receiver<bool>);

impl Shutdown {
    /// A pair.
    pub fn new() -> (Self, Ending) {
        let (speaker, listener) = watch::channel(false);
        (Self(speaker), Ending(listener))
    }

    /// Ends. May be said twice.
    pub fn end(&self) {
        self.0.send_replace(true);
    }
}

impl Ending {
    /// Whether the end was called.
    pub fn now(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Waits for the end. Cancel-safe.
    pub async fn wait(&mut self) {
        // An error means that the speaker is gone, which is an end too.
        let _ended_or_gone = self.0.wait_for(|ended| *ended).await;
    }
}
