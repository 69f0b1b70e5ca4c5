//! Between the port's messages and those on the wire.

use super::wire;
use crate::link::{Devices, Report, Shout};
use ampacity_core::guard::{HolderId, KnownLimit, Order};
use ampacity_core::units::{Time, Watts};
use std::sync::Arc;

/// Of a note so many characters are kept.
const NOTE_MOST: usize = 256;
/// Limits of one schedule, as many as an order carries.
const LIMITS_MOST: usize = 8;

const fn order(order: Order) -> wire::Order {
    wire::Order { epoch: order.epoch, sequence: order.sequence }
}

fn read_order(order: Option<wire::Order>) -> Order {
    order.map_or_else(Order::default, |order| Order { epoch: order.epoch, sequence: order.sequence })
}

/// A report without whom it is of: that is the stream's.
pub(super) fn report(report: &Report) -> wire::Up {
    let report = wire::Report {
        order: Some(order(report.order)),
        ceiling_watts: report.ceiling.map(Watts::get),
        proof_expires_milliseconds: report.proof_expires.get(),
        measured_watts: report.measured.map(Watts::get),
        error_watts: report.error.get(),
        sampled_milliseconds: report.sampled.get(),
        devices: report.devices.total,
        devices_proved: report.devices.proved,
        devices_silent: report.devices.silent,
        devices_contradicting: report.devices.contradicting,
        devices_idle: report.devices.idle,
        unused_watts: report.unused.get(),
        wants_more: report.wants_more,
        note: report.note.chars().take(NOTE_MOST).collect(),
    };
    wire::Up { kind: Some(wire::up::Kind::Report(report)) }
}

/// A report of this load's agent. None: it says what cannot be, watts below zero.
pub(super) fn read_report(load: &Arc<str>, holder: HolderId, report: wire::Report) -> Option<Report> {
    let watts = [
        report.ceiling_watts.unwrap_or(0),
        report.measured_watts.unwrap_or(0),
        report.error_watts,
        report.unused_watts,
    ];
    watts.iter().all(|watts| *watts >= 0).then(|| Report {
        load: load.clone(),
        holder,
        order: read_order(report.order),
        ceiling: report.ceiling_watts.map(Watts::new),
        proof_expires: Time::new(report.proof_expires_milliseconds),
        measured: report.measured_watts.map(Watts::new),
        error: Watts::new(report.error_watts),
        sampled: Time::new(report.sampled_milliseconds),
        unused: Watts::new(report.unused_watts),
        devices: Devices {
            total: report.devices,
            proved: report.devices_proved,
            silent: report.devices_silent,
            contradicting: report.devices_contradicting,
            idle: report.devices_idle,
        },
        wants_more: report.wants_more,
        note: report.note.chars().take(NOTE_MOST).collect(),
    })
}

/// A shout.
pub(super) fn shout(shout: &Shout) -> wire::Down {
    let kind = match shout {
        Shout::Shed { order: at, setpoint } => {
            wire::down::Kind::Shed(wire::Shed { order: Some(order(*at)), setpoint_watts: setpoint.get() })
        }
        Shout::Schedule { order: at, limits } => {
            let limit = |limit: &KnownLimit| wire::KnownLimit {
                from_milliseconds: limit.from.get(),
                until_milliseconds: limit.until.get(),
                limit_watts: limit.limit.get(),
            };
            let limits = limits.iter().take(LIMITS_MOST).map(limit).collect();
            wire::down::Kind::Schedule(wire::Schedule { order: Some(order(*at)), limits })
        }
    };
    wire::Down { kind: Some(kind) }
}

/// A shout; none: it is something else. Watts below zero are none at all: the least that can be obeyed.
pub(super) fn read_shout(down: wire::Down) -> Option<Shout> {
    let watts = |watts: i64| Watts::new(watts.max(0));
    match down.kind? {
        wire::down::Kind::Shed(shed) => {
            Some(Shout::Shed { order: read_order(shed.order), setpoint: watts(shed.setpoint_watts) })
        }
        wire::down::Kind::Schedule(schedule) => {
            let limit = |limit: wire::KnownLimit| KnownLimit {
                from: Time::new(limit.from_milliseconds),
                until: Time::new(limit.until_milliseconds),
                limit: watts(limit.limit_watts),
            };
            let limits = schedule.limits.into_iter().take(LIMITS_MOST).map(limit).collect();
            Some(Shout::Schedule { order: read_order(schedule.order), limits })
        }
        wire::down::Kind::Welcome(_) | wire::down::Kind::Received(_) => None,
    }
}
