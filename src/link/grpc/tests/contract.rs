//! The contract of both ends, over this one.

use super::{Bench, keys, operator};
use crate::link::contract::{CASES, End};
use crate::link::{Downlink, Uplink};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Each agent dials through a line of its own, which can be cut.
struct Wired {
    bench: Bench,
    /// Where each line leads to, and whether it is cut.
    lines: BTreeMap<String, (SocketAddr, watch::Sender<(String, bool)>)>,
}

impl Wired {
    fn new() -> Self {
        Self { bench: Bench::new(), lines: BTreeMap::new() }
    }

    /// The line of a load.
    fn line(&mut self, load: &str) -> SocketAddr {
        if let Some((address, _)) = self.lines.get(load) {
            return *address;
        }
        let (state, stands) = watch::channel((self.bench.address(), false));
        let listener = self.bench.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        self.bench.runtime.spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut stands = stands.clone();
                tokio::spawn(async move {
                    let (to, cut) = stands.borrow_and_update().clone();
                    if cut {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(to).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = stands.changed() => {}
                    }
                });
            }
        });
        self.lines.insert(load.into(), (address, state));
        address
    }
}

impl End for Wired {
    fn up(&mut self) -> &mut dyn Uplink {
        &mut self.bench.up
    }

    fn join(&mut self, load: &str) -> Box<dyn Downlink> {
        let address = self.line(load).to_string();
        // By the Lease, as in a cluster, and not by an option.
        let mut agent = self.bench.agent(load, String::new(), &std::sync::Arc::default());
        agent.aim(&address);
        Box::new(agent)
    }

    fn cut(&mut self, load: &str, cut: bool) {
        let (_, state) = &self.lines[load];
        state.send_modify(|(_, is)| *is = cut);
        if cut {
            let before = self.bench.up.streams();
            self.bench.until("the stream's end", || self.bench.up.streams() < before);
        }
    }

    fn take_over(&mut self, agents: &mut [&mut Box<dyn Downlink>]) {
        let (next, shown) = operator(&self.bench.runtime, &self.bench.book, &keys().server());
        self.bench.up.lead(None);
        let address = next.address().to_string();
        for agent in agents {
            agent.aim(&address);
        }
        let first = std::mem::replace(&mut self.bench.up, next);
        // It still listens, as a follower does.
        assert_eq!(first.streams(), 0);
        self.bench.shown = shown;
        std::mem::forget(first);
    }

    fn pass(&mut self) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_end_in_a_cluster_keeps_the_contract() {
    for (name, case) in CASES {
        eprintln!("{name}");
        case(&mut Wired::new());
    }
}
