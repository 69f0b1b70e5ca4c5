//! The table against the end in memory.

use super::*;
use crate::store::memory::{ClientFaults, MemoryStore, Server, SharedServer};
use ampacity_core::units::{Ppm, Time};

struct InMemory {
    server: SharedServer,
    faulty: Vec<usize>,
    fault: Fault,
}

impl InMemory {
    fn faults(&self) -> ClientFaults {
        let all = Ppm::new(1_000_000);
        match self.fault {
            Fault::None => ClientFaults::default(),
            Fault::Cut => ClientFaults { cut: true, ..ClientFaults::default() },
            Fault::Hold => ClientFaults { late: all, watch_frozen: true, ..ClientFaults::default() },
            Fault::LoseAnswers => ClientFaults { answer_lost: all, watch_frozen: true, ..ClientFaults::default() },
        }
    }
}

impl End for InMemory {
    fn namespace(&self) -> String {
        "ampacity".into()
    }

    fn prefix(&self) -> String {
        "contract".into()
    }

    fn connect(&mut self, line: Line, filter: Filter) -> Box<dyn Store> {
        let store = MemoryStore::connect(&self.server, "contract", filter);
        if line == Line::Faulty {
            self.faulty.push(store.client());
        }
        Box::new(store)
    }

    fn fault(&mut self, fault: Fault) {
        self.fault = fault;
        let faults = self.faults();
        for client in &self.faulty {
            self.server.borrow_mut().set_faults(*client, faults);
        }
    }

    fn pass(&mut self, span: Span) {
        let mut server = self.server.borrow_mut();
        let now = server.now().after(span);
        server.advance(now);
    }

    fn late(&self) -> Span {
        Span::seconds(40)
    }

    fn put(&mut self, object: Object) -> Result<(), String> {
        self.server.borrow_mut().put(object);
        Ok(())
    }

    fn delete(&mut self, key: &Key) -> Result<(), String> {
        self.server.borrow_mut().remove(key).map_err(|e| format!("{e:?}"))
    }
}

#[test]
fn the_end_in_memory_keeps_the_contract() {
    let mut broken = Vec::new();
    for case in cases() {
        let server = Server::new(7, Time::seconds(1_000));
        let mut end = InMemory { server, faulty: Vec::new(), fault: Fault::None };
        if let Err(why) = (case.run)(&mut end) {
            broken.push((case.name, why));
        }
    }
    assert_eq!(broken, []);
}

#[test]
fn an_answer_that_comes_after_its_object_was_shown_gone_does_not_bring_it_back() {
    let server = Server::new(7, Time::seconds(1_000));
    let mut end = InMemory { server: server.clone(), faulty: Vec::new(), fault: Fault::None };
    let mut good = Client::connect(&mut end, Line::Good).unwrap();
    let mut slow = Client::connect(&mut end, Line::Faulty).unwrap();
    let load = super::orders::create(&mut end, &mut good, "zombie").unwrap();
    let answer = crate::store::memory::Delay { least: Span::seconds(2), most: Span::seconds(2) };
    server.borrow_mut().set_faults(end.faulty[0], ClientFaults { answer, ..ClientFaults::default() });
    let id = slow.store.submit(super::orders::order(&load, 1_000, 1, None));
    good.write(&mut end, Write::Delete(load.clone())).unwrap();
    slow.until(&mut end, "the load to be gone", |c| !c.objects.contains_key(&load)).unwrap();
    assert_eq!(slow.answers.get(&id), None);
    slow.until(&mut end, "the answer", |c| c.answers.contains_key(&id)).unwrap();
    assert_eq!(slow.answers.get(&id), Some(&Answer::Accepted(None)));
}
