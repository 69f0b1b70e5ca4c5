//! The kinds as a whole: rules that compile, files that do not drift, good and bad objects.

use super::check::Schemas;
use super::manifest::{self, Object};
use super::{PowerBudget, crd, table};
use ampacity_core::tree::{NodeId, Tree};
use ampacity_core::units::Watts;
use kube::core::cel::{CompiledSchema, compile_schema};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

/// Every YAML file below a folder but the bad ones.
fn good_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("bad") {
            files.extend(good_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn schemas_of_all_kinds() -> Vec<(String, Value)> {
    let schema = |crd: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition| {
        let version = crd.spec.versions.into_iter().next().unwrap();
        let schema = version.schema.unwrap().open_api_v3_schema;
        (crd.spec.names.kind, serde_json::to_value(schema).unwrap())
    };
    crd::all().unwrap().into_iter().map(schema).collect()
}

#[test]
fn the_definitions_in_crds_and_in_their_chart_are_those_of_this_code() {
    let write = std::env::var_os("AMPACITY_WRITE_CRDS").is_some();
    let made = crd::files().unwrap();
    let names: BTreeSet<&String> = made.iter().map(|(name, _)| name).collect();
    for at in ["crds", "charts/ampacity-crds/files"] {
        let folder = root(at);
        for (name, text) in &made {
            if write {
                std::fs::write(folder.join(name), text).unwrap();
            }
            let kept = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
            assert!(kept == *text, "{at}/{name} drifted: AMPACITY_WRITE_CRDS=1 cargo test -p ampacity crds");
        }
        let kept = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let kept: Vec<String> = kept.collect();
        assert_eq!(kept.iter().collect::<BTreeSet<_>>(), names, "{at}");
    }
}

fn assert_compiles(schema: &CompiledSchema, path: &str) {
    assert!(schema.compilation_errors().is_empty(), "{path}: {:?}", schema.compilation_errors());
    for (name, below) in &schema.properties {
        assert_compiles(below, &format!("{path}.{name}"));
    }
    for below in schema.items.iter().chain(schema.additional_properties.iter()) {
        assert_compiles(below, &format!("{path}[]"));
    }
}

#[test]
fn every_rule_compiles() {
    for (kind, schema) in schemas_of_all_kinds() {
        assert_compiles(&compile_schema(&schema), &kind);
    }
}

/// Calls `look` with every node of a schema and its path.
fn walk(schema: &Value, path: &str, look: &mut impl FnMut(&Value, &str)) {
    look(schema, path);
    for (name, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(below, &format!("{path}.{name}"), look);
    }
    for place in ["items", "additionalProperties"] {
        schema.get(place).into_iter().for_each(|below| walk(below, &format!("{path}[]"), look));
    }
}

#[test]
fn every_list_is_bounded_and_typed_every_number_bounded_and_every_field_explained() {
    let mut missing = Vec::new();
    for (kind, schema) in schemas_of_all_kinds() {
        walk(&schema, &kind, &mut |node, path| {
            let lacks = |key: &str| node.get(key).is_none();
            let theirs =
                node.get("enum").is_some() || path.contains(".conditions[]") || path.ends_with(".observedGeneration");
            match node.get("type").and_then(Value::as_str) {
                Some("array") if lacks("maxItems") || lacks("x-kubernetes-list-type") => {
                    missing.push(format!("{path}: bound or list type"));
                }
                Some("integer") if !theirs && lacks("minimum") => missing.push(format!("{path}: minimum")),
                Some("integer") if !theirs && !path.contains(".status.") && lacks("maximum") => {
                    missing.push(format!("{path}: maximum"));
                }
                Some("number") => missing.push(format!("{path}: no floats")),
                Some("string") if !theirs && ["maxLength", "enum", "format"].iter().all(|k| lacks(k)) => {
                    missing.push(format!("{path}: length"));
                }
                _ => {}
            }
            if !path.ends_with("[]") && lacks("description") && !path.ends_with(".metadata") {
                missing.push(format!("{path}: description"));
            }
            let format = node.get("format").and_then(Value::as_str).unwrap_or_default();
            if format.starts_with("uint") || node.get("nullable").is_some() {
                missing.push(format!("{path}: {format} or nullable"));
            }
        });
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn every_good_object_is_accepted_and_every_kind_has_one() {
    let schemas = Schemas::new().unwrap();
    let mut kinds = BTreeSet::new();
    for path in good_files(&root("examples")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let objects = manifest::read(&path.display().to_string(), &text, &schemas).unwrap();
        for object in objects {
            if let Object::PowerBudget(budget) = &object {
                Tree::try_from(&**budget).unwrap();
            }
            kinds.insert(object.kind().into_owned());
        }
    }
    let all: BTreeSet<String> = schemas_of_all_kinds().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, all);
}

#[test]
fn every_bad_object_is_refused_in_exactly_the_words_of_its_file() {
    let schemas = Schemas::new().unwrap();
    let cases = table::cases(&root("examples/bad")).unwrap();
    assert!(cases.len() > 50, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let mut old: Option<Value> = None;
        for (index, step) in case.steps.iter().enumerate() {
            let mut said: Vec<String> = schemas.check(step, old.as_ref()).iter().map(ToString::to_string).collect();
            said.sort();
            let want = if index + 1 == case.steps.len() { case.refused.clone() } else { Vec::new() };
            if said != want {
                wrong.push((case.name.clone(), index, said));
            }
            old = Some(schemas.defaulted(step));
        }
    }
    if let Some(path) = std::env::var_os("AMPACITY_SHOW") {
        std::fs::write(path, serde_json::to_string(&wrong).unwrap()).unwrap();
    }
    assert_eq!(wrong, []);
}

fn refusal(text: &str) -> String {
    manifest::read("site.yaml", text, &Schemas::new().unwrap()).unwrap_err().to_string()
}

#[test]
fn an_unknown_field_is_named_with_file_line_and_column_of_its_key() {
    let text = "# a comment\n---\napiVersion: ampacity.dev/v1alpha1\nkind: PowerBudget\nmetadata: {name: a}\nspec:\n  \
                limitWatts: 1M\n  policy:\n    mode: Active\n    deadband: 5\n";
    assert_eq!(refusal(text), "site.yaml:10:5: spec.policy.deadband: unknown field");
}

#[test]
fn the_place_of_a_fault_in_a_later_document_counts_from_the_start_of_the_file() {
    let lockout = "apiVersion: ampacity.dev/v1alpha1\nkind: Lockout\nmetadata: {name: a}\nspec:\n  holder: m\n  \
                   reason: r\n  target: {budget: b, load: x}\n";
    let budget = "apiVersion: ampacity.dev/v1alpha1\nkind: PowerBudget\nmetadata: {name: a}\nspec:\n  limitWatts: 9M\n  \
                  policy: {mode: Active}\n  feeders:\n    - {name: a1, limitWatts: 1M}\n    - name: a2\n      \
                  limitWatts: -1\n";
    assert_eq!(
        refusal(&format!("{lockout}---\n---\n{budget}")),
        "site.yaml:19:7: spec.feeders[1].limitWatts: spec.feeders[1].limitWatts in body should be greater than or equal to 0"
    );
}

#[test]
fn a_field_that_is_missing_is_placed_at_what_should_hold_it() {
    let text = "apiVersion: ampacity.dev/v1alpha1\nkind: PowerBudget\nmetadata: {name: a}\nspec:\n  limitWatts: 1M\n  \
                policy: {deadBandPerMwh: \"5.00\"}\n";
    assert_eq!(refusal(text), "site.yaml:6:11: spec.policy.mode: Required value");
}

#[test]
fn what_is_no_yaml_and_what_is_no_kind_of_ours_is_refused_with_its_place() {
    assert_eq!(refusal("kind: [a\n").split(": ").next(), Some("site.yaml:2:1"));
    let text = "apiVersion: ampacity.dev/v1alpha1\nkind: PowerBudgets\nmetadata: {name: a}\n";
    assert!(refusal(text).starts_with("site.yaml:2:1: kind: Unsupported value: \"PowerBudgets\": supported values: "));
}

#[test]
fn a_null_counts_as_left_out_as_it_does_for_the_api_server() {
    let text = "apiVersion: ampacity.dev/v1alpha1\nkind: PowerBudget\nmetadata: {name: a}\nspec:\n  limitWatts: 1M\n  \
                rating: null\n  policy: {mode: Active}\n";
    assert_eq!(manifest::read("site.yaml", text, &Schemas::new().unwrap()).unwrap().len(), 1);
}

#[test]
fn defaults_in_the_schema_and_in_the_types_are_the_same() {
    let schemas = Schemas::new().unwrap();
    for path in good_files(&root("examples")) {
        let text = std::fs::read_to_string(&path).unwrap();
        for value in manifest::values("a", &text).unwrap() {
            let bare = Object::from_value(value.clone()).unwrap();
            assert_eq!(bare, Object::from_value(schemas.defaulted(&value)).unwrap(), "{}", path.display());
        }
    }
}

#[test]
fn a_budget_becomes_its_limit_tree_with_a_rating_turned_into_watts() {
    let text = std::fs::read_to_string(root("examples/power-budget.yaml")).unwrap();
    let value = manifest::values("a", &text).unwrap().remove(0);
    let budget: PowerBudget = serde_json::from_value(value).unwrap();
    let tree = Tree::try_from(&budget).unwrap();
    let shown: Vec<(&str, Option<NodeId>, Watts)> =
        tree.nodes().iter().map(|n| (n.name.as_str(), n.parent, n.limit)).collect();
    // 2000 A × 13 200 V × √3 × 0.97 × 0.80 = 35.48 MW.
    assert_eq!(
        shown,
        [
            ("permian", None, Watts::mega(100)),
            ("hall-a", Some(NodeId(0)), Watts::mega(60)),
            ("hall-b", Some(NodeId(0)), Watts::new(35_483_485)),
            ("hall-b-row-1", Some(NodeId(2)), Watts::kilo(2_500)),
        ]
    );
    // (100 − 2 MW) without 1 % of losses, less 250 kW of auxiliaries.
    assert_eq!(tree.capacity(NodeId::SITE), Watts::new(96_779_702));
}
