//! The built-in site and its day: what `ampacity demo` runs when nobody names a site.
//!
//! The prices are made up for this demo, after the shape of a summer's day in West Texas: wind at night, a climb in
//! the morning, a spike at noon, scarcity in the evening. The clock is the site's own.

use super::happening::{Happening, Script};
use super::plant::weather::Weather;
use crate::api::check::Schemas;
use crate::api::manifest::{self, ManifestError, Object};
use crate::market::series::Series;
use ampacity_core::units::{Span, Time};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time as Stamp;

/// The built-in site, as a manifest.
pub const SITE: &str = include_str!("day/site.yaml");
/// What people apply in the course of the day.
const REQUESTS: &str = include_str!("day/requests.yaml");

/// Midnight of the day that the manifests are written for: 2026-07-15.
pub const MIDNIGHT: Time = Time::seconds(1_784_073_600);
/// The weather: a summer's day, by the site's own clock.
pub const WEATHER: Weather = Weather { utc_offset_hours: 0.0, ..Weather::TEXAS_SUMMER };

const DAY: Span = Span::minutes(24 * 60);
const QUARTER: Span = Span::minutes(15);
const FIVE_MINUTES: Span = Span::minutes(5);

/// USD/MWh of each quarter of an hour, an hour a line.
#[rustfmt::skip]
const QUARTERS: [i64; 96] = [
       7,    5,    4,    3, // 00:00 wind
       2,    1,   -1,   -2,
      -4,   -6,   -7,   -6,
      -5,   -3,   -2,    1,
       4,    7,    9,   12,
      15,   18,   21,   24,
      28,   33,   38,   42, // 06:00 people get up
      45,   49,   53,   57,
      60,   63,   66,   62,
      55,   48,   40,   34,
      30,   27,   25,   23, // 10:00 sun
      22,   21,   20,   20,
      21,   22,   24,   25,
      26,   28,   30,   33,
      35,   37,   39,   41,
      44,   48,   52,   57,
      63,   70,   77,   84, // 16:00 the sun goes down
      92,  101,  112,  126,
     620,  880, 1430, 1480, // 18:00 scarcity
    1500, 1490, 1460, 1400,
     720,  560,  210,  120,
      88,   70,   60,   52,
      44,   38,   33,   29,
      25,   20,   15,   11,
];
/// One interval of five minutes that is worth no stop: 14:35.
const SPIKE: (Span, i64) = (Span::minutes(14 * 60 + 35), 180);

/// USD per PH/s per day in the morning and from noon on: a jump such as a change of difficulty brings.
const HASHPRICE: (i64, i64) = (45, 54);
const MILLION: i64 = 1_000_000;

/// The midnight before `at`, UTC.
pub fn midnight_of(at: Time) -> Time {
    Time::new(at.get() - at.get().rem_euclid(DAY.get()))
}

/// The site's objects, their terms moved from the day that they are written for to the one that begins at `midnight`.
///
/// # Errors
/// A mistake in this crate: the manifest is part of it.
pub fn site(midnight: Time, schemas: &Schemas) -> Result<Vec<Object>, ManifestError> {
    let mut objects = manifest::read("built-in site", SITE, schemas)?;
    objects.iter_mut().for_each(|object| moved(object, midnight));
    Ok(objects)
}

/// Prices by five minutes from `midnight` until after `until`, each day like the first; millionths of USD/MWh.
pub fn prices(midnight: Time, until: Time) -> Series {
    let mut rows = Vec::new();
    let mut at = midnight;
    while at <= until {
        let into = Span::new(at.since(midnight).get().rem_euclid(DAY.get()));
        let quarter = usize::try_from(into.get() / QUARTER.get()).unwrap_or(0);
        let usual = QUARTERS.get(quarter).copied().unwrap_or_default();
        let price = if into == SPIKE.0 { SPIKE.1 } else { usual };
        rows.push((at, price * MILLION));
        at = at.after(FIVE_MINUTES);
    }
    Series::new(rows)
}

/// Hashprice from `midnight` until after `until`: it jumps once, at the first noon; millionths of USD/PH/day.
pub fn hashprice(midnight: Time, until: Time) -> Series {
    let noon = midnight.after(Span::minutes(12 * 60));
    let mut rows = Vec::new();
    let mut at = midnight;
    while at <= until {
        rows.push((at, MILLION * if at < noon { HASHPRICE.0 } else { HASHPRICE.1 }));
        at = at.after(Span::minutes(60));
    }
    Series::new(rows)
}

/// What happens in the day that begins at `midnight`, from `start` on, in order of time.
///
/// # Errors
/// A mistake in this crate: the manifests are part of it.
pub fn script(midnight: Time, start: Time, schemas: &Schemas) -> Result<Script, ManifestError> {
    let mut requests = manifest::read("built-in day", REQUESTS, schemas)?;
    requests.iter_mut().for_each(|object| moved(object, midnight));
    let mut script: Script = people(requests).into_iter().chain(faults()).collect();
    script.iter_mut().for_each(|(at, _)| *at = midnight.after(at.since(Time::seconds(0))));
    script.sort_by_key(|(at, _)| *at);
    script.retain(|(at, _)| *at >= start);
    // What was applied before the run began is not there: nothing is left to delete.
    let applied: Vec<String> = script.iter().filter_map(|(_, what)| applied(what)).collect();
    script.retain(|(_, what)| !matches!(what, Happening::Delete { name, .. } if !applied.contains(name)));
    Ok(script)
}

/// The name of what is applied.
fn applied(what: &Happening) -> Option<String> {
    match what {
        Happening::Apply(object) => object.meta().name.clone(),
        _ => None,
    }
}

/// So long after midnight.
const fn clock(hour: i64, minute: i64, second: i64) -> Time {
    Time::seconds(hour * 3_600 + minute * 60 + second)
}

/// What tenants, the utility and technicians do, by time since midnight.
fn people(requests: Vec<Object>) -> Script {
    let when = |object: &Object| match object.meta().name.as_deref() {
        Some("finetune") => clock(1, 0, 0),
        Some("sweep") => clock(2, 0, 0),
        Some("line-work") => clock(10, 20, 0),
        Some("reserve") => clock(16, 10, 0),
        _ => clock(13, 5, 0),
    };
    let mut script: Script =
        requests.into_iter().map(|object| (when(&object), Happening::Apply(Box::new(object)))).collect();
    let unlock = Happening::Delete { kind: "Lockout".into(), namespace: None, name: "s19j-1-fan".into() };
    script.push((clock(13, 50, 0), unlock));
    script
}

/// What breaks, by time since midnight.
fn faults() -> Script {
    let minutes = Span::minutes;
    vec![
        // Prices climb, the old machines step down, and one container only says so.
        (clock(7, 10, 0), Happening::Wedge { load: "s19j-0".into(), lasts: minutes(20) }),
        // The walk down to the utility's limit has just begun.
        (clock(10, 26, 20), Happening::KillLeader { back_after: minutes(2) }),
        (clock(15, 10, 0), Happening::KillAgent { load: "s21-0".into(), back_after: Span::seconds(90) }),
        // The evening is over and the containers want to come back, past a meter that says nothing.
        (clock(20, 46, 0), Happening::MeterOut { node: "hall-a".into(), lasts: minutes(10) }),
    ]
}

/// Moves the times of an object from the day that the manifests are written for to the one that begins at `midnight`.
fn moved(object: &mut Object, midnight: Time) {
    let by = jiff::SignedDuration::from_millis(midnight.since(MIDNIGHT).get());
    let shift = |stamp: &mut Stamp| stamp.0 = stamp.0.checked_add(by).unwrap_or(stamp.0);
    match object {
        Object::ComputeLease(lease) => {
            shift(&mut lease.spec.term.start);
            shift(&mut lease.spec.term.end);
        }
        Object::GridEvent(event) => {
            event.spec.start.as_mut().into_iter().chain(event.spec.end.as_mut()).for_each(shift);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{GpuPool, MiningFleet};
    use std::collections::BTreeSet;

    fn schemas() -> Schemas {
        Schemas::new().unwrap()
    }

    /// Fleets and pools of the built-in site.
    fn parts() -> (Vec<MiningFleet>, Vec<GpuPool>, Vec<Object>) {
        let objects = site(MIDNIGHT, &schemas()).unwrap();
        let (mut fleets, mut pools) = (Vec::new(), Vec::new());
        for object in &objects {
            match object {
                Object::MiningFleet(fleet) => fleets.push((**fleet).clone()),
                Object::GpuPool(pool) => pools.push((**pool).clone()),
                _ => {}
            }
        }
        (fleets, pools, objects)
    }

    #[test]
    fn every_name_in_the_script_is_there() {
        let (fleets, _, objects) = parts();
        let loads: BTreeSet<String> = fleets
            .iter()
            .flat_map(|fleet| {
                (0..fleet.spec.containers).map(|at| format!("{}-{at}", fleet.metadata.name.as_ref().unwrap()))
            })
            .collect();
        let named = |kind: &str| -> BTreeSet<&str> {
            objects.iter().filter(|o| o.kind() == kind).filter_map(|o| o.meta().name.as_deref()).collect()
        };
        let Some(Object::PowerBudget(budget)) = objects.iter().find(|o| o.kind() == "PowerBudget") else { panic!() };
        let metered: BTreeSet<&str> =
            budget.spec.feeders.iter().filter(|f| f.meter.is_some()).map(|f| f.name.as_str()).collect();
        let mut seen = (0, 0, 0, 0);
        for (at, what) in script(MIDNIGHT, MIDNIGHT, &schemas()).unwrap() {
            match what {
                Happening::Wedge { load, .. } | Happening::KillAgent { load, .. } => {
                    seen.0 += 1;
                    assert!(loads.contains(&load), "{load} at {at:?}");
                }
                Happening::MeterOut { node, .. } => {
                    seen.1 += 1;
                    assert!(metered.contains(node.as_str()), "{node}");
                }
                Happening::Apply(object) => {
                    seen.2 += 1;
                    match *object {
                        Object::ComputeLease(lease) => {
                            assert!(named("LeaseClass").contains(lease.spec.class_name.as_str()));
                        }
                        Object::GridEvent(event) => {
                            assert!(named("PowerBudget").contains(event.spec.target.budget.as_str()))
                        }
                        Object::Lockout(lockout) => assert!(loads.contains(&lockout.spec.target.load.unwrap())),
                        other => panic!("{other:?}"),
                    }
                }
                Happening::Delete { name, .. } => assert_eq!(name, "s19j-1-fan"),
                Happening::KillLeader { .. } => seen.3 += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen, (2, 1, 5, 1));
    }

    #[test]
    fn a_run_that_begins_in_the_afternoon_deletes_nothing_that_was_never_applied() {
        let at = |hour, minute| MIDNIGHT.after(clock(hour, minute, 0).since(Time::seconds(0)));
        let rest = script(MIDNIGHT, at(13, 30), &schemas()).unwrap();
        let whats: Vec<String> = rest.iter().map(|(_, what)| what.said()).collect();
        assert_eq!(
            whats,
            [
                "fault: the agent of s21-0 dies",
                "event: GridEvent reserve is applied",
                "fault: the meter of hall-a stops"
            ]
        );
    }

    #[test]
    fn everything_at_nameplate_is_more_than_the_site_may_draw_and_everything_at_its_presets_is_less() {
        let (fleets, pools, objects) = parts();
        let Some(Object::PowerBudget(budget)) = objects.iter().find(|o| o.kind() == "PowerBudget") else { panic!() };
        let containers = |watts: &dyn Fn(&MiningFleet) -> i64| -> i64 {
            fleets.iter().map(|f| i64::from(f.spec.containers) * watts(f)).sum()
        };
        let gpus: i64 = pools.iter().map(|p| 12 * p.spec.nameplate().get()).sum();
        let rest = gpus + 160_000 + budget.spec.auxiliary_watts.watts().get();
        let limit = budget.spec.limit_watts.unwrap().watts().get();
        assert!(containers(&|f| f.spec.nameplate().get()) + rest > limit);
        assert!((containers(&|f| f.spec.presets().get()) + rest) * 101 / 100 < limit);
    }

    #[test]
    fn the_day_is_moved_to_whatever_midnight_it_is_run_at() {
        let midnight = MIDNIGHT.before(DAY);
        let objects = site(midnight, &schemas()).unwrap();
        let starts: Vec<String> = objects
            .iter()
            .filter_map(|o| {
                if let Object::ComputeLease(lease) = o { Some(lease.spec.term.start.0.to_string()) } else { None }
            })
            .collect();
        assert_eq!(starts, ["2026-07-14T00:00:00Z"; 3]);
        assert_eq!(midnight_of(MIDNIGHT.after(clock(23, 59, 59).since(Time::seconds(0)))), MIDNIGHT);
        let date = jiff::Timestamp::from_millisecond(MIDNIGHT.get()).unwrap().to_string();
        assert_eq!(date, "2026-07-15T00:00:00Z");
    }

    #[test]
    fn the_spike_lasts_five_minutes_and_the_plateau_is_long_enough_to_be_worth_a_notice() {
        let prices = prices(MIDNIGHT, MIDNIGHT.after(DAY));
        let at = |hour, minute| {
            prices.at(MIDNIGHT.after(clock(hour, minute, 0).since(Time::seconds(0)))).unwrap().value / MILLION
        };
        assert_eq!([at(14, 34), at(14, 35), at(14, 39), at(14, 40)], [39, 180, 180, 39]);
        // Rent and credit over the 500 W that a stop frees, and the stop spread over a quarter of an hour.
        let (_, _, objects) = parts();
        let class = objects.iter().find_map(|o| match o {
            Object::LeaseClass(class) if class.spec.curtailable.is_some() => Some(class.spec.clone()),
            _ => None,
        });
        let class = class.unwrap();
        let rent = class.price_per_gpu_hour.unwrap().get() + class.credit_per_gpu_hour.get();
        let (value, stop) = (rent * 2_000 / MILLION, class.stop_cost_usd.get() * 8_000 / MILLION);
        assert_eq!((value, stop), (940, 160));
        let scarce = QUARTERS.iter().filter(|price| **price > value + stop).count();
        assert_eq!(scarce, 6);
        let hash = hashprice(MIDNIGHT, MIDNIGHT.after(DAY));
        let worth = |hour| hash.at(MIDNIGHT.after(clock(hour, 0, 0).since(Time::seconds(0)))).unwrap().value / MILLION;
        assert_eq!([worth(0), worth(11), worth(12), worth(23)], [45, 45, 54, 54]);
    }
}
