//! Holds an object to the schemas without an API server: defaults, unknown fields, types, bounds, patterns, CEL.
//!
//! What is said of a fault is what a real API server says (1.36), so that a manifest gets the same answer from the
//! demo, from `explain -f` and from `kubectl apply`; the table in `examples/bad` holds both to it.

use super::crd::{self, CrdError};
use kube::core::cel::{CompiledSchema, Validator, compile_schema};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// One thing that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Path of the field, such as `spec.feeders[0].parent`; empty for the object itself.
    pub field: String,
    /// What is wrong, and what would be right.
    pub detail: String,
    /// Whether the rules cannot be tried before this is put right.
    blocking: bool,
}

impl Fault {
    /// A fault that the rules may be tried beside.
    pub fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), detail: detail.into(), blocking: false }
    }

    /// A fault that keeps the rules from being tried.
    fn blocking(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { blocking: true, ..Self::new(field, detail) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() { f.write_str(&self.detail) } else { write!(f, "{}: {}", self.field, self.detail) }
    }
}

/// What is said of a field that the kind does not have.
pub const UNKNOWN_FIELD: &str = "unknown field";

/// The schema of one kind, ready to be used.
struct Kind {
    schema: Value,
    rules: CompiledSchema,
    namespaced: bool,
}

/// The schemas of every kind.
pub struct Schemas {
    kinds: BTreeMap<String, Kind>,
    patterns: BTreeMap<String, Regex>,
    validator: Validator,
}

impl fmt::Debug for Schemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kinds.keys()).finish()
    }
}

impl Schemas {
    /// Compiles every kind's schema.
    ///
    /// # Errors
    /// A definition that cannot be read back: a mistake in this crate.
    pub fn new() -> Result<Self, CrdError> {
        let mut schemas = Self { kinds: BTreeMap::new(), patterns: BTreeMap::new(), validator: Validator::new() };
        for crd in crd::all()? {
            let Some(schema) = crd.spec.versions.into_iter().next().and_then(|v| v.schema) else { continue };
            let schema = serde_json::to_value(schema.open_api_v3_schema)?;
            schemas.compile_patterns(&schema);
            let rules = compile_schema(&schema);
            let kind = Kind { schema, rules, namespaced: crd.spec.scope == "Namespaced" };
            schemas.kinds.insert(crd.spec.names.kind, kind);
        }
        Ok(schemas)
    }

    fn compile_patterns(&mut self, schema: &Value) {
        match schema {
            Value::Object(object) => {
                if let Some(pattern) = object.get("pattern").and_then(Value::as_str)
                    && let Ok(regex) = Regex::new(pattern)
                {
                    self.patterns.insert(pattern.into(), regex);
                }
                object.values().for_each(|below| self.compile_patterns(below));
            }
            Value::Array(list) => list.iter().for_each(|below| self.compile_patterns(below)),
            _ => {}
        }
    }

    /// Everything that is wrong with `object`, which replaces `old` where there is one; sorted, empty if it would be
    /// accepted. Fields that the kind does not have are faults, as `kubectl` treats them.
    pub fn check(&self, object: &Value, old: Option<&Value>) -> Vec<Fault> {
        let word = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (version, name) = (word("/apiVersion"), word("/kind"));
        let want = format!("{}/{}", super::GROUP, super::VERSION);
        if version != want {
            return vec![Fault::blocking("apiVersion", format!("Unsupported value: {version:?}: want {want:?}"))];
        }
        let Some(kind) = self.kinds.get(name) else {
            let known: Vec<&str> = self.kinds.keys().map(String::as_str).collect();
            let detail = format!("Unsupported value: {name:?}: supported values: {}", known.join(", "));
            return vec![Fault::blocking("kind", detail)];
        };
        let mut faults = Vec::new();
        check_metadata(object, kind.namespaced, &mut faults);
        let object = without_nulls(object);
        self.walk(&kind.schema, &object, "", &mut faults);
        if faults.iter().any(|fault| fault.detail == UNKNOWN_FIELD) {
            // Refused while it is decoded: nothing else is looked at.
            faults.retain(|fault| fault.detail == UNKNOWN_FIELD);
        } else if !faults.iter().any(|fault| fault.blocking) {
            self.rules(kind, &object, old, &mut faults);
        }
        faults.sort();
        faults.dedup();
        faults
    }

    /// `object` as the API server would keep it: without nulls, with defaults.
    pub fn defaulted(&self, object: &Value) -> Value {
        let object = without_nulls(object);
        let kind = object.get("kind").and_then(Value::as_str).and_then(|name| self.kinds.get(name));
        kind.map_or(object.clone(), |kind| kube::core::cel::apply_defaults(&kind.schema, &object))
    }

    fn rules(&self, kind: &Kind, object: &Value, old: Option<&Value>, faults: &mut Vec<Fault>) {
        let old = old.map(without_nulls);
        let Err(errors) = self.validator.validate_compiled(&kind.rules, object, old.as_ref()) else { return };
        faults.extend(errors.into_vec().into_iter().map(|e| Fault::new(e.field_path, e.message)));
    }

    /// Checks one value against one schema node.
    fn walk(&self, schema: &Value, value: &Value, path: &str, faults: &mut Vec<Fault>) {
        if let Some(fault) = wrong_type(schema, value, path) {
            faults.push(fault);
            return;
        }
        match value {
            Value::Object(object) => self.walk_object(schema, object, path, faults),
            Value::Array(list) => {
                check_list(schema, list, path, faults);
                let Some(items) = schema.get("items") else { return };
                for (index, item) in list.iter().enumerate() {
                    self.walk(items, item, &format!("{path}[{index}]"), faults);
                }
            }
            Value::String(text) => self.check_text(schema, text, path, faults),
            Value::Number(number) => check_number(schema, number, path, faults),
            _ => {}
        }
        check_enum(schema, value, path, faults);
    }

    fn walk_object(
        &self,
        schema: &Value,
        object: &serde_json::Map<String, Value>,
        path: &str,
        faults: &mut Vec<Fault>,
    ) {
        let below = |name: &str| if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for name in required.filter_map(Value::as_str).filter(|name| !object.contains_key(*name)) {
            faults.push(Fault::blocking(below(name), "Required value"));
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|s| s.is_object());
        for (name, value) in object {
            match properties.and_then(|p| p.get(name)).or(others) {
                Some(schema) => self.walk(schema, value, &below(name), faults),
                None if path.is_empty() && ["apiVersion", "kind", "metadata"].contains(&name.as_str()) => {}
                None => faults.push(Fault::blocking(below(name), UNKNOWN_FIELD)),
            }
        }
    }

    fn check_text(&self, schema: &Value, text: &str, path: &str, faults: &mut Vec<Fault>) {
        let length = text.chars().count() as u64;
        if let Some(max) = schema.get("maxLength").and_then(Value::as_u64).filter(|max| length > *max) {
            faults.push(Fault::blocking(path, format!("Too long: may not be more than {max} bytes")));
        }
        if let Some(min) = schema.get("minLength").and_then(Value::as_u64).filter(|min| length < *min) {
            faults.push(Fault::new(path, format!("{path} in body should be at least {min} chars long")));
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
            && !self.patterns.get(pattern).is_some_and(|regex| regex.is_match(text))
        {
            faults.push(Fault::new(path, format!("{path} in body should match '{pattern}'")));
        }
        let date_time = schema.get("format").and_then(Value::as_str) == Some("date-time");
        if date_time && text.parse::<jiff::Timestamp>().is_err() {
            faults.push(Fault::blocking(path, format!("{path} in body must be of type date-time: {text:?}")));
        }
    }
}

/// The name must be there; a namespace may stand only where the kind has one.
fn check_metadata(object: &Value, namespaced: bool, faults: &mut Vec<Fault>) {
    let word = |name: &str| object.pointer(&format!("/metadata/{name}")).and_then(Value::as_str).unwrap_or_default();
    if word("name").is_empty() {
        faults.push(Fault::blocking("metadata.name", "Required value: name or generateName is required"));
    }
    if !namespaced && !word("namespace").is_empty() {
        faults.push(Fault::blocking("metadata.namespace", "Forbidden: not allowed on this type"));
    }
}

/// The type that a value has in the API server's words.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_i64() || n.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn wrong_type(schema: &Value, value: &Value, path: &str) -> Option<Fault> {
    let found = type_of(value);
    let want = if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        "integer,string"
    } else {
        schema.get("type").and_then(Value::as_str)?
    };
    let right = want.split(',').any(|w| w == found) || (want == "number" && found == "integer");
    (!right).then(|| Fault::blocking(path, format!("{path} in body must be of type {want}: {found:?}")))
}

fn check_list(schema: &Value, list: &[Value], path: &str, faults: &mut Vec<Fault>) {
    let length = list.len() as u64;
    if let Some(max) = schema.get("maxItems").and_then(Value::as_u64).filter(|max| length > *max) {
        faults.push(Fault::blocking(path, format!("Too many: {length}: must have at most {max} items")));
    }
    if let Some(min) = schema.get("minItems").and_then(Value::as_u64).filter(|min| length < *min) {
        faults.push(Fault::new(path, format!("{path} in body should have at least {min} items")));
    }
    let key = |item: &Value| match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => Some(item.to_string()),
        Some("map") => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array)?;
            let parts = keys.iter().filter_map(Value::as_str);
            Some(parts.map(|k| format!("{k:?}:{}", item.get(k).unwrap_or(&Value::Null))).collect::<Vec<_>>().join(","))
        }
        _ => None,
    };
    let mut seen = std::collections::BTreeSet::new();
    for (index, key) in list.iter().enumerate().filter_map(|(index, item)| Some((index, key(item)?))) {
        if !seen.insert(key.clone()) {
            let shown = if key.contains(':') && !key.starts_with('{') { format!("{{{key}}}") } else { key };
            faults.push(Fault::new(format!("{path}[{index}]"), format!("Duplicate value: {shown}")));
        }
    }
}

fn check_number(schema: &Value, number: &serde_json::Number, path: &str, faults: &mut Vec<Fault>) {
    // Bounds are whole numbers here, written as 60.0: exact up to 2⁵³.
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let Some(value) = number.as_f64() else { return };
    if let Some(min) = bound("minimum").filter(|min| value < *min) {
        faults.push(Fault::new(path, format!("{path} in body should be greater than or equal to {min}")));
    }
    if let Some(max) = bound("maximum").filter(|max| value > *max) {
        faults.push(Fault::new(path, format!("{path} in body should be less than or equal to {max}")));
    }
}

fn check_enum(schema: &Value, value: &Value, path: &str, faults: &mut Vec<Fault>) {
    let Some(allowed) = schema.get("enum").and_then(Value::as_array) else { return };
    if !allowed.contains(value) {
        let shown: Vec<String> =
            allowed.iter().map(|v| format!("{:?}", v.as_str().map_or(v.to_string(), Into::into))).collect();
        let detail = format!("Unsupported value: {value}: supported values: {}", shown.join(", "));
        faults.push(Fault::blocking(path, detail));
    }
}

/// The API server drops a null where the schema has no `nullable`; none here has.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let kept = object.iter().filter(|(_, v)| !v.is_null());
            Value::Object(kept.map(|(k, v)| (k.clone(), without_nulls(v))).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}
