//! Loads: their birth, the order's fence, an agent's statements.

use super::{Case, Client, End, Line, Outcome, conflict, same};
use crate::api::controllable_load::{EPOCH_LEAP, Holder, LoadOwner, Order as ApiOrder, PROTOCOL, SEQUENCE_LEAP};
use crate::api::{ControllableLoad, ControllableLoadSpec, ControllableLoadStatus, LoadKind, WholeWatts};
use crate::store::{Key, Kind, Object, Refusal, Write, api_time};
use ampacity_core::guard::{KnownLimit, Order};
use ampacity_core::units::{Time, Watts};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::sync::Arc;

pub(super) const CASES: &[Case] = &[
    Case { name: "a load is born once, and its watch shows it", run: born },
    Case { name: "an order rises with every change, and the same order again changes nothing", run: rises },
    Case { name: "an order never leaps", run: leaps },
    Case { name: "a claim is sequence 0, raises nothing and may leave the setpoint as it stands", run: claims },
    Case { name: "an order is never above the nameplate", run: nameplate },
    Case { name: "an order carries fallback and schedule, or leaves them as they stand", run: carries },
    Case { name: "a ceiling rises only under the order that stands", run: ceiling },
    Case { name: "a statement replaces the whole status and nothing of the spec", run: replaces },
    Case { name: "a holder takes a load by its revision, and voids the ceiling", run: holder },
    Case { name: "orders on one load land in the order in which they were handed over", run: in_order },
];

pub(super) const NAMEPLATE: i64 = 1_000_000;
const EPOCH: u64 = 1_000;

/// A load at its birth.
pub(super) fn load(end: &dyn End, name: &str) -> ControllableLoad {
    let metadata = ObjectMeta {
        name: Some(name.into()),
        namespace: Some(end.namespace()),
        labels: Some([(crate::api::LOAD_LABEL.to_owned(), name.to_owned())].into()),
        ..ObjectMeta::default()
    };
    let spec = ControllableLoadSpec {
        protocol: PROTOCOL,
        budget: "west".into(),
        feeder: "hall-a".into(),
        kind: LoadKind::Miner,
        owner: LoadOwner { fleet: Some("alike".into()), index: Some(0), pool: None, node: None },
        nameplate_watts: WholeWatts(NAMEPLATE),
        setpoint_watts: WholeWatts(NAMEPLATE),
        fallback_watts: WholeWatts(100_000),
        order: ApiOrder { epoch: EPOCH as i64, sequence: 0 },
        schedule: Vec::new(),
    };
    ControllableLoad { metadata, spec, status: None }
}

pub(super) fn create(end: &mut dyn End, client: &mut Client, name: &str) -> Result<Key, String> {
    let load = load(end, name);
    Ok(client.accepted(end, Write::CreateLoad(Box::new(load)))?.key())
}

pub(super) fn order(load: &Key, epoch: u64, sequence: u64, setpoint: Option<i64>) -> Write {
    Write::Order {
        load: load.clone(),
        order: Order { epoch, sequence },
        setpoint: setpoint.map(Watts::new),
        fallback: None,
        schedule: None,
    }
}

fn statement(sequence: i64, ceiling: Option<i64>, holder: &str) -> ControllableLoadStatus {
    ControllableLoadStatus {
        ceiling_watts: ceiling.map(WholeWatts),
        order: Some(ApiOrder { epoch: EPOCH as i64, sequence }),
        protocol: Some(PROTOCOL),
        holder: Some(Holder { uid: holder.into(), pod: "agent".into(), since: api_time(Time::seconds(1)) }),
        boot_id: Some("boot".into()),
        read_back_time: Some(api_time(Time::seconds(2))),
        proof_expires: Some(api_time(Time::seconds(3))),
        ..ControllableLoadStatus::default()
    }
}

fn state(load: &Key, status: &ControllableLoadStatus, revision: Option<&str>) -> Write {
    Write::State { load: load.clone(), status: Box::new(status.clone()), revision: revision.map(Into::into) }
}

fn loaded(object: &Object) -> Result<&Arc<ControllableLoad>, String> {
    object.load().ok_or_else(|| format!("a load was expected, not {object:?}"))
}

fn born(end: &mut dyn End) -> Outcome {
    let mut client = Client::connect(end, Line::Good)?;
    let wanted = load(end, "born");
    let made = client.accepted(end, Write::CreateLoad(Box::new(wanted.clone())))?;
    same(&loaded(&made)?.spec, &wanted.spec)?;
    same(&loaded(&made)?.metadata.labels, &wanted.metadata.labels)?;
    if made.uid().is_empty() || made.revision().is_empty() {
        return Err(format!("a UID and a revision were expected on {made:?}"));
    }
    client.shows(end, &made)?;
    same(&client.refused(end, Write::CreateLoad(Box::new(wanted)))?, &Refusal::Exists)
}

const RISE: &str = "order must rise with every change: a later epoch, or a higher sequence of the same epoch";

fn rises(end: &mut dyn End) -> Outcome {
    let mut client = Client::connect(end, Line::Good)?;
    let load = create(end, &mut client, "rises")?;
    let made = client.accepted(end, order(&load, EPOCH, 2, Some(500_000)))?;
    same(&loaded(&made)?.spec.order, &ApiOrder { epoch: EPOCH as i64, sequence: 2 })?;
    same(&loaded(&made)?.spec.setpoint_watts, &WholeWatts(500_000))?;
    client.shows(end, &made)?;
    client.invalid(end, order(&load, EPOCH, 2, Some(400_000)), RISE)?;
    client.invalid(end, order(&load, EPOCH, 1, Some(400_000)), RISE)?;
    client.invalid(end, order(&load, EPOCH - 1, 0, Some(400_000)), RISE)?;
    let again = client.accepted(end, order(&load, EPOCH, 2, Some(500_000)))?;
    same(&again, &made)?;
    let missing = Key::namespaced(Kind::ControllableLoad, &end.namespace(), "missing");
    same(&client.refused(end, order(&missing, EPOCH, 1, None))?, &Refusal::NotFound)
}

fn leaps(end: &mut dyn End) -> Outcome {
    let mut client = Client::connect(end, Line::Good)?;
    let load = create(end, &mut client, "leaps")?;
    let (epoch, sequence) = (EPOCH_LEAP.unsigned_abs(), SEQUENCE_LEAP.unsigned_abs());
    client.invalid(end, order(&load, EPOCH + epoch + 1, 0, None), "order.epoch leaps")?;
    client.invalid(end, order(&load, EPOCH, sequence + 1, None), "order.sequence leaps")?;
    client.accepted(end, order(&load, EPOCH, sequence, None))?;
    client.accepted(end, order(&load, EPOCH + epoch, 0, None))?;
    Ok(())
}

fn claims(end: &mut dyn End) -> Outcome {
    const CLAIM: &str = "the first order of an epoch is a claim";
    let mut client = Client::connect(end, Line::Good)?;
    let load = create(end, &mut client, "claims")?;
    client.accepted(end, order(&load, EPOCH, 1, Some(300_000)))?;
    client.invalid(end, order(&load, EPOCH + 1, 1, Some(300_000)), CLAIM)?;
    client.invalid(end, order(&load, EPOCH + 1, 0, Some(300_001)), CLAIM)?;
    let claimed = client.accepted(end, order(&load, EPOCH + 1, 0, None))?;
    same(&loaded(&claimed)?.spec.setpoint_watts, &WholeWatts(300_000))?;
    let lowered = client.accepted(end, order(&load, EPOCH + 2, 0, Some(200_000)))?;
    same(&loaded(&lowered)?.spec.setpoint_watts, &WholeWatts(200_000))?;
    // The leader before is fenced off from now on.
    client.invalid(end, order(&load, EPOCH + 1, 1, Some(300_000)), RISE)
}

fn nameplate(end: &mut dyn End) -> Outcome {
    const ABOVE: &str = "setpointWatts must not be above nameplateWatts";
    let mut client = Client::connect(end, Line::Good)?;
    let key = create(end, &mut client, "nameplate")?;
    client.invalid(end, order(&key, EPOCH, 1, Some(NAMEPLATE + 1)), ABOVE)?;
    let mut above = load(end, "nameplate-2");
    above.spec.setpoint_watts = WholeWatts(NAMEPLATE + 1);
    client.invalid(end, Write::CreateLoad(Box::new(above)), ABOVE)
}

fn carries(end: &mut dyn End) -> Outcome {
    let mut client = Client::connect(end, Line::Good)?;
    let load = create(end, &mut client, "carries")?;
    let limit = |from| KnownLimit { from: Time::seconds(from), until: Time::MAX, limit: Watts::new(7) };
    let with = |sequence, fallback: Option<i64>, schedule| Write::Order {
        load: load.clone(),
        order: Order { epoch: EPOCH, sequence },
        setpoint: None,
        fallback: fallback.map(Watts::new),
        schedule,
    };
    let first = client.accepted(end, with(1, Some(50_000), Some(vec![limit(10), limit(20)])))?;
    let spec = &loaded(&first)?.spec;
    same(&(spec.fallback_watts, spec.schedule.len()), &(WholeWatts(50_000), 2))?;
    same(&spec.schedule.first().map(|l| l.to.is_none()), &Some(true))?;
    let left = client.accepted(end, with(2, None, None))?;
    same(&loaded(&left)?.spec.schedule, &spec.schedule)?;
    let cleared = client.accepted(end, with(3, None, Some(Vec::new())))?;
    let cleared = &loaded(&cleared)?.spec;
    same(&(cleared.fallback_watts, cleared.schedule.len()), &(WholeWatts(50_000), 0))
}

fn ceiling(end: &mut dyn End) -> Outcome {
    const STATED: &str =
        "status.ceilingWatts may rise, or be stated under another epoch, only while status.order equals";
    let mut client = Client::connect(end, Line::Good)?;
    let load = create(end, &mut client, "ceiling")?;
    let first = statement(0, Some(NAMEPLATE), "a1");
    let stands = client.accepted(end, state(&load, &first, None))?;
    same(&loaded(&stands)?.status, &Some(first))?;
    client.shows(end, &stands)?;
    client.accepted(end, order(&load, EPOCH, 1, Some(400_000)))?;
    // The order that was answered is not the one that stands: what falls is taken, what rises is not.
    client.accepted(end, state(&load, &statement(0, Some(500_000), "a1"), None))?;
    client.invalid(end, state(&load, &statement(0, Some(500_001), "a1"), None), STATED)?;
    client.accepted(end, state(&load, &statement(1, Some(400_000), "a1"), None))?;
    client.accepted(end, order(&load, EPOCH, 2, Some(600_000)))?;
    client.invalid(end, state(&load, &statement(1, Some(600_000), "a1"), None), STATED)?;
    client.accepted(end, state(&load, &statement(2, Some(600_000), "a1"), None))?;
    Ok(())
}

fn replaces(end: &mut dyn End) -> Outcome {
    let mut client = Client::connect(end, Line::Good)?;
    let load = create(end, &mut client, "replaces")?;
    let mut full = statement(0, Some(NAMEPLATE), "a1");
    full.measured_watts = Some(WholeWatts(7));
    let before = client.accepted(end, state(&load, &full, None))?;
    let empty = ControllableLoadStatus { boot_id: Some("other".into()), ..ControllableLoadStatus::default() };
    let after = client.accepted(end, state(&load, &empty, None))?;
    same(&loaded(&after)?.status, &Some(empty))?;
    same(&loaded(&after)?.spec, &loaded(&before)?.spec)?;
    same(&loaded(&after)?.metadata.generation, &loaded(&before)?.metadata.generation)
}

fn holder(end: &mut dyn End) -> Outcome {
    const VOID: &str = "status.ceilingWatts is void under a new holder";
    let mut client = Client::connect(end, Line::Good)?;
    let load = create(end, &mut client, "holder")?;
    client.accepted(end, order(&load, EPOCH, 1, Some(400_000)))?;
    let held = client.accepted(end, state(&load, &statement(1, Some(NAMEPLATE), "a1"), None))?;
    let lower = client.accepted(end, state(&load, &statement(1, Some(400_000), "a1"), None))?;
    client.invalid(end, state(&load, &statement(1, Some(400_000), "b2"), None), VOID)?;
    let taken = statement(1, None, "b2");
    conflict(&client.refused(end, state(&load, &taken, Some(held.revision())))?)?;
    let swapped = client.accepted(end, state(&load, &taken, Some(lower.revision())))?;
    same(&loaded(&swapped)?.status, &Some(taken))?;
    // The one before comes late with the revision that it knew.
    conflict(&client.refused(end, state(&load, &statement(1, Some(400_000), "a1"), Some(lower.revision())))?)
}

fn in_order(end: &mut dyn End) -> Outcome {
    const ORDERS: u64 = 40;
    let mut client = Client::connect(end, Line::Good)?;
    let load = create(end, &mut client, "in-order")?;
    let ids: Vec<_> = (1..=ORDERS).map(|n| client.store.submit(order(&load, EPOCH, n, None))).collect();
    client.until(end, "all answers", |c| ids.iter().all(|id| c.answers.contains_key(id)))?;
    let refused: Vec<_> =
        client.answers.values().filter(|a| !matches!(a, crate::store::Answer::Accepted(Some(_)))).collect();
    same(&refused, &Vec::new())?;
    let last = (EPOCH as i64, ORDERS as i64);
    client.until(end, "the last order", |c| c.orders.last() == Some(&(load.clone(), last)))?;
    let shown: Vec<_> = client.orders.iter().filter(|(key, _)| *key == load).map(|(_, order)| *order).collect();
    same(&shown.is_sorted(), &true)
}
