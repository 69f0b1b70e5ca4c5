//! What a tenant may write, and what the operator makes of it: nothing more is given, and what was taken is taken back
//! within a tick.

use std::time::{Duration, Instant};

use ampacity::api::ComputeLease;
use ampacity_e2e::{Needs, Test, cluster_test_within, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, PropagationPolicy};
use serde_json::{Value, json};

use super::stand::{LIMIT_WATTS, LOWEST_WATTS, SOON, Stand, TENANTS, get, job, lease, stand};
use super::{LIMIT, UNDONE_WITHIN, has, nothing_came_of_it, place, row};

/// What a lease of one GPU adds to what its node draws anyway, W.
const LEASED_WATTS: i64 = 700 - 200;

/// The tenant who tries.
pub(super) struct Cheat {
    pub(super) leases: Api<ComputeLease>,
    jobs: Api<Job>,
    pods: Api<Pod>,
    maps: Api<ConfigMap>,
}

impl Cheat {
    pub(super) fn new(stand: &Stand) -> Self {
        let (client, namespace) = (stand.clients[1].clone(), TENANTS[1]);
        Self {
            leases: Api::namespaced(client.clone(), namespace),
            jobs: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            maps: Api::namespaced(client, namespace),
        }
    }

    async fn patch_job(&self, name: &str, body: Value) -> Result<Job> {
        Ok(self.jobs.patch(name, &PatchParams::default(), &Patch::Merge(body)).await?)
    }

    /// Waits until the operator has answered a lease; gives the offer and the condition Accepted.
    async fn answered(&self, name: &str) -> Result<Value> {
        until(&format!("an answer to lease {name}"), SOON, async || {
            let status = self.leases.get(name).await?.status.context("no status")?;
            let accepted = status.conditions.iter().find(|one| one.type_ == "Accepted").context("no condition")?;
            Ok(Some(json!([status.offer.context("no offer")?, accepted.status, accepted.reason, accepted.message])))
        })
        .await
    }

    /// Whether a Job is suspended, and why.
    async fn switch(&self, name: &str) -> Result<(bool, Option<String>)> {
        let job = self.jobs.get(name).await?;
        let why = job.metadata.annotations.and_then(|all| all.get("ampacity.dev/suspend-reason").cloned());
        Ok((job.spec.and_then(|spec| spec.suspend) == Some(true), why))
    }

    /// Waits until a Job is suspended for this reason and has no pod left. Gives how long it took.
    async fn is_stopped(&self, name: &str, why: &str) -> Result<Duration> {
        let (since, of) = (Instant::now(), ListParams::default().labels(&format!("job-name={name}")));
        until(&format!("Job {name} to be stopped: {why}"), UNDONE_WITHIN, async || {
            let (switch, pods) = (self.switch(name).await?, self.pods.list(&of).await?.items);
            ensure!(switch == (true, Some(why.to_owned())) && pods.is_empty(), "{switch:?}, {} pods", pods.len());
            Ok(Some(since.elapsed()))
        })
        .await
    }

    async fn delete_job(&self, name: &str) -> Result<()> {
        let with_pods =
            DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
        self.jobs.delete(name, &with_pods).await?;
        let of = ListParams::default().labels(&format!("job-name={name}"));
        until("its pods to go", SOON, async || Ok(self.pods.list(&of).await?.items.is_empty().then_some(()))).await
    }
}

/// How many turns of the loop took at most so long, by the bounds of the metric's buckets in seconds, and all of them.
pub(super) async fn turns(stand: &Stand) -> Result<Vec<(f64, u64)>> {
    let text = get(stand.port, "/metrics").await?;
    let buckets = text.lines().filter_map(|line| line.strip_prefix("ampacity_tick_seconds_bucket{le=\""));
    let turns: Vec<_> = buckets
        .filter_map(|line| {
            let (bound, count) = line.split_once("\"} ")?;
            Some((bound.parse().unwrap_or(f64::INFINITY), count.parse().ok()?))
        })
        .collect();
    ensure!(!turns.is_empty(), "no ticks in {text}");
    Ok(turns)
}

/// Waits for so many turns of the operator's loop: what it does not do in them it will not do.
async fn after_turns(stand: &Stand, many: u64) -> Result<()> {
    let all = async || anyhow::Ok(turns(stand).await?.last().map_or(0, |(_, count)| *count));
    let from = all().await?;
    until("the loop to turn", SOON, async || Ok((all().await? >= from + many).then_some(()))).await
}

#[test]
fn what_a_tenant_may_write_gives_it_nothing_more_than_its_terms() -> Result<()> {
    cluster_test_within(LIMIT, Needs::FakeNodes, async |test| {
        let (stand, _turn) = stand(test).await?;
        let (before, cheat) = (has(test, TENANTS[0]).await?, Cheat::new(stand));
        asks_for_too_much(test, stand, &before, &cheat).await?;
        changes_what_it_agreed_to(test, stand, &before, &cheat).await?;
        grows_while_it_waits(test, stand, &before, &cheat).await?;
        is_early_with_a_long_grace(test, stand, &before, &cheat).await?;
        takes_every_gpu_of_a_node(test, stand, &before, &cheat).await
    })
}

/// More than the class allows its namespace, and a hundred years.
async fn asks_for_too_much(test: &Test, stand: &Stand, before: &Value, cheat: &Cheat) -> Result<()> {
    let refused = |said: &str, word: &str, fits: Value| json!([fits, "False", word, said]);
    let cases = [
        (
            lease("more", 2, 24)?,
            "asks past its namespace's allowance",
            refused(
                "refused: more than one namespace may hold",
                "NamespaceLimit",
                json!({"reason": "refused: more than one namespace may hold", "wouldFit": {"gpus": 1}}),
            ),
        ),
        (
            lease("forever", 1, 100 * 365 * 24)?,
            "asks for a hundred years",
            refused(
                "refused: the term is over, backwards or longer than the class allows",
                "TermTooLong",
                json!({"reason": "refused: the term is over, backwards or longer than the class allows"}),
            ),
        ),
    ];
    for (asked, tried, mut answer) in cases {
        let name = asked.metadata.name.clone().unwrap_or_default();
        cheat.leases.create(&PostParams::default(), &asked).await?;
        cheat.jobs.create(&PostParams::default(), &job(&name, &name, 1, 1)?).await?;
        let said = cheat.answered(&name).await?;
        // When it would fit is the end of what stands: as long as this test's clock says.
        if let (Some(own), Some(start)) = (answer.pointer_mut("/0/wouldFit"), said.pointer("/0/wouldFit/start")) {
            own["start"] = start.clone();
        }
        assert_eq!(said, answer, "{tried}");
        cheat.is_stopped(&name, "NoLease").await?;
        after_turns(stand, 3).await?;
        assert_eq!(cheat.switch(&name).await?, (true, Some("NoLease".into())));
        row(tried, "POST computeleases", "operator, the lease's offer", &said.get(3).unwrap_or(&said).to_string());
        nothing_came_of_it(test, stand, before, tried).await?;
        cheat.delete_job(&name).await?;
        cheat.leases.delete(&name, &DeleteParams::default()).await?;
    }
    Ok(())
}

/// The price that it agreed to, the notice that it was not given, the checkpoint that nobody asked for.
async fn changes_what_it_agreed_to(test: &Test, stand: &Stand, before: &Value, cheat: &Cheat) -> Result<()> {
    let own = has(test, TENANTS[1]).await?;
    let price = async |usd: &str| {
        let patch = json!({"spec": {"maxPricePerGpuHour": usd}});
        cheat.leases.patch("train", &PatchParams::default(), &Patch::Merge(patch)).await
    };
    price("0.01").await?;
    after_turns(stand, 3).await?;
    let now = has(test, TENANTS[1]).await?;
    for same in ["/terms", "/grant", "/job/spec", "/pods"] {
        assert_eq!(now.pointer(same), own.pointer(same), "{same}");
    }
    row("lowers what it pays at most once it is served", "PATCH computeleases", "terms are pinned", "2.10 USD stands");
    price("2.20").await?;
    let marks = json!({"ampacity.dev/checkpoint-done": "1", "ampacity.dev/notice-deadline": "2126-01-01T00:00:00Z"});
    cheat.patch_job("train", json!({"metadata": {"annotations": marks}})).await?;
    let since = Instant::now();
    until("the notice that nobody gave to be taken off", UNDONE_WITHIN, async || {
        let annotations = cheat.jobs.get("train").await?.metadata.annotations.unwrap_or_default();
        Ok((!annotations.contains_key("ampacity.dev/notice-deadline")).then_some(()))
    })
    .await?;
    row(
        "writes itself a notice",
        "PATCH jobs",
        "operator, undone",
        &format!("after {:.1} s", since.elapsed().as_secs_f64()),
    );
    cheat.patch_job("train", json!({"metadata": {"annotations": {"ampacity.dev/checkpoint-done": null}}})).await?;
    nothing_came_of_it(test, stand, before, "changes what it agreed to").await
}

/// A Job that waits may change its size; what then asks for more than the lease has does not run.
async fn grows_while_it_waits(test: &Test, stand: &Stand, before: &Value, cheat: &Cheat) -> Result<()> {
    cheat.patch_job("waiting", json!({"spec": {"parallelism": 100}})).await?;
    after_turns(stand, 3).await?;
    assert_eq!(cheat.switch("waiting").await?, (true, Some("NotGranted".into())));
    row("raises the parallelism of a Job that waits", "PATCH jobs", "operator, does not start it", "NotGranted");
    nothing_came_of_it(test, stand, before, "raises the parallelism of a Job that waits").await?;
    cheat.patch_job("waiting", json!({"spec": {"parallelism": 1}})).await.map(drop)
}

/// A Job that is written before its lease has terms shows its grace to no policy.
async fn is_early_with_a_long_grace(test: &Test, stand: &Stand, before: &Value, cheat: &Cheat) -> Result<()> {
    let mut early = job("early", "later", 1, 1)?;
    if let Some(pod) = early.spec.as_mut().and_then(|spec| spec.template.spec.as_mut()) {
        pod.termination_grace_period_seconds = Some(31_536_000);
    }
    cheat.jobs.create(&PostParams::default(), &early).await?;
    cheat.leases.create(&PostParams::default(), &lease("later", 1, 24)?).await?;
    let said = async || {
        let status = cheat.leases.get("later").await?.status.context("no status")?;
        let granted = status.grant.as_ref().is_some_and(|grant| grant.gpus == Some(1));
        ensure!(granted, "{status:?}");
        let found = status.conditions.into_iter().find(|one| one.type_ == "GraceExceedsDeadline");
        anyhow::Ok(found.map(|one| [one.status, one.reason, one.message]))
    };
    let message = "Job early does not run: its terminationGracePeriodSeconds is 31536000: at most the 60 s of notice; make \
                   another Job";
    let told = until("a lease that is granted, and told of its Job", SOON, async || said().await).await?;
    assert_eq!(told, ["True", "GraceTooLong", message].map(str::to_owned));
    cheat.is_stopped("early", "GraceTooLong").await?;
    after_turns(stand, 3).await?;
    assert_eq!(cheat.switch("early").await?, (true, Some("GraceTooLong".into())));
    row("writes a Job with a year of grace before its lease", "POST jobs", "operator, does not start it", message);
    nothing_came_of_it(test, stand, before, "is early with a long grace").await?;
    cheat.delete_job("early").await?;
    until("the word to be taken back", SOON, async || Ok(said().await?.is_none().then_some(()))).await
}

/// The Job that does run: under a lease of one GPU, asks for none, has all of them by its environment, and wants its
/// nodes' GPUs busy. What they draw is their nodes' caps, which rise by what was leased and by no more.
async fn takes_every_gpu_of_a_node(test: &Test, stand: &Stand, before: &Value, cheat: &Cheat) -> Result<()> {
    let map = serde_json::from_value(json!({"metadata": {"name": "env"}, "data": {"NVIDIA_VISIBLE_DEVICES": "all"}}))?;
    cheat.maps.create(&PostParams::default(), &map).await?;
    let idle = async || {
        let all = Api::<Pod>::all(test.admin()).list(&ListParams::default().labels("ampacity.dev/lease")).await?.items;
        let used = |node: &&str| all.iter().any(|pod| place(pod) == Some(*node));
        anyhow::Ok(super::NODES.into_iter().filter(|node| !used(node)).collect::<Vec<_>>())
    };
    let idle = idle().await?.first().copied().context("every node is leased")?;
    let mut greedy = serde_json::to_value(job("greedy", "later", 2, 1)?)?;
    let pod = greedy.pointer_mut("/spec/template/spec").context("a Job without a pod")?;
    pod["containers"] = json!([{"name": "a", "image": "none", "envFrom": [{"configMapRef": {"name": "env"}}]}]);
    pod["nodeSelector"] = json!({"kubernetes.io/hostname": idle});
    cheat.jobs.create(&PostParams::default(), &serde_json::from_value(greedy)?).await?;
    let of = ListParams::default().labels("job-name=greedy");
    until("the greedy Job's pods to run", SOON, async || {
        let pods = cheat.pods.list(&of).await?.items;
        let there = pods.iter().filter(|pod| place(pod) == Some(idle));
        Ok((there.count() == 2).then_some(()))
    })
    .await?;
    after_turns(stand, 10).await?;
    let (watts, seen) = (stand.caps.of(idle)?, stand.caps.seen());
    // Of eight GPUs that may be at work it can draw what one was leased.
    ensure!((LOWEST_WATTS..=LOWEST_WATTS + LEASED_WATTS).contains(&watts), "{}: {watts} W, {seen:?}", idle);
    ensure!(seen.most_watts <= LIMIT_WATTS, "{seen:?}");
    assert_eq!(&has(test, TENANTS[0]).await?, before);
    let said = format!(
        "the pods run; {} can draw {watts} W by its caps: what runs anyway, and no more than the lease's {LEASED_WATTS} W",
        idle
    );
    row("has all GPUs of a node by an image's or a ConfigMap's environment", "POST jobs", "the node's caps", &said);
    cheat.delete_job("greedy").await?;
    cheat.leases.delete("later", &DeleteParams::default()).await?;
    nothing_came_of_it(test, stand, before, "takes every GPU of a node").await
}

/// What the policy refuses is what the operator would take back: with the policy gone, and with a race that it loses.
#[test]
fn what_slips_past_the_api_server_is_undone_within_a_tick() -> Result<()> {
    cluster_test_within(LIMIT, Needs::FakeNodes, async |test| {
        let (stand, _turn) = stand(test).await?;
        let (before, cheat) = (has(test, TENANTS[0]).await?, Cheat::new(stand));
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(test.admin());
        let mut binding = bindings.get("ampacity-lease-jobs").await?;
        bindings.delete("ampacity-lease-jobs", &DeleteParams::default()).await?;

        until("the policy to be gone", SOON, async || {
            Ok(cheat.patch_job("waiting", json!({"spec": {"suspend": false}})).await.ok())
        })
        .await?;
        let took = cheat.is_stopped("waiting", "NotGranted").await?;
        row(
            "starts a Job, with the policy gone",
            "PATCH jobs",
            "operator, undone",
            &format!("after {:.1} s", took.as_secs_f64()),
        );
        nothing_came_of_it(test, stand, &before, "starts a Job").await?;

        // What waits behind it would have the lease's watts by right, once it stands.
        cheat.delete_job("waiting").await?;
        cheat.patch_job("train", json!({"spec": {"parallelism": 3}})).await?;
        let took = cheat.is_stopped("train", "NotGranted").await?;
        row(
            "makes a running Job larger, with the policy gone",
            "PATCH jobs",
            "operator, undone",
            &format!("after {:.1} s", took.as_secs_f64()),
        );
        nothing_came_of_it(test, stand, &before, "makes a running Job larger").await?;
        cheat.patch_job("train", json!({"spec": {"parallelism": 2}})).await?;

        binding.metadata.resource_version = None;
        binding.metadata.uid = None;
        bindings.create(&PostParams::default(), &binding).await?;
        super::stand::works(&stand.clients[1], TENANTS[1]).await?;
        cheat.jobs.create(&PostParams::default(), &job("waiting", "train", 1, 4)?).await?;
        until("the policy to be back", SOON, async || {
            let patch = Patch::Merge(json!({"spec": {"suspend": false}}));
            let dry = PatchParams { dry_run: true, ..PatchParams::default() };
            Ok(cheat.jobs.patch("waiting", &dry, &patch).await.is_err().then_some(()))
        })
        .await
    })
}
