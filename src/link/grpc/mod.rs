//! The link's end in a cluster: one gRPC stream for each agent, over TLS that both ends verify.
//!
//! Two things must be right before an agent is heard: its client certificate, which keeps strangers from the rest of
//! this code, and its pod's ServiceAccount token, which says for which load it may speak ([`identity`]). Every stream
//! has its own tasks and slots of its own, in which the newest message of a kind replaces what was not sent yet: nobody
//! waits for anybody, and nothing grows. Only the leader listens; agents learn its address from the leader's Lease.
//!
//! A load may have two streams, of the agent that leaves and of the one that comes: until the API server has recorded the
//! change of holder (which may take as long as it is away) nobody knows which of them drives the devices, so a shed goes
//! to both. What they report tells them apart by its holder. A third takes the place of the oldest.

pub mod certificates;
pub mod client;
mod convert;
pub mod identity;
pub mod keys;
pub mod server;
mod slots;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
pub mod tls;

use std::time::Duration;

/// The messages, made of `link.proto` by `e2e/tests/wire.rs`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::nursery)]
mod wire {
    include!("wire.rs");
}

/// The largest message of either side, bytes: a renewed token; a report is a tenth of that.
const MESSAGE_MOST: usize = 16 * 1_024;
/// A connection that answers no ping within this is dead; it is pinged as often.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);
/// TLS, and then the first message: each within this.
const GREETED_WITHIN: Duration = Duration::from_secs(5);
/// A report comes every second, and is answered: a stream on which nothing came for this long is given up.
const SILENT_AT_MOST: Duration = Duration::from_secs(15);
/// Without an answer to a report for this long, reports are taken not to arrive.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
/// The metadata that carries the token.
const AUTHORIZATION: &str = "authorization";
