//! Who talks to the API server: users of its token file, and the kubeconfigs that carry their tokens.

use anyhow::{Context, Result, anyhow};
use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

/// A user and the groups it is in (`system:authenticated` is added by the API server).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct User {
    /// The name that RBAC and admission policies see.
    pub name: &'static str,
    /// The groups that RBAC and admission policies see.
    pub groups: &'static [&'static str],
}

/// May do everything.
pub const ADMIN: User = User { name: "admin", groups: &["system:masters"] };
/// The operator's account. Born without rights: a test grants what it wants to prove.
pub const OPERATOR: User = User { name: "ampacity:operator", groups: &["ampacity:operators"] };
/// An agent's account. Born without rights.
pub const AGENT: User = User { name: "ampacity:agent", groups: &["ampacity:agents"] };
/// The first tenant. Born without rights.
pub const TENANT_A: User = User { name: "tenant-a", groups: &["tenants"] };
/// The second tenant, to be kept apart from the first. Born without rights.
pub const TENANT_B: User = User { name: "tenant-b", groups: &["tenants"] };
/// A utility that writes grid events. Born without rights.
pub const UTILITY: User = User { name: "utility", groups: &["utilities"] };

/// The users that tests may be; each gets a token of its own at every start.
pub const PEOPLE: [User; 6] = [ADMIN, OPERATOR, AGENT, TENANT_A, TENANT_B, UTILITY];

/// The controller-manager, by the name that the API server's built-in RBAC knows.
pub(crate) const CONTROLLER_MANAGER: User = User { name: "system:kube-controller-manager", groups: &[] };
/// The scheduler, by the name that the API server's built-in RBAC knows.
pub(crate) const SCHEDULER: User = User { name: "system:kube-scheduler", groups: &[] };
/// kwok plays every node at once, so it is nobody's node: a user of its own with all rights.
pub(crate) const KWOK: User = User { name: "kwok", groups: &["system:masters"] };
/// The real node's kubelet, by the name that the API server's node authorizer knows.
pub(crate) const KUBELET: User = User { name: "system:node:real", groups: &["system:nodes"] };
/// kube-proxy, by the name that the API server's built-in RBAC knows.
pub(crate) const PROXY: User = User { name: "system:kube-proxy", groups: &[] };
/// The cluster's DNS: it reads Services and their endpoints.
pub(crate) const DNS: User = User { name: "dns", groups: &["system:masters"] };

/// One token for each user, and the file that tells the API server about them.
#[derive(Debug)]
pub(crate) struct Tokens(Vec<(User, String)>);

impl Tokens {
    /// Draws a token of 128 random bits for each person and part.
    pub(crate) fn draw() -> Result<Self> {
        let users = PEOPLE.into_iter().chain([CONTROLLER_MANAGER, SCHEDULER, KWOK, KUBELET, PROXY, DNS]);
        users.map(|user| Ok((user, random_hex(16)?))).collect::<Result<Vec<_>>>().map(Self)
    }

    /// The lines of `--token-auth-file`: token, name, uid, groups.
    pub(crate) fn file(&self) -> String {
        let line = |(user, token): &(User, String)| {
            format!("{token},\"{name}\",\"{name}\",\"{groups}\"\n", name = user.name, groups = user.groups.join(","))
        };
        self.0.iter().map(line).collect()
    }

    /// The token of `user`.
    pub(crate) fn of(&self, user: User) -> Result<&str> {
        let found = self.0.iter().find(|(known, _)| *known == user).map(|(_, token)| token.as_str());
        found.ok_or_else(|| anyhow!("user {:?} is not in the token file: use one of identity::PEOPLE", user.name))
    }
}

/// How a kubeconfig says who its user is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A bearer token: of the token file, or of a ServiceAccount.
    Token(String),
    /// A bearer token whose owner acts as somebody else.
    Impersonate {
        /// The token of somebody who may impersonate.
        token: String,
        /// The user acted as.
        user: String,
        /// The groups acted as.
        groups: Vec<String>,
    },
}

/// A kubeconfig for `server` (`https://host:port`), trusting `ca_pem` alone.
#[must_use]
pub fn kubeconfig(server: &str, ca_pem: &[u8], credential: &Credential, namespace: &str) -> serde_json::Value {
    let user = match credential {
        Credential::Token(token) => json!({"token": token}),
        Credential::Impersonate { token, user, groups } => json!({"token": token, "as": user, "as-groups": groups}),
    };
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
        "clusters": [{"name": "e2e", "cluster": {"server": server, "certificate-authority-data": STANDARD.encode(ca_pem)}}],
        "users": [{"name": "e2e", "user": user}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e", "namespace": namespace}}],
    })
}

/// The client configuration that a kubeconfig describes, with the suite's own bounds: connecting takes at
/// most five seconds, and nothing is retried behind a test's back.
///
/// # Errors
/// If the kubeconfig is not one.
pub async fn client_config(kubeconfig: serde_json::Value) -> Result<kube::Config> {
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.connect_timeout = Some(std::time::Duration::from_secs(5));
    config.default_retry = false;
    Ok(config)
}

/// A token of a ServiceAccount for these audiences (none: the API server's own), bound to a pod by its name and UID where
/// one is named, as `client` may ask for it.
///
/// # Errors
/// If the API server refuses it.
pub async fn token(
    client: Client,
    namespace: &str,
    account: &str,
    audiences: &[&str],
    pod: Option<(&str, &str)>,
) -> Result<String> {
    let bound = pod.map(|(name, uid)| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}));
    let asked: TokenRequest =
        serde_json::from_value(json!({"spec": {"audiences": audiences, "boundObjectRef": bound}}))?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client, namespace);
    let given = accounts.create_token_request(account, &PostParams::default(), &asked).await?;
    Ok(given.status.context("a token request without an answer")?.token)
}

/// `bytes` random bytes as hexadecimal.
pub(crate) fn random_hex(bytes: usize) -> Result<String> {
    let mut drawn = vec![0; bytes];
    aws_lc_rs::rand::fill(&mut drawn).map_err(|_| anyhow!("the operating system gave no random bytes"))?;
    Ok(drawn.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_file_has_one_line_for_each_user_with_its_groups_quoted() {
        let tokens = Tokens(vec![(TENANT_A, "aa".into()), (CONTROLLER_MANAGER, "bb".into())]);
        assert_eq!(
            tokens.file(),
            "aa,\"tenant-a\",\"tenant-a\",\"tenants\"\n\
             bb,\"system:kube-controller-manager\",\"system:kube-controller-manager\",\"\"\n"
        );
    }

    #[test]
    fn a_user_outside_the_token_file_is_named_in_the_error() -> Result<()> {
        let stranger = User { name: "mallory", groups: &[] };
        let message = Tokens::draw()?.of(stranger).map_err(|error| error.to_string()).map(str::to_owned);
        assert_eq!(message, Err("user \"mallory\" is not in the token file: use one of identity::PEOPLE".to_owned()));
        Ok(())
    }
}
