//! Reads manifests strictly: what is wrong is said with file, line and column.

use super::check::{Fault, Schemas};
use super::{ComputeLease, ControllableLoad, GpuPool, GridEvent, LeaseClass, Lockout, MiningFleet, PowerBudget};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// One object of any kind.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each variant is the kind of its name")]
pub enum Object {
    PowerBudget(Box<PowerBudget>),
    MiningFleet(Box<MiningFleet>),
    GpuPool(Box<GpuPool>),
    LeaseClass(Box<LeaseClass>),
    ComputeLease(Box<ComputeLease>),
    GridEvent(Box<GridEvent>),
    Lockout(Box<Lockout>),
    ControllableLoad(Box<ControllableLoad>),
}

impl Object {
    /// Reads a value that was checked.
    ///
    /// # Errors
    /// A kind that is none of ours, or a value that its types refuse.
    pub fn from_value(value: Value) -> Result<Self, serde_json::Error> {
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default().to_string();
        Ok(match kind.as_str() {
            "PowerBudget" => Self::PowerBudget(serde_json::from_value(value)?),
            "MiningFleet" => Self::MiningFleet(serde_json::from_value(value)?),
            "GpuPool" => Self::GpuPool(serde_json::from_value(value)?),
            "LeaseClass" => Self::LeaseClass(serde_json::from_value(value)?),
            "ComputeLease" => Self::ComputeLease(serde_json::from_value(value)?),
            "GridEvent" => Self::GridEvent(serde_json::from_value(value)?),
            "Lockout" => Self::Lockout(serde_json::from_value(value)?),
            "ControllableLoad" => Self::ControllableLoad(serde_json::from_value(value)?),
            other => return Err(serde_json::Error::custom(format!("{other:?} is no kind of {}", super::GROUP))),
        })
    }
}

/// Calls one expression with whichever object is inside.
macro_rules! inside {
    ($object:expr, $kind:ident => $what:expr) => {
        match $object {
            Object::PowerBudget($kind) => $what,
            Object::MiningFleet($kind) => $what,
            Object::GpuPool($kind) => $what,
            Object::LeaseClass($kind) => $what,
            Object::ComputeLease($kind) => $what,
            Object::GridEvent($kind) => $what,
            Object::Lockout($kind) => $what,
            Object::ControllableLoad($kind) => $what,
        }
    };
}

impl Object {
    /// The name, namespace, labels and all else that every object has.
    pub fn meta(&self) -> &ObjectMeta {
        inside!(self, object => object.meta())
    }

    /// Its kind, as a manifest writes it.
    pub fn kind(&self) -> std::borrow::Cow<'static, str> {
        fn kind<K: Resource<DynamicType = ()>>(_: &K) -> std::borrow::Cow<'static, str> {
            K::kind(&())
        }
        inside!(self, object => kind(&**object))
    }
}

/// What is wrong with a manifest, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct ManifestError {
    /// The file, as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// The field, what is wrong, and what would be right.
    pub message: String,
}

/// Reads every object of a YAML stream, checked against the schemas and their rules, defaults filled in.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn read(file: &str, text: &str, schemas: &Schemas) -> Result<Vec<Object>, ManifestError> {
    let mut objects = Vec::new();
    for (index, value) in values(file, text)?.into_iter().enumerate() {
        if let Some(fault) = schemas.check(&value, None).into_iter().next() {
            return Err(located(file, text, index, &fault));
        }
        let object = Object::from_value(schemas.defaulted(&value))
            .map_err(|e| located(file, text, index, &Fault::new("", e.to_string())))?;
        if let Some(fault) = object.faults().into_iter().next() {
            return Err(located(file, text, index, &fault));
        }
        objects.push(object);
    }
    Ok(objects)
}

/// Every document of a YAML stream that is not empty, unchecked, in order.
///
/// # Errors
/// The first thing that is no YAML, with its place.
pub fn values(file: &str, text: &str) -> Result<Vec<Value>, ManifestError> {
    let mut values = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = Value::deserialize(document).map_err(|e| {
            let (line, column) = e.location().map_or((1, 1), |at| (at.line(), at.column()));
            ManifestError { file: file.into(), line, column, message: plain(&e) }
        })?;
        values.push(value);
    }
    values.retain(|value| !value.is_null());
    Ok(values)
}

/// An error's text without the place that serde_yaml adds to it.
fn plain(error: &serde_yaml::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(before, _)| before.into())
}

/// A fault of the `index`-th document that is not empty, with its place in the text.
pub(crate) fn located(file: &str, text: &str, index: usize, fault: &Fault) -> ManifestError {
    let (line, column) = place(text, index, &steps(&fault.field)).unwrap_or((1, 1));
    ManifestError { file: file.into(), line, column, message: fault.to_string() }
}

/// One step down a document.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// `spec.feeders[0].parent` as steps.
fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (key, indices) = part.split_once('[').unwrap_or((part, ""));
        steps.push(Step::Key(key.into()));
        steps.extend(indices.split(['[', ']']).filter_map(|i| i.parse().ok()).map(Step::Index));
    }
    steps
}

/// Line and column of a field, or of the deepest thing around it that is there.
fn place(text: &str, index: usize, path: &[Step]) -> Option<(usize, usize)> {
    let filled = serde_yaml::Deserializer::from_str(text)
        .enumerate()
        .filter_map(|(position, document)| (!Value::deserialize(document).ok()?.is_null()).then_some(position));
    let document = serde_yaml::Deserializer::from_str(text).nth({ filled }.nth(index)?)?;
    let error = Seek { path }.deserialize(document).err()?;
    error.location().map(|at| (at.line(), at.column()))
}

/// Walks a document along a path and stops with an error at its end: the YAML reader adds the place to the error.
struct Seek<'a> {
    path: &'a [Step],
}

/// The error that stops a walk; nobody sees its text.
const HERE: &str = "here";

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HERE)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(want), rest)) = self.path.split_first() else { return Err(A::Error::custom(HERE)) };
        while let Some(found) = map.next_key_seed(Key { want, last: rest.is_empty() })? {
            if found {
                return map.next_value_seed(Seek { path: rest });
            }
            map.next_value::<IgnoredAny>()?;
        }
        Err(A::Error::custom(HERE))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Some((Step::Index(want), rest)) = self.path.split_first() else { return Err(A::Error::custom(HERE)) };
        for _ in 0..*want {
            list.next_element::<IgnoredAny>()?;
        }
        list.next_element_seed(Seek { path: rest })?;
        Err(A::Error::custom(HERE))
    }
}

/// Reads a key: an error at the key that the path ends in, else whether it is the wanted one.
struct Key<'a> {
    want: &'a str,
    last: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        if key == self.want && self.last { Err(E::custom(HERE)) } else { Ok(key == self.want) }
    }
}
