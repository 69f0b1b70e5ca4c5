//! Who speaks: the ServiceAccount token of an agent's pod, as the API server knows it.

use crate::link::AgentOf;
use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::Client;
use kube::api::{Api, PostParams};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The audience of the agents' tokens: a token for the API server, or for anybody else, opens nothing here.
pub const AUDIENCE: &str = "ampacity-link";

/// What was proved is believed for so long without asking again.
const PROVED_FOR: Duration = Duration::from_secs(60);
/// What was refused is refused for so long without asking again.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// Answers that are kept: one for each agent of the largest site, twice.
const KEPT_MOST: usize = 20_000;
/// Questions to the API server at a time: all agents come at once after a change of leader.
const ASKED_AT_ONCE: usize = 16;
/// A question takes this long at most.
const ASKED_WITHIN: Duration = Duration::from_secs(5);
/// A token is shorter than this, bytes.
const TOKEN_MOST: usize = 8 * 1_024;

/// What a token proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved {
    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub account: String,
    /// The pod that it is bound to.
    pub pod: String,
    /// That pod's UID.
    pub pod_uid: String,
    /// The node that the pod runs on.
    pub node: String,
}

/// Why a token proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproved {
    /// It is no token of an agent's pod, or not any more.
    #[error("the token is refused: {0}")]
    Refused(String),
    /// Nobody could be asked.
    #[error("the token could not be reviewed: {0}")]
    Away(String),
}

/// Whom to ask about a token.
pub trait Reviewer: Send + Sync + 'static {
    /// What a token proves.
    fn review(&self, token: String) -> BoxFuture<'static, Result<Proved, Unproved>>;
}

/// The API server.
#[derive(Clone)]
pub struct ApiServer {
    client: Client,
}

impl ApiServer {
    /// Asks through this client.
    pub const fn new(client: Client) -> Self {
        Self { client }
    }
}

impl Reviewer for ApiServer {
    fn review(&self, token: String) -> BoxFuture<'static, Result<Proved, Unproved>> {
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        Box::pin(async move {
            let spec = TokenReviewSpec { audiences: Some(vec![AUDIENCE.into()]), token: Some(token) };
            let review = TokenReview { spec, ..TokenReview::default() };
            match reviews.create(&PostParams::default(), &review).await {
                Ok(reviewed) => read(reviewed.status.unwrap_or_default()),
                Err(error) => Err(Unproved::Away(error.to_string())),
            }
        })
    }
}

/// What the API server says of a token. It must be meant for us, and bound to a pod on a node.
fn read(status: TokenReviewStatus) -> Result<Proved, Unproved> {
    let refused = |why: &str| Err(Unproved::Refused(why.into()));
    if status.authenticated != Some(true) {
        return Err(Unproved::Refused(status.error.unwrap_or_else(|| "not authenticated".into())));
    }
    if !status.audiences.unwrap_or_default().iter().any(|audience| audience == AUDIENCE) {
        return refused("its audience is not ampacity-link");
    }
    let user = status.user.unwrap_or_default();
    let mut extra = user.extra.unwrap_or_default();
    let mut bound = |name: &str| match extra.remove(&format!("authentication.kubernetes.io/{name}")) {
        Some(values) if values.len() == 1 => values.into_iter().next().filter(|value| !value.is_empty()),
        _ => None,
    };
    match (user.username, bound("pod-name"), bound("pod-uid"), bound("node-name")) {
        (Some(account), Some(pod), Some(pod_uid), Some(node)) => Ok(Proved { account, pod, pod_uid, node }),
        (_, Some(_), Some(_), None) => refused("it names no node: its pod had none when it was made"),
        _ => refused("it is bound to no pod"),
    }
}

/// Whose tokens may speak for which loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounts {
    /// The operator's namespace: agents of another are none.
    pub namespace: String,
    /// ServiceAccount of the agents of containers.
    pub miner: String,
    /// ServiceAccount of the agents of GPU nodes.
    pub gpu: String,
}

impl Accounts {
    /// Whether this is the agent of a load.
    ///
    /// # Errors
    /// Why not, for its log.
    pub fn admit(&self, proved: &Proved, agent: &AgentOf) -> Result<(), String> {
        let (account, is, of) = match agent {
            AgentOf::Pod(pod) => (&self.miner, *proved.pod == **pod, format!("pod {pod}")),
            AgentOf::Node(node) => (&self.gpu, *proved.node == **node, format!("the agent on node {node}")),
        };
        let account = format!("system:serviceaccount:{}:{account}", self.namespace);
        if proved.account == account && is {
            return Ok(());
        }
        let Proved { account: got, pod, node, .. } = proved;
        Err(format!("{of} of account {account} speaks for this load, not pod {pod} on node {node} of account {got}"))
    }
}

/// Digest of a token, what became of it, and until when that is believed.
type Known = BTreeMap<[u8; 32], (Result<Proved, Unproved>, Instant)>;

/// Asks about tokens, and remembers for a while.
pub(super) struct Gate {
    reviewer: Box<dyn Reviewer>,
    pub(super) accounts: Accounts,
    known: Mutex<Known>,
    asking: Semaphore,
}

impl Gate {
    pub(super) fn new(reviewer: Box<dyn Reviewer>, accounts: Accounts) -> Self {
        Self { reviewer, accounts, known: Mutex::default(), asking: Semaphore::new(ASKED_AT_ONCE) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a token proves, by what is remembered or else by the API server. That nobody could be asked is not
    /// remembered.
    pub(super) async fn prove(&self, token: &str) -> Result<Proved, Unproved> {
        if token.is_empty() || token.len() > TOKEN_MOST {
            return Err(Unproved::Refused("no token is of that length".into()));
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        let now = Instant::now();
        if let Some((answer, _)) = self.known().get(&digest).filter(|(_, until)| now < *until) {
            return answer.clone();
        }
        let asked = async {
            let _turn = self.asking.acquire().await;
            self.reviewer.review(token.to_owned()).await
        };
        let answer = match tokio::time::timeout(ASKED_WITHIN, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(Unproved::Away(format!("no answer within {} s", ASKED_WITHIN.as_secs()))),
        };
        let keep = match &answer {
            Ok(_) => PROVED_FOR,
            Err(Unproved::Refused(_)) => REFUSED_FOR,
            Err(Unproved::Away(_)) => return answer,
        };
        let now = Instant::now();
        let mut known = self.known();
        if known.len() >= KEPT_MOST {
            known.retain(|_, (_, until)| now < *until);
        }
        if known.len() < KEPT_MOST {
            known.insert(digest, (answer.clone(), now + keep));
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(change: impl FnOnce(&mut serde_json::Value)) -> TokenReviewStatus {
        let mut status = json!({
            "authenticated": true, "audiences": [AUDIENCE],
            "user": {"username": "system:serviceaccount:ampacity:ampacity-gpu-agent", "extra": {
                "authentication.kubernetes.io/pod-name": ["ampacity-gpu-agent-x"],
                "authentication.kubernetes.io/pod-uid": ["1-2"],
                "authentication.kubernetes.io/node-name": ["gpu-17"],
            }},
        });
        change(&mut status);
        serde_json::from_value(status).unwrap()
    }

    fn proved() -> Proved {
        Proved {
            account: "system:serviceaccount:ampacity:ampacity-gpu-agent".into(),
            pod: "ampacity-gpu-agent-x".into(),
            pod_uid: "1-2".into(),
            node: "gpu-17".into(),
        }
    }

    #[test]
    fn only_a_token_for_the_link_that_is_bound_to_a_pod_on_a_node_proves_anything() {
        let refused = |why: &str| Err(Unproved::Refused(why.into()));
        let extra = |status: &mut serde_json::Value, name: &str, value: serde_json::Value| {
            status["user"]["extra"][format!("authentication.kubernetes.io/{name}")] = value;
        };
        assert_eq!(read(status(|_| {})), Ok(proved()));
        assert_eq!(read(status(|s| s["authenticated"] = json!(false))), refused("not authenticated"));
        let expired = |s: &mut serde_json::Value| {
            s["authenticated"] = json!(false);
            s["error"] = json!("token has expired");
        };
        assert_eq!(read(status(expired)), refused("token has expired"));
        let other = status(|s| s["audiences"] = json!(["https://kubernetes.default.svc"]));
        assert_eq!(read(other), refused("its audience is not ampacity-link"));
        assert_eq!(read(status(|s| s["audiences"] = json!(null))), refused("its audience is not ampacity-link"));
        assert_eq!(read(status(|s| s["user"]["extra"] = json!({}))), refused("it is bound to no pod"));
        let two = status(|s| extra(s, "pod-name", json!(["a", "b"])));
        assert_eq!(read(two), refused("it is bound to no pod"));
        let nowhere = status(|s| extra(s, "node-name", json!([""])));
        assert_eq!(read(nowhere), refused("it names no node: its pod had none when it was made"));
    }

    #[test]
    fn an_agent_speaks_for_the_load_of_its_pod_or_node_under_its_own_account_and_for_no_other() {
        let accounts = Accounts {
            namespace: "ampacity".into(),
            miner: "ampacity-miner-agent".into(),
            gpu: "ampacity-gpu-agent".into(),
        };
        let admits = |proved: &Proved, agent: &AgentOf| accounts.admit(proved, agent).is_ok();
        let (own, other) = (AgentOf::Node("gpu-17".into()), AgentOf::Node("gpu-18".into()));
        let pod = AgentOf::Pod("s21-0-agent".into());
        let gpu = proved();
        let of = |namespace: &str, name: &str| format!("system:serviceaccount:{namespace}:{name}");
        let miner =
            Proved { account: of("ampacity", "ampacity-miner-agent"), pod: "s21-0-agent".into(), ..gpu.clone() };
        assert_eq!([&own, &other, &pod].map(|agent| admits(&gpu, agent)), [true, false, false]);
        // A container's agent that happens to run on a GPU node does not speak for the node.
        assert_eq!([&own, &other, &pod].map(|agent| admits(&miner, agent)), [false, false, true]);
        // A tenant may name its pod as it likes, and run it on the node that it leased.
        let tenant = Proved { account: of("tenant-a", "ampacity-miner-agent"), ..miner.clone() };
        let tenants_gpu = Proved { account: of("tenant-a", "ampacity-gpu-agent"), ..gpu };
        assert_eq!((admits(&tenant, &pod), admits(&tenants_gpu, &own)), (false, false));
        assert_eq!(
            accounts.admit(&miner, &AgentOf::Pod("s21-1-agent".into())),
            Err(
                "pod s21-1-agent of account system:serviceaccount:ampacity:ampacity-miner-agent speaks for this load, \
                 not pod s21-0-agent on node gpu-17 of account system:serviceaccount:ampacity:ampacity-miner-agent"
                    .into()
            )
        );
    }
}
