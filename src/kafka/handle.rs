//! `Handle`: what holds a client of librdkafka, and ends in time whatever that does.

use std::ops::{Deref, DerefMut};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::error::KafkaResult;

use crate::limits;

/// A client of librdkafka, or what owns one. Dropped, it is closed on a thread of its own, which is waited for up to
/// [`limits::GIVE_UP_MILLIS`]. Closing goes on by itself then, to the end of the process at most: librdkafka waits in it without end for a
/// broker that is away, and now and then for a thread of its own (docs/TRAPS.md). A group finds out by the session's end, as after a crash.
pub struct Handle<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Handle<T> {
    pub(super) const fn new(client: T) -> Self {
        Self(Some(client))
    }

    /// Opens a client.
    #[allow(clippy::disallowed_methods, reason = "held from the start")]
    pub(super) fn open<C: ClientContext>(config: &ClientConfig, context: C) -> KafkaResult<Self>
    where
        T: FromClientConfigAndContext<C>,
    {
        config.create_with_context(context).map(Self::new)
    }
}

impl<T: Send + 'static> Deref for Handle<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("taken by `drop` alone")
    }
}

impl<T: Send + 'static> DerefMut for Handle<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("taken by `drop` alone")
    }
}

impl<T: Send + 'static> Drop for Handle<T> {
    fn drop(&mut self) {
        let Some(client) = self.0.take() else { return };
        let is_closed = close(client);
        if is_closed.recv_timeout(Duration::from_millis(limits::GIVE_UP_MILLIS)).is_err() {
            tracing::info!(target: "kafka", "a client of Kafka does not close in time: nobody waits for it any more");
        }
    }
}

/// Closes a client on a thread of its own, unless there is none to be had. The receiver hears when that is done.
pub(super) fn close<T: Send + 'static>(client: T) -> Receiver<()> {
    let (closed, is_closed) = channel();
    let close = move || {
        drop(client);
        // Nobody may wait for it any more.
        let _late = closed.send(());
    };
    if let Err(fault) = std::thread::Builder::new().name("kafka-closing".to_owned()).spawn(close) {
        tracing::warn!(target: "kafka", %fault, "closed a client of Kafka without a thread of its own");
    }
    is_closed
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Ends when told to.
    struct Client {
        may_end: Option<Receiver<()>>,
        has_ended: Arc<AtomicBool>,
    }

    impl Drop for Client {
        fn drop(&mut self) {
            if let Some(may_end) = self.may_end.take() {
                may_end.recv().unwrap();
            }
            self.has_ended.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_client_that_closes_is_waited_for_and_one_that_does_not_is_left() {
        let has_ended = Arc::<AtomicBool>::default();
        drop(Handle::new(Client { may_end: None, has_ended: Arc::clone(&has_ended) }));
        assert!(has_ended.load(Ordering::SeqCst), "waited for");

        let has_ended = Arc::<AtomicBool>::default();
        let (end, may_end) = channel();
        // Ends only after this test went on without it.
        drop(Handle::new(Client { may_end: Some(may_end), has_ended: Arc::clone(&has_ended) }));
        assert!(!has_ended.load(Ordering::SeqCst), "left");
        end.send(()).unwrap();
    }
}
