//! The link with certificates of cert-manager's: the chart asks for them, cert-manager's own controllers make and renew
//! them, and operator and agents take new ones up while they run.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ampacity::api::GridEvent;
use ampacity::link::grpc::certificates::{AGENT_SECRET, SERVER_SECRET};
use ampacity_e2e::bench::linked::is_linked;
use ampacity_e2e::bench::{FULL, SITE, SOON, told};
use ampacity_e2e::helm::Helm;
use ampacity_e2e::identity::ADMIN;
use ampacity_e2e::{Needs, Test, binaries, cluster_test_within, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
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

/// kubectl as the administrator, in the test's namespace.
fn kubectl(test: &Test, arguments: &[&str]) -> Result<String> {
    let plain = test.plain()?;
    let mut kubectl = Command::new(plain.kubectl());
    kubectl.env("KUBECONFIG", plain.kubeconfig(ADMIN)?).args(["--namespace", test.namespace()]).args(arguments);
    let done = kubectl.output()?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "kubectl {}: {}\n{said}", arguments.join(" "), done.status);
    Ok(String::from_utf8(done.stdout)?)
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

/// A limit of the utility's, which leaves hardly any time.
async fn urgent(test: &Test) -> Result<()> {
    let event: GridEvent = serde_json::from_value(json!({
        "apiVersion": "ampacity.dev/v1alpha1", "kind": "GridEvent", "metadata": {"name": "urgent"},
        "spec": {
            "target": {"budget": SITE}, "limitWatts": "10k", "owner": "oncor", "reason": "a line tripped",
            "responseSeconds": 10, "start": Timestamp::now().to_string(),
            "end": Timestamp::from_second(Timestamp::now().as_second() + 3_600)?.to_string(),
        },
    }))?;
    Api::all(test.admin()).create(&PostParams::default(), &event).await?;
    Ok(())
}

/// Both agents are linked still: asked for all the while that something is waited for.
async fn still_linked(site: &Linked<'_>) -> Result<()> {
    for port in [site.miner_port, site.gpu_port] {
        ensure!(is_linked(port).await?, "the link lasts");
    }
    Ok(())
}

/// How often the operator has taken certificates into use.
fn taken_up(log: &Path) -> Result<usize> {
    Ok(std::fs::read_to_string(log)?.matches("certificates of the link are in use").count())
}

/// Renews both, and has a shed come through before either end has taken the new ones up.
async fn renewed(test: &Test, site: &Linked<'_>) -> Result<()> {
    let (before, keys) = (held(test, "tls.crt").await?, held(test, "tls.key").await?);
    let others = |now: &[ByteString; 2], then: &[ByteString; 2]| now.iter().zip(then).all(|(now, then)| now != then);
    renew(test)?;
    let started = Instant::now();
    until("both to be issued anew", SOON, async || {
        still_linked(site).await?;
        Ok(others(&held(test, "tls.crt").await?, &before).then_some(()))
    })
    .await?;
    ensure!(others(&held(test, "tls.key").await?, &keys), "keys are made anew as well");
    let full = told(site.miner_port).await?;
    ensure!(full >= FULL, "{full} W");
    urgent(test).await?;
    until("a shed while certificates change", SHED_WITHIN, async || {
        still_linked(site).await?;
        Ok((told(site.miner_port).await? < FULL / 2).then_some(()))
    })
    .await?;
    until("the operator to take the new ones up", TAKEN_UP_WITHIN, async || {
        still_linked(site).await?;
        Ok((taken_up(site.operator.log())? == 2).then_some(()))
    })
    .await?;
    eprintln!("in use {:.1} s after they were asked for anew", started.elapsed().as_secs_f64());
    Ok(())
}

#[test]
fn certificates_of_cert_manager_carry_the_link_and_are_renewed_without_a_restart_or_a_lost_shed() -> Result<()> {
    cluster_test_within(LIMIT, Needs::OwnControlPlane, async |test| {
        let started = Instant::now();
        let definitions = binaries::cert_manager_definitions()?.display().to_string();
        kubectl(test, &["apply", "--server-side", "-f", &definitions])?;
        kubectl(test, &["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"])?;
        let issuer = test.plain()?.cert_manager()?;
        install(test)?;
        eprintln!("both certificates are ready {:.1} s after cert-manager was begun", started.elapsed().as_secs_f64());
        let site = linked(test, &["--link-certificates", "given"]).await?;
        assert_eq!(taken_up(site.operator.log())?, 1);
        for name in [SERVER_SECRET, AGENT_SECRET] {
            let secret = Api::<Secret>::default_namespaced(test.admin()).get(name).await?;
            ensure!(!secret.data.is_some_and(|data| data.contains_key("keys.json")), "the operator wrote {name}");
        }

        renewed(test, &site).await?;

        // An agent that dials now shows its new one, and meets the operator's.
        let (_again, port) = site.dials_again(test).await?;
        until("a link by the new certificates", SOON, async || Ok(is_linked(port).await?.then_some(()))).await?;
        assert_eq!((site.operator.ended(), issuer.ended()), (None, None));
        Ok(())
    })
}
