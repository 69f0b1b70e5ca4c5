//! The in-memory end of the store: an API server that many clients share in one thread and in virtual time, each with
//! its own delays, losses and partitions.

mod apply;
mod faults;
mod rules;
mod server;

pub use super::Filter;
pub use faults::{ClientFaults, Delay};
pub use server::{Backup, Recorded, Server, SharedServer};

use super::{Seen, Store, Write, WriteId};

/// One client of a [`Server`].
#[derive(Debug)]
pub struct MemoryStore {
    server: SharedServer,
    client: usize,
}

impl MemoryStore {
    /// A new client that sees what `filter` lets through. Everything there is is listed to it first.
    pub fn connect(server: &SharedServer, name: &str, filter: Filter) -> Self {
        let client = server.borrow_mut().connect(name, filter);
        Self { server: server.clone(), client }
    }

    /// Its number at the server, for faults.
    pub const fn client(&self) -> usize {
        self.client
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.server.borrow_mut().disconnect(self.client);
    }
}

impl Store for MemoryStore {
    fn poll(&mut self) -> Vec<Seen> {
        self.server.borrow_mut().poll(self.client)
    }

    fn submit(&mut self, write: Write) -> WriteId {
        self.server.borrow_mut().submit(self.client, write)
    }
}
