//! Free loopback ports for brokers that are stopped and started again on the same port.
//!
//! Ports that the system would give out itself are avoided: while a broker is down, its port could become the source port of some
//! other connection, and the broker could not come back. So we count through a range below those and test each by binding it.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Linux gives out 32768 and up.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// A loopback port that nobody listens on. Somebody may take it before the caller does: the caller tries again with another.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test binaries that run at the same time begin at different places.
    let begin = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let number = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + number % COUNT).expect("the range ends below 65,536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}
