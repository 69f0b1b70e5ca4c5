//! The link with certificates of cert-manager's: the chart asks for them, cert-manager's own controllers make and renew
//! them, and operator and agents take new ones up while they run.

use std::path::Path;
use std::time::{Duration, Instant};

use ampacity::link::grpc::certificates::{AGENT_SECRET, SERVER_SECRET};
use ampacity::link::grpc::keys::{Keys, generate};
use ampacity_core::units::Time;
use ampacity_e2e::bench::linked::is_linked;
use ampacity_e2e::bench::{FULL, SOON, price, told};
use ampacity_e2e::helm::Helm;
use ampacity_e2e::identity::ADMIN;
use ampacity_e2e::process::Part;
use ampacity_e2e::{Mode, Needs, Test, binaries, cluster_test_within, until};
use anyhow::{Context, Result, anyhow, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use serde_json::json;

use super::link::{Linked, linked};

/// All of it.
const LIMIT: Duration = Duration::from_secs(600);
/// An operator looks at its Secret once a minute.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(100);
/// A turn of a second, and the link, on a busy machine.
const SHED_WITHIN: Duration = Duration::from_secs(20);
/// No machine earns that, USD/MWh.
const DEAR: &str = "500.00";
/// Where operators keep what they decide by, beside what cert-manager would.
const KEPT: &str = "keys.json";

/// A private authority as cert-manager's own guide makes one: a certificate that signs itself, and an issuer by its key.
fn authority(namespace: &str) -> String {
    let of = |kind: &str, name: &str, spec: &str| {
        format!(
            "apiVersion: cert-manager.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {spec}\n---\n"
        )
    };
    [
        of("Issuer", "itself", "{selfSigned: {}}"),
        of(
            "Certificate",
            "site-ca",
            "{isCA: true, commonName: site-ca, secretName: site-ca, privateKey: {algorithm: ECDSA, size: 256}, \
             issuerRef: {name: itself}}",
        ),
        of("Issuer", "site-ca", "{ca: {secretName: site-ca}}"),
    ]
    .concat()
}

/// kubectl in the test's namespace.
fn kubectl(test: &Test, arguments: &[&str]) -> Result<String> {
    test.kubectl(&[&["--namespace", test.namespace()], arguments].concat())
}

/// Both Secrets as an operator leaves them that made its own certificates before: gives what it decides by.
async fn made_before(test: &Test) -> Result<ByteString> {
    let secrets: Api<Secret> = Api::default_namespaced(test.admin());
    let now = Time::seconds(Timestamp::now().as_second());
    let keys = Keys { current: generate("ampacity-operator", now)?, next: None, old: Vec::new() };
    let kept = ByteString(serde_json::to_vec(&keys)?);
    for (name, pems, more) in [(SERVER_SECRET, keys.server(), Some(&kept)), (AGENT_SECRET, keys.agent(), None)] {
        let data = [("tls.crt", pems.certificate), ("tls.key", pems.key), ("ca.crt", pems.authorities)];
        let data = data.map(|(key, pem)| (key.to_owned(), ByteString(pem)));
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.into()),
                labels: Some([("app.kubernetes.io/managed-by".into(), "ampacity-operator".into())].into()),
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".into()),
            data: Some(data.into_iter().chain(more.map(|kept| (KEPT.into(), kept.clone()))).collect()),
            ..Secret::default()
        };
        secrets.create(&PostParams::default(), &secret).await?;
    }
    Ok(kept)
}

/// The chart with certificates that another gives, and cert-manager, which gives them.
fn install(test: &Test) -> Result<()> {
    let (plain, namespace) = (test.plain()?, test.namespace());
    let authority_file = plain.folder().join("authority.yaml");
    std::fs::write(&authority_file, authority(namespace))?;
    kubectl(test, &["apply", "--server-side", "-f", &authority_file.display().to_string()])?;
    // Agents are processes of the test's under the default account, which is none of the chart's policies' agents.
    let arguments = [
        "install",
        "ampacity",
        "ampacity",
        "--namespace",
        namespace,
        "--set",
        "policies.enabled=false,link.certificates=given,link.issuer.name=site-ca",
    ];
    Helm::find()?.run(Some(&plain.kubeconfig(ADMIN)?), &arguments)?;
    let both = [SERVER_SECRET, AGENT_SECRET].map(|name| format!("certificate/{name}"));
    kubectl(test, &["wait", "--for=condition=Ready", "--timeout=90s", &both[0], &both[1]]).map(drop)
}

/// What the two Secrets hold under a key.
async fn held(test: &Test, key: &str) -> Result<[ByteString; 2]> {
    let secrets: Api<Secret> = Api::default_namespaced(test.admin());
    let of = async |name: &str| {
        let data = secrets.get(name).await?.data.unwrap_or_default().remove(key);
        data.with_context(|| format!("{name} without {key}"))
    };
    Ok([of(SERVER_SECRET).await?, of(AGENT_SECRET).await?])
}

/// What `cmctl renew` does: both are to be issued again now.
fn renew(test: &Test) -> Result<()> {
    let now = Timestamp::from_second(Timestamp::now().as_second())?.to_string();
    let issuing = json!([{"op": "add", "path": "/status/conditions/-", "value": {
        "type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "by the suite",
        "lastTransitionTime": now,
    }}]);
    for name in [SERVER_SECRET, AGENT_SECRET] {
        let patch = ["patch", "certificate", name, "--subresource=status", "--type=json", "--patch"];
        kubectl(test, &[&patch[..], &[&issuing.to_string()]].concat())?;
    }
    Ok(())
}

/// How often the agents have told of a link: that it is there, or that it is not. (One that is lost and made again at once
/// may be in no metric that is read.)
fn told_of_links(site: &Linked<'_>) -> Result<usize> {
    let of = |part: &Part| {
        let log = std::fs::read_to_string(part.log())?;
        anyhow::Ok(log.matches("linked to the leading operator").count() + log.matches("no link: ").count())
    };
    Ok(of(&site.miner)? + of(&site.gpu)?)
}

/// Waits until something is so, and fails at once where an agent has told of a link since there were so many such lines.
async fn linked_until(
    (site, links): (&Linked<'_>, usize),
    what: &str,
    within: Duration,
    mut so: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    until(what, within, async || {
        if told_of_links(site)? != links {
            return Ok(Some(Err(anyhow!("a link was lost while waiting for {what}"))));
        }
        Ok(so().await?.then_some(Ok(())))
    })
    .await?
}

/// Sheds by price while the API server answers no agent: the shed comes over the link, or not at all.
async fn shed_over_the_link(test: &Test, (site, links): (&Linked<'_>, usize)) -> Result<()> {
    let full = told(site.miner_port).await?;
    ensure!(full >= FULL, "{full} W");
    site.field.set(Mode::BlackHole);
    price(test, DEAR).await?;
    let shed = async || Ok(told(site.miner_port).await? < FULL / 2);
    linked_until((site, links), "a shed over the link", SHED_WITHIN, shed).await?;
    site.field.set(Mode::Pass);
    Ok(())
}

/// How often the operator has taken certificates into use.
fn taken_up(log: &Path) -> Result<usize> {
    Ok(std::fs::read_to_string(log)?.matches("certificates of the link are in use").count())
}

/// Renews both, and has a shed come over the link, which the old ones carry until both ends have taken the new ones up.
async fn renewed(test: &Test, site: &Linked<'_>) -> Result<()> {
    let (before, keys) = (held(test, "tls.crt").await?, held(test, "tls.key").await?);
    let others = |now: &[ByteString; 2], then: &[ByteString; 2]| now.iter().zip(then).all(|(now, then)| now != then);
    let linked = (site, told_of_links(site)?);
    renew(test)?;
    let started = Instant::now();
    let anew = async || Ok(others(&held(test, "tls.crt").await?, &before));
    linked_until(linked, "both to be issued anew", SOON, anew).await?;
    ensure!(others(&held(test, "tls.key").await?, &keys), "keys are made anew as well");
    shed_over_the_link(test, linked).await?;
    let taken = async || Ok(taken_up(site.operator.log())? == 2);
    linked_until(linked, "the operator to take the new ones up", TAKEN_UP_WITHIN, taken).await?;
    eprintln!("in use {:.1} s after they were asked for anew", started.elapsed().as_secs_f64());
    Ok(())
}

#[test]
fn certificates_of_cert_manager_take_the_place_of_made_ones_and_are_renewed_without_a_restart_or_a_lost_shed()
-> Result<()> {
    cluster_test_within(LIMIT, Needs::OwnControlPlane, async |test| {
        let started = Instant::now();
        let definitions = binaries::cert_manager_definitions()?.display().to_string();
        kubectl(test, &["apply", "--server-side", "-f", &definitions])?;
        kubectl(test, &["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"])?;
        let issuer = test.plain()?.cert_manager()?;
        let kept = made_before(test).await?;
        install(test)?;
        eprintln!("both certificates are ready {:.1} s after cert-manager was begun", started.elapsed().as_secs_f64());
        let site = linked(test, &["--link-certificates", "given"]).await?;
        assert_eq!(taken_up(site.operator.log())?, 1);

        renewed(test, &site).await?;
        // The operator wrote nothing: what it had kept lies there as it was.
        let secrets: Api<Secret> = Api::default_namespaced(test.admin());
        let data = secrets.get(SERVER_SECRET).await?.data.unwrap_or_default();
        ensure!(data.get(KEPT) == Some(&kept), "the operator wrote {SERVER_SECRET}");

        // An agent that dials now shows its new one, and meets the operator's.
        let (_again, port) = site.dials_again(test).await?;
        until("a link by the new certificates", SOON, async || Ok(is_linked(port).await?.then_some(()))).await?;
        assert_eq!((site.operator.ended(), issuer.ended()), (None, None));
        Ok(())
    })
}
