//! What every object has: a key, metadata, a revision.

use super::{Key, Kind, Object};
use crate::api::controllable_load::ScheduledLimit;
use crate::api::manifest::Object as Manifest;
use crate::api::{ControllableLoad, WholeWatts};
use ampacity_core::guard::{KnownLimit, Order};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use std::sync::Arc;

/// Runs the same expression on the inner value of each of the eight kinds, another on each of the other kinds.
macro_rules! by_kind {
    ($object:expr, $own:ident => $for_own:expr, $other:ident => $for_other:expr) => {
        match $object {
            Object::PowerBudget($own) => $for_own,
            Object::MiningFleet($own) => $for_own,
            Object::GpuPool($own) => $for_own,
            Object::LeaseClass($own) => $for_own,
            Object::ComputeLease($own) => $for_own,
            Object::GridEvent($own) => $for_own,
            Object::Lockout($own) => $for_own,
            Object::ControllableLoad($own) => $for_own,
            Object::Job($other) => $for_other,
            Object::Pod($other) => $for_other,
            Object::Node($other) => $for_other,
            Object::Leadership($other) => $for_other,
        }
    };
}

impl From<Manifest> for Object {
    fn from(manifest: Manifest) -> Self {
        match manifest {
            Manifest::PowerBudget(own) => Self::PowerBudget(Arc::from(own)),
            Manifest::MiningFleet(own) => Self::MiningFleet(Arc::from(own)),
            Manifest::GpuPool(own) => Self::GpuPool(Arc::from(own)),
            Manifest::LeaseClass(own) => Self::LeaseClass(Arc::from(own)),
            Manifest::ComputeLease(own) => Self::ComputeLease(Arc::from(own)),
            Manifest::GridEvent(own) => Self::GridEvent(Arc::from(own)),
            Manifest::Lockout(own) => Self::Lockout(Arc::from(own)),
            Manifest::ControllableLoad(own) => Self::ControllableLoad(Arc::from(own)),
        }
    }
}

impl Object {
    /// What sort it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::PowerBudget(_) => Kind::PowerBudget,
            Self::MiningFleet(_) => Kind::MiningFleet,
            Self::GpuPool(_) => Kind::GpuPool,
            Self::LeaseClass(_) => Kind::LeaseClass,
            Self::ComputeLease(_) => Kind::ComputeLease,
            Self::GridEvent(_) => Kind::GridEvent,
            Self::Lockout(_) => Kind::Lockout,
            Self::ControllableLoad(_) => Kind::ControllableLoad,
            Self::Job(_) => Kind::Job,
            Self::Pod(_) => Kind::Pod,
            Self::Node(_) => Kind::Node,
            Self::Leadership(_) => Kind::Leadership,
        }
    }

    /// Which object it is.
    pub fn key(&self) -> Key {
        let (namespace, name) = match self {
            Self::Job(job) => (Some(job.namespace.as_str()), job.name.as_str()),
            Self::Pod(pod) => (Some(pod.namespace.as_str()), pod.name.as_str()),
            Self::Node(node) => (None, node.name.as_str()),
            Self::Leadership(_) => (None, super::LEADERSHIP_NAME),
            own => {
                let meta = own.meta();
                let namespace = meta.and_then(|m| m.namespace.as_deref());
                (namespace, meta.and_then(|m| m.name.as_deref()).unwrap_or_default())
            }
        };
        Key { kind: self.kind(), namespace: namespace.map(Into::into), name: name.into() }
    }

    /// The metadata of one of the eight kinds.
    pub fn meta(&self) -> Option<&ObjectMeta> {
        by_kind!(self, own => Some(&own.metadata), other => { let _ = other; None })
    }

    /// The same, to be changed; the object is copied first where it is shared.
    pub fn meta_mut(&mut self) -> Option<&mut ObjectMeta> {
        by_kind!(self, own => Some(&mut Arc::make_mut(own).metadata), other => { let _ = other; None })
    }

    /// One of the eight kinds as the API server hands it out; of the others only facts are kept.
    pub fn shown(&self) -> Option<Value> {
        by_kind!(self, own => serde_json::to_value(own.as_ref()).ok(), other => { let _ = other; None })
    }

    /// The resource version; empty where a kind's facts carry none.
    pub fn revision(&self) -> &str {
        match self {
            Self::Job(job) => &job.revision,
            Self::Pod(pod) => &pod.revision,
            Self::Leadership(facts) => &facts.revision,
            own => own.meta().and_then(|m| m.resource_version.as_deref()).unwrap_or_default(),
        }
    }

    /// Whether this form of an object is newer than that one. Revisions are etcd's: they compare as numbers. Never so
    /// across a restored backup, which has every watch begin anew.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        let number = |object: &Self| object.revision().parse::<u64>().ok();
        number(self).zip(number(other)).is_some_and(|(own, other)| own > other)
    }

    /// The UID; empty where a kind's facts carry none.
    pub fn uid(&self) -> &str {
        match self {
            Self::Job(job) => &job.uid,
            Self::Pod(pod) => &pod.uid,
            own => own.meta().and_then(|m| m.uid.as_deref()).unwrap_or_default(),
        }
    }

    /// Whether another form of this object differs from it in nothing that people write: in its status, and in what
    /// the server counts, alone. Never so for the kinds of others, whose facts mix both.
    pub fn differs_in_status(&self, other: &Self) -> bool {
        let same = |was: &ObjectMeta, now: &ObjectMeta| {
            let (resource_version, managed_fields) = (now.resource_version.clone(), now.managed_fields.clone());
            ObjectMeta { resource_version, managed_fields, ..was.clone() } == *now
        };
        macro_rules! same_but_status {
            ($($kind:ident),*) => {
                match (self, other) {
                    $((Self::$kind(was), Self::$kind(now)) => was.spec == now.spec && same(&was.metadata, &now.metadata),)*
                    _ => false,
                }
            };
        }
        same_but_status!(
            PowerBudget,
            MiningFleet,
            GpuPool,
            LeaseClass,
            ComputeLease,
            GridEvent,
            Lockout,
            ControllableLoad
        )
    }

    /// The load, where it is one.
    pub const fn load(&self) -> Option<&Arc<ControllableLoad>> {
        match self {
            Self::ControllableLoad(load) => Some(load),
            _ => None,
        }
    }
}

/// The core's order of an API order. Negative numbers, which the schema refuses, count as 0: below everything.
pub fn order(order: crate::api::controllable_load::Order) -> Order {
    Order { epoch: u64::try_from(order.epoch).unwrap_or(0), sequence: u64::try_from(order.sequence).unwrap_or(0) }
}

/// The API's order of a core order. What does not fit is far beyond what the schema takes, and is refused there.
pub fn api_order(order: Order) -> crate::api::controllable_load::Order {
    crate::api::controllable_load::Order {
        epoch: i64::try_from(order.epoch).unwrap_or(i64::MAX),
        sequence: i64::try_from(order.sequence).unwrap_or(i64::MAX),
    }
}

/// The core's time of an API time.
pub fn time(at: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time) -> ampacity_core::units::Time {
    ampacity_core::units::Time::new(at.0.as_millisecond())
}

/// The API's time of a core time; the nearest that can be written.
pub fn api_time(at: ampacity_core::units::Time) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    let edge = if at.get() < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::from_millisecond(at.get()).unwrap_or(edge))
}

/// The API's form of a limit that is known to be coming; one without end has no `to`.
pub(super) fn api_limit(limit: &KnownLimit) -> ScheduledLimit {
    ScheduledLimit {
        from: api_time(limit.from),
        to: (limit.until < ampacity_core::units::Time::MAX).then(|| api_time(limit.until)),
        limit_watts: WholeWatts(limit.limit.get()),
    }
}
