//! `ampacity release`: a named person's word for loads (guard rule 6), and its withdrawal.
//!
//! A load whose devices cannot be proved at 0 W leaves the account on a person's word alone. The word is two annotations,
//! which the chart's policy ampacity-loads lets a member of the break-glass group write, in their own name. By itself it
//! frees no watt and changes no device: what its fleet or pool still wants stays, counted as before, and may be left
//! behind by `helm uninstall`; what nobody wants, the operator then deletes. A load that is being deleted goes with the
//! word, operator or not.

use super::cluster::ClusterArgs;
use crate::api::{ControllableLoad, LOAD_FINALIZER, RELEASE_REASON_ANNOTATION, RELEASED_BY_ANNOTATION};
use crate::store::kube::control;
use anyhow::{Context, bail};
use clap::Args;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

/// Who writes, as the API server keeps it.
const MANAGER: &str = "ampacity-release";
/// One request takes this long at most.
const WITHIN: Duration = Duration::from_secs(30);
/// The longest reason, characters.
const REASON_MAX: usize = 1_024;

/// Gives a person's word that loads are theirs from now on and not Ampacity's, or takes it back. No device is touched.
#[derive(Args, Clone, Debug)]
pub struct ReleaseArgs {
    /// NAME or load/NAME of each, or as `kubectl get load --output name` prints them.
    #[arg(required = true, value_name = "LOAD", value_parser = name)]
    loads: Vec<String>,
    /// Who gives their word: your own name, as the API server knows you (`kubectl auth whoami`).
    #[arg(long, required_unless_present = "take_back", value_parser = said)]
    by: Option<String>,
    /// Why: kept on the load.
    #[arg(long, required_unless_present = "take_back", value_parser = said)]
    reason: Option<String>,
    /// Takes the word back: the loads are Ampacity's again. For those that were left behind by an uninstall.
    #[arg(long, conflicts_with_all = ["by", "reason"])]
    take_back: bool,
    /// Namespace of the loads.
    #[arg(short, long, default_value = "ampacity")]
    namespace: String,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// A load's name, with or without its kind before it.
fn name(text: &str) -> Result<String, String> {
    let (kind, name) = text.rsplit_once('/').unwrap_or(("load", text));
    match kind {
        "load" | "controllableload" | "controllableloads" | "controllableload.ampacity.dev" if !name.is_empty() => {
            Ok(name.into())
        }
        _ => Err("NAME or load/NAME of a ControllableLoad is expected".into()),
    }
}

fn said(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err("must not be empty".into()),
        length if length > REASON_MAX => Err(format!("{length} characters: at most {REASON_MAX}")),
        _ => Ok(text.into()),
    }
}

/// Whose word, and why.
type Word<'a> = Option<(&'a str, &'a str)>;

/// Releases each load, or takes it back; says what becomes of it.
///
/// # Errors
/// The first load that is not there, or whose release the API server refuses: with its words. Those before it are done.
pub fn release(args: &ReleaseArgs) -> anyhow::Result<()> {
    let word = args.by.as_deref().zip(args.reason.as_deref());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        let client =
            Client::try_from(control(args.cluster.config().await?)).context("making a client of the API server")?;
        let loads: Api<ControllableLoad> = Api::namespaced(client, &args.namespace);
        for name in &args.loads {
            let done = tokio::time::timeout(WITHIN, one(&loads, name, word)).await;
            let done = done.context("the API server does not answer").flatten();
            let line = done.with_context(|| format!("load {}/{name}", args.namespace))?;
            writeln!(std::io::stdout().lock(), "{line}").context("writing the answer")?;
        }
        Ok(())
    })
}

async fn one(loads: &Api<ControllableLoad>, name: &str, word: Word<'_>) -> anyhow::Result<String> {
    let Some(load) = loads.get_opt(name).await? else {
        bail!("there is none of this name (kubectl get load --all-namespaces)");
    };
    let patch = Patch::Merge(patch(&load, word));
    let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    loads.patch(name, &params, &patch).await?;
    Ok(outcome(&load, word))
}

/// The change of one load. Its revision stands in it: a load that began to be deleted meanwhile is looked at again.
fn patch(load: &ControllableLoad, word: Word<'_>) -> Value {
    let (by, reason) = word.unzip();
    let mut metadata = json!({
        "resourceVersion": load.metadata.resource_version,
        "annotations": {RELEASED_BY_ANNOTATION: by, RELEASE_REASON_ANNOTATION: reason},
    });
    if let Some(kept) = kept_finalizers(load, word)
        && let Some(fields) = metadata.as_object_mut()
    {
        fields.insert("finalizers".into(), json!(kept));
    }
    json!({ "metadata": metadata })
}

/// The finalizers of a load that goes with the word; none where they stay as they are.
fn kept_finalizers<'a>(load: &'a ControllableLoad, word: Word<'_>) -> Option<Vec<&'a String>> {
    let goes = word.is_some() && load.metadata.deletion_timestamp.is_some();
    goes.then(|| load.finalizers().iter().filter(|finalizer| *finalizer != LOAD_FINALIZER).collect())
}

fn outcome(load: &ControllableLoad, word: Word<'_>) -> String {
    let name = load.name_any();
    match (word, kept_finalizers(load, word)) {
        (None, _) => format!("{name}: taken back"),
        (Some((by, _)), None) => format!("{name}: released on the word of {by}"),
        (Some((by, _)), Some(left)) if left.is_empty() => format!("{name}: released on the word of {by}, and gone"),
        (Some((by, _)), Some(left)) => {
            format!(
                "{name}: released on the word of {by}; others hold it still: {}",
                left.into_iter().cloned().collect::<Vec<_>>().join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ReleaseArgs,
    }

    fn parse(line: &[&str]) -> Result<ReleaseArgs, String> {
        let line = Line::try_parse_from(std::iter::once("release").chain(line.iter().copied()));
        line.map(|line| line.args).map_err(|error| error.to_string())
    }

    fn load(leaving: bool, finalizers: &[&str]) -> ControllableLoad {
        let mut metadata = json!({"name": "s21-0", "resourceVersion": "7", "finalizers": finalizers});
        if leaving {
            metadata["deletionTimestamp"] = json!("2026-08-14T12:00:00Z");
        }
        let spec = json!({
            "protocol": 1, "budget": "b", "feeder": "f", "kind": "Miner", "owner": {"fleet": "s21", "index": 0},
            "nameplateWatts": 28_000, "setpointWatts": 28_000, "fallbackWatts": 0, "order": {"epoch": 1, "sequence": 0},
        });
        serde_json::from_value(
            json!({"apiVersion": "ampacity.dev/v1alpha1", "kind": "ControllableLoad", "metadata": metadata, "spec": spec}),
        )
        .unwrap()
    }

    #[test]
    fn a_word_has_a_name_and_a_reason_and_taking_it_back_has_neither() {
        for (line, said) in [
            (vec!["a"], "--by <BY>"),
            (vec!["a", "--by", "jo"], "--reason <REASON>"),
            (vec!["a", "--by", " ", "--reason", "sold"], "must not be empty"),
            (vec!["--by", "jo", "--reason", "sold"], "<LOAD>"),
            (vec!["pod/a", "--take-back"], "NAME or load/NAME of a ControllableLoad is expected"),
            (vec!["a", "--take-back", "--by", "jo"], "cannot be used with"),
        ] {
            let error = parse(&line).err().unwrap();
            assert!(error.contains(said), "{line:?}: {error}");
        }
        let args =
            parse(&["a", "load/b", "controllableload.ampacity.dev/c", "--by", "jo", "--reason", "sold"]).unwrap();
        assert_eq!(args.loads, ["a", "b", "c"]);
        assert!(parse(&["a", "--take-back"]).is_ok());
    }

    #[test]
    fn a_load_that_stands_is_marked_and_keeps_its_finalizer() {
        let load = load(false, &[LOAD_FINALIZER]);
        let word = Some(("jo", "sold"));
        assert_eq!(
            patch(&load, word),
            json!({"metadata": {"resourceVersion": "7", "annotations": {
                "ampacity.dev/released-by": "jo", "ampacity.dev/release-reason": "sold"}}})
        );
        assert_eq!(outcome(&load, word), "s21-0: released on the word of jo");
        assert_eq!(
            patch(&load, None),
            json!({"metadata": {"resourceVersion": "7", "annotations": {
                "ampacity.dev/released-by": null, "ampacity.dev/release-reason": null}}})
        );
    }

    #[test]
    fn a_load_on_its_way_out_goes_with_the_word_and_never_with_its_withdrawal() {
        let finalizers = |load: &ControllableLoad, word| patch(load, word).pointer("/metadata/finalizers").cloned();
        let word = Some(("jo", "sold"));
        let ours = load(true, &[LOAD_FINALIZER]);
        assert_eq!(finalizers(&ours, word), Some(json!([])));
        assert_eq!(outcome(&ours, word), "s21-0: released on the word of jo, and gone");
        assert_eq!(finalizers(&ours, None), None);
        let others = load(true, &[LOAD_FINALIZER, "a.example/b"]);
        assert_eq!(finalizers(&others, word), Some(json!(["a.example/b"])));
        assert_eq!(outcome(&others, word), "s21-0: released on the word of jo; others hold it still: a.example/b");
    }
}
