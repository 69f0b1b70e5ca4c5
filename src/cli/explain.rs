//! `ampacity explain`: asks the leading operator why, or what if.

mod reach;

use super::agent::EXIT_WRONG;
use super::cluster::ClusterArgs;
use crate::api::check::Schemas;
use crate::api::manifest;
use crate::operator::explain::{BODY_MAX, Explanation, Subject, WhatIf, explanation_text, what_if_text};
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use reach::Operator;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Lines for a person.
    Text,
    /// One JSON object.
    Json,
}

/// Asks the leading operator why something stands as it does, or what an object would change. Nothing is written.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// load/NAME, cl/NAME, pb/NAME, pb/NAME/FEEDER, mf/NAME, gp/NAME, ge/NAME or lo/NAME.
    #[arg(required_unless_present = "filename", conflicts_with = "filename")]
    subject: Option<Subject>,
    /// Manifests of which to say what they would change if they were applied now; - for standard input.
    #[arg(short, long)]
    filename: Option<PathBuf>,
    /// Namespace of leases that name none; left out, the kubeconfig's.
    #[arg(short, long)]
    namespace: Option<String>,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Namespace of the operator.
    #[arg(long, default_value = "ampacity")]
    operator_namespace: String,
    /// Port on which the operator answers in its pod.
    #[arg(long, default_value_t = 8082)]
    operator_port: u16,
    /// Ask here (http://ADDRESS:PORT) instead of forwarding a port to the leader's pod.
    #[arg(long, value_parser = reach::url)]
    operator: Option<reach::Url>,
}

/// Asks, and prints the answer.
///
/// # Errors
/// No operator that leads and answers; something that it does not know. A manifest that is wrong is said here, with its
/// place, and ends with 2 as a wrong flag does.
pub fn explain(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let manifests = match args.filename.as_ref().map(read).transpose() {
        Ok(manifests) => manifests,
        Err(wrong) => {
            eprintln!("error: {wrong:#}");
            return Ok(ExitCode::from(EXIT_WRONG));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let text = runtime.block_on(async {
        let operator = Operator::find(args).await?;
        match (manifests, &args.subject) {
            (Some(objects), _) => {
                let body = serde_json::to_vec(&placed(objects, &operator.namespace)).context("writing the request")?;
                if body.len() > BODY_MAX {
                    bail!("the manifests are {} bytes; at most {BODY_MAX} can be asked about", body.len());
                }
                let answer: WhatIf = parsed(&operator.post("/v1/explain", body).await?)?;
                said(args.output, &answer, what_if_text)
            }
            (None, Some(subject)) => {
                let subject = subject.clone().in_namespace(&operator.namespace);
                let answer: Explanation = parsed(&operator.get(&format!("/v1/explain/{subject}")).await?)?;
                said(args.output, &answer, explanation_text)
            }
            (None, None) => bail!("name what to explain, or a file with -f"),
        }
    })?;
    std::io::stdout().lock().write_all(text.as_bytes()).context("writing the answer")?;
    Ok(ExitCode::SUCCESS)
}

/// The documents of a file, held to the schemas and their rules like everywhere else.
fn read(file: &PathBuf) -> anyhow::Result<Vec<Value>> {
    let name = file.display().to_string();
    let mut text = String::new();
    if name == "-" {
        std::io::stdin().read_to_string(&mut text).context("reading standard input")?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("{name}: cannot be read"))?;
    }
    let schemas = Schemas::new()?;
    manifest::read(&name, &text, &schemas)?;
    Ok(manifest::values(&name, &text)?)
}

/// Leases that name no namespace are of this one.
fn placed(mut objects: Vec<Value>, namespace: &str) -> Vec<Value> {
    for object in &mut objects {
        let lease = object.get("kind").and_then(Value::as_str) == Some("ComputeLease");
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut).filter(|_| lease) {
            metadata.entry("namespace").or_insert_with(|| namespace.into());
        }
    }
    objects
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(body).context("the operator's answer cannot be read: is it of another version?")
}

fn said<T: Serialize>(output: Output, answer: &T, text: impl Fn(&T) -> String) -> anyhow::Result<String> {
    Ok(match output {
        Output::Text => text(answer),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(answer).context("writing the answer")?),
    })
}
