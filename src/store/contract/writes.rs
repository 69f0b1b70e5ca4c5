//! A bad line: writes that are lost, late or unanswered, gaps in a watch, a queue that is full.

use super::objects::{as_put, put_node};
use super::orders::{create, order};
use super::{ANSWERED_WITHIN, Case, Client, End, Fault, Line, Outcome, same};
use crate::store::{Answer, Key, Kind, Object, Refusal, UNDER_WAY_MAX, Write};
use ampacity_core::units::Span;
use std::sync::Arc;

pub(super) const CASES: &[Case] = &[
    Case { name: "a write that was lost is unknown, and never lands", run: lost },
    Case { name: "a write whose answer was lost is unknown, and has landed", run: unanswered },
    Case { name: "a node whose closing was lost stays open; one whose answer was lost is closed", run: cordon },
    Case { name: "a write that comes late is fenced off by what landed before it", run: late },
    Case { name: "a watch with a gap shows what it missed, and what is gone", run: gap },
    Case { name: "a full queue refuses at once, and every write is answered", run: full },
];

/// A client on each line, and a load that both see.
fn pair(end: &mut dyn End, name: &str) -> Result<(Client, Client, Key), String> {
    let mut good = Client::connect(end, Line::Good)?;
    let mut faulty = Client::connect(end, Line::Faulty)?;
    let load = create(end, &mut good, name)?;
    faulty.until(end, "the load", |c| c.objects.contains_key(&load))?;
    // From here on the line stands: what is sent next needs no handshake first.
    faulty.accepted(end, order(&load, 1_000, 1, Some(900_000)))?;
    // And both watches have shown it: what is not shown later was not on its way already.
    reaches(end, &mut good, &load, 1)?;
    reaches(end, &mut faulty, &load, 1)?;
    Ok((good, faulty, load))
}

fn sequence(client: &Client, load: &Key) -> Option<i64> {
    client.objects.get(load).and_then(Object::load).map(|load| load.spec.order.sequence)
}

fn reaches(end: &mut dyn End, client: &mut Client, load: &Key, wanted: i64) -> Outcome {
    client.until(end, &format!("sequence {wanted}"), |c| sequence(c, load) == Some(wanted))
}

/// Watches until whatever was held back has landed; the sequence must stay.
fn stays(end: &mut dyn End, client: &mut Client, load: &Key, wanted: i64) -> Outcome {
    let mut left = end.late();
    while left > Span::ZERO {
        end.pass(Span::new(250));
        left -= Span::new(250);
        client.take();
        same(&sequence(client, load), &Some(wanted))?;
    }
    Ok(())
}

fn lost(end: &mut dyn End) -> Outcome {
    let (mut good, mut faulty, load) = pair(end, "lost")?;
    end.fault(Fault::Cut);
    same(&faulty.write(end, order(&load, 1_000, 2, Some(800_000)))?, &Answer::Unknown)?;
    end.fault(Fault::None);
    reaches(end, &mut good, &load, 1)?;
    stays(end, &mut good, &load, 1)?;
    // The line works again, in both directions.
    faulty.accepted(end, order(&load, 1_000, 3, Some(700_000)))?;
    reaches(end, &mut faulty, &load, 3)
}

fn unanswered(end: &mut dyn End) -> Outcome {
    let (mut good, mut faulty, load) = pair(end, "unanswered")?;
    end.fault(Fault::LoseAnswers);
    same(&faulty.write(end, order(&load, 1_000, 2, Some(800_000)))?, &Answer::Unknown)?;
    reaches(end, &mut good, &load, 2)?;
    same(&sequence(&faulty, &load), &Some(1))?;
    end.fault(Fault::None);
    reaches(end, &mut faulty, &load, 2)
}

fn cordon(end: &mut dyn End) -> Outcome {
    let (mut good, mut faulty, _) = pair(end, "cordon")?;
    let (key, facts) = put_node(end, &mut good, "cordon")?;
    faulty.until(end, "the node", |c| c.objects.contains_key(&key))?;
    let write = |on| Write::Cordon { node: key.clone(), on };
    let closed = |c: &Client| match c.objects.get(&key) {
        Some(Object::Node(node)) => (node.unschedulable, node.locked_out),
        _ => (false, false),
    };
    end.fault(Fault::Cut);
    same(&faulty.write(end, write(true))?, &Answer::Unknown)?;
    end.fault(Fault::None);
    let mut left = end.late();
    while left > Span::ZERO {
        end.pass(Span::new(250));
        left -= Span::new(250);
        good.take();
        same(&closed(&good), &(false, false))?;
    }
    faulty.accepted(end, write(false))?;
    end.fault(Fault::LoseAnswers);
    same(&faulty.write(end, write(true))?, &Answer::Unknown)?;
    good.until(end, "the node to be shown as closed", |c| closed(c) == (true, true))?;
    end.fault(Fault::None);
    faulty.until(end, "the node to be shown as closed", |c| closed(c) == (true, true))?;
    // Said again, as one says again what was lost.
    let open = Object::Node(Arc::new(facts));
    same(&as_put(&faulty.accepted(end, write(false))?), &open)?;
    end.delete(&key)
}

fn late(end: &mut dyn End) -> Outcome {
    let (mut good, mut faulty, load) = pair(end, "late")?;
    end.fault(Fault::Hold);
    same(&faulty.write(end, order(&load, 1_000, 2, Some(800_000)))?, &Answer::Unknown)?;
    good.accepted(end, order(&load, 1_000, 5, Some(100_000)))?;
    reaches(end, &mut good, &load, 5)?;
    end.fault(Fault::None);
    stays(end, &mut good, &load, 5)?;
    reaches(end, &mut faulty, &load, 5)
}

fn gap(end: &mut dyn End) -> Outcome {
    let (mut good, mut faulty, changed) = pair(end, "gap-changed")?;
    let deleted = create(end, &mut good, "gap-deleted")?;
    faulty.until(end, "both loads", |c| c.objects.contains_key(&deleted))?;
    end.fault(Fault::Cut);
    good.accepted(end, order(&changed, 1_000, 7, Some(1)))?;
    same(&good.write(end, Write::Delete(deleted.clone()))?, &Answer::Accepted(None))?;
    let born = create(end, &mut good, "gap-born")?;
    end.pass(Span::seconds(1));
    faulty.take();
    same(&(sequence(&faulty, &changed), faulty.objects.contains_key(&born)), &(Some(1), false))?;
    end.fault(Fault::None);
    faulty.until(end, "what was missed", |c| {
        sequence(c, &changed) == Some(7) && c.objects.contains_key(&born) && !c.objects.contains_key(&deleted)
    })
}

fn full(end: &mut dyn End) -> Outcome {
    let mut client = Client::connect(end, Line::Faulty)?;
    end.fault(Fault::Hold);
    let here = end.namespace();
    let missing = |n: usize| Key::namespaced(Kind::ControllableLoad, &here, &format!("missing-{n}"));
    let ids: Vec<_> = (0..UNDER_WAY_MAX).map(|n| client.store.submit(order(&missing(n), 1_000, 1, None))).collect();
    let over = client.store.submit(order(&missing(0), 1_000, 2, None));
    client.take();
    same(&client.answers.remove(&over), &Some(Answer::Refused(Refusal::Busy)))?;
    let answered = |c: &Client| ids.iter().all(|id| c.answers.contains_key(id));
    client.until_within(end, ANSWERED_WITHIN, "every answer", answered)?;
    end.fault(Fault::None);
    let none = client.answers.values().filter(|a| matches!(a, Answer::Accepted(_))).count();
    same(&none, &0)?;
    client.until(end, "room in the queue", |_| true)?;
    let answer = client.write(end, order(&missing(0), 1_000, 3, None))?;
    same(&matches!(answer, Answer::Refused(Refusal::NotFound) | Answer::Unknown), &true)
}
