//! The charts: what they render is what was reviewed, wrong values are refused by name, a real API server accepts every
//! object, and what is installed keeps everybody to what is theirs.

#[path = "charts/installed.rs"]
mod installed;
#[path = "charts/network.rs"]
mod network;
#[path = "charts/policies.rs"]
mod policies;
#[path = "charts/queues.rs"]
mod queues;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ampacity_e2e::binaries;
use ampacity_e2e::helm::{CHARTS, Helm};
use anyhow::{Context, Result};
use serde_json::Value;

/// Values of the installations that are looked at: `e2e/charts/NAME.values.yaml`.
const INSTALLATIONS: [&str; 3] = ["minimal", "production", "air-gapped"];

/// A file of `e2e/charts`.
fn table(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts").join(name)
}

/// A file of `charts`.
fn chart(name: &str) -> Result<String> {
    let path = Path::new(CHARTS).join(name);
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

fn render(helm: &Helm, installation: &str) -> Result<String> {
    let values = table(&format!("{installation}.values.yaml")).display().to_string();
    helm.run(None, &["template", "ampacity", "ampacity", "--namespace", "ampacity", "--values", &values])
}

/// Holds a schema to the values beside it; what is wrong goes to `wrong`.
fn drift(path: &str, schema: &Value, value: &Value, wrong: &mut Vec<String>) {
    if schema.get("description").is_none() && !path.is_empty() {
        wrong.push(format!("{path}: no description"));
    }
    let (Some(properties), Some(values)) = (schema.get("properties").and_then(Value::as_object), value.as_object())
    else {
        return;
    };
    if schema.get("additionalProperties") != Some(&Value::Bool(false)) {
        wrong.push(format!("{path}: additionalProperties is not false"));
    }
    // What a person may leave out of a request or a limit has no default.
    if !path.ends_with("/resources") && !path.contains("/resources/") {
        let absent = properties.keys().filter(|key| !values.contains_key(*key) && *key != "global");
        wrong.extend(absent.map(|key| format!("{path}/{key}: in the schema, not in the values")));
    }
    for (key, below) in values {
        match properties.get(key) {
            Some(schema) => drift(&format!("{path}/{key}"), schema, below, wrong),
            None => wrong.push(format!("{path}/{key}: in the values, not in the schema")),
        }
    }
}

/// Every object schema below this one refuses what it does not know, or says what all its values are.
fn strict(path: &str, schema: &Value, wrong: &mut Vec<String>) {
    if schema.get("properties").is_some() && schema.get("type").is_some() {
        let open = schema.get("additionalProperties") != Some(&Value::Bool(false));
        wrong.extend(open.then(|| format!("{path}: additionalProperties is not false")));
    }
    for (key, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        strict(&format!("{path}/{key}"), below, wrong);
    }
    if let Some(items) = schema.get("items") {
        strict(&format!("{path}[]"), items, wrong);
    }
}

#[test]
fn values_and_their_schemas_name_the_same_keys_and_no_others() -> Result<()> {
    for name in ["ampacity", "ampacity-crds"] {
        let schema: Value = serde_json::from_str(&chart(&format!("{name}/values.schema.json"))?)?;
        let values: Value = serde_yaml::from_str(&chart(&format!("{name}/values.yaml"))?)?;
        let mut wrong = Vec::new();
        drift("", &schema, &values, &mut wrong);
        strict("", &schema, &mut wrong);
        assert_eq!(wrong, Vec::<String>::new(), "{name}");
    }
    Ok(())
}

/// The names of the metrics that a file of the work tree registers, as Prometheus sees them.
fn registered(file: &str, prefix: &str) -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(Path::new(CHARTS).join("..").join(file))?;
    let names = text.split("registry.register(").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
    Ok(names.filter_map(|rest| rest.split('"').next()).map(|name| format!("{prefix}_{name}")).collect())
}

/// The names in a text that could be our metrics', without what Prometheus adds to counters and histograms.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("ampacity_"));
    let bare = |word: &str| {
        let endings = ["_total", "_bucket", "_count", "_sum"];
        endings.iter().find_map(|ending| word.strip_suffix(ending)).unwrap_or(word).to_owned()
    };
    ours.map(bare).collect()
}

#[test]
fn alerts_dashboard_and_runbook_speak_of_metrics_that_are_measured() -> Result<()> {
    let mut measured = registered("src/operator/metrics.rs", "ampacity")?;
    assert!(measured.len() > 20, "{measured:?}");
    measured.extend(registered("src/agent/metrics.rs", "ampacity_agent")?);
    for (file, least) in
        [("ampacity/files/alerts.yaml", 15), ("ampacity/files/dashboard.json", 15), ("ampacity/RUNBOOK.md", 1)]
    {
        let named = metrics(&chart(file)?);
        assert!(named.len() >= least, "{file}: {named:?}");
        let unknown: Vec<_> = named.iter().filter(|name| !measured.contains(*name)).collect();
        assert_eq!(unknown, Vec::<&String>::new(), "{file}");
    }
    Ok(())
}

/// The names of alerts in a text.
fn alerts(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.starts_with("Ampacity") && *word != "Ampacity")
        .collect()
}

#[test]
fn every_alert_has_its_place_in_the_runbook_and_a_test_in_which_it_fires() -> Result<()> {
    let text = chart("ampacity/files/alerts.yaml")?;
    let defined: BTreeSet<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(defined.len() > 15, "{defined:?}");
    assert_eq!(alerts(&chart("ampacity/RUNBOOK.md")?), defined, "the runbook's");
    let tests: Value = serde_yaml::from_str(&fs::read_to_string(table("alerts.tests.yaml"))?)?;
    let tests = tests.get("tests").and_then(Value::as_array).context("tests")?;
    let asked = tests.iter().filter_map(|test| test.get("alert_rule_test")?.as_array()).flatten();
    let fires = |asked: &&Value| asked.pointer("/exp_alerts/0").is_some();
    let fired: BTreeSet<&str> = asked.filter(fires).filter_map(|asked| asked.get("alertname")?.as_str()).collect();
    assert_eq!(fired, defined, "those that fire in a test");
    Ok(())
}

#[test]
fn alerts_fire_when_they_should_by_prometheus_own_engine_and_not_where_no_test_asks_for_them() -> Result<()> {
    let engine = binaries::rules(&|line| eprintln!("{line}"))?;
    let run = |alerts: &Path| Command::new(&engine).arg(alerts).arg(table("alerts.tests.yaml")).output();
    let file = Path::new(CHARTS).join("ampacity/files/alerts.yaml");
    let done = run(&file)?;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    // And it sees what is wrong: an alert that comes too late.
    let late =
        chart("ampacity/files/alerts.yaml")?.replace("notice_overrun_seconds) > 60", "notice_overrun_seconds) > 600");
    let path = std::env::temp_dir().join(format!("ampacity-e2e-alerts-{}.yaml", std::process::id()));
    fs::write(&path, late)?;
    let done = run(&path);
    fs::remove_file(&path)?;
    let said = String::from_utf8_lossy(&done?.stderr).into_owned();
    assert!(said.contains("AmpacityNoticeOverrun"), "{said}");
    Ok(())
}

#[test]
fn helm_lints_every_installation_without_a_warning() -> Result<()> {
    let helm = Helm::find()?;
    helm.run(None, &["lint", "--strict", "ampacity-crds"])?;
    for installation in INSTALLATIONS {
        let values = table(&format!("{installation}.values.yaml")).display().to_string();
        helm.run(None, &["lint", "--strict", "ampacity", "--values", &values])?;
    }
    Ok(())
}

/// Where two texts part, and some lines around it.
fn parting(reviewed: &str, rendered: &str) -> String {
    let same = reviewed.lines().zip(rendered.lines()).take_while(|(a, b)| a == b).count();
    let from = |text: &str| text.lines().skip(same.saturating_sub(3)).take(8).collect::<Vec<_>>().join("\n");
    format!("line {}:\nreviewed:\n{}\nrendered:\n{}", same + 1, from(reviewed), from(rendered))
}

#[test]
fn what_is_rendered_is_what_was_reviewed() -> Result<()> {
    let helm = Helm::find()?;
    for installation in INSTALLATIONS {
        let rendered = render(&helm, installation)?;
        let path = table(&format!("{installation}.yaml"));
        if std::env::var_os("AMPACITY_E2E_UPDATE").is_some() {
            fs::write(&path, &rendered)?;
        }
        let reviewed = fs::read_to_string(&path).unwrap_or_default();
        let why = "look at it, and write it down with AMPACITY_E2E_UPDATE=1";
        assert!(reviewed == rendered, "{}, {}\n{why}", path.display(), parting(&reviewed, &rendered));
    }
    Ok(())
}

#[test]
fn wrong_values_are_refused_by_their_names() -> Result<()> {
    let helm = Helm::find()?;
    let cases: Vec<Value> = serde_yaml::from_str(&fs::read_to_string(table("refused-values.yaml"))?)?;
    assert!(cases.len() > 10);
    for case in cases {
        let said = case.get("said").and_then(Value::as_str).context("a case without `said`")?;
        let values = case.get("values").context("a case without values")?.as_object().context("values")?;
        let mut arguments = vec!["template".to_owned(), "ampacity".to_owned(), "ampacity".to_owned()];
        for (key, value) in values {
            arguments.extend(["--set-json".to_owned(), format!("{key}={value}")]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let words = helm.refused(None, &arguments)?;
        assert!(words.contains(said), "{case}\n{words}");
    }
    Ok(())
}
