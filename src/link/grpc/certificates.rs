//! Where the operators' certificates are kept: two Secrets in their namespace, one for each end of the link.
//!
//! `ampacity-link-server` is the operators' own: what they show, and beside it, under `keys.json`, all that
//! [`super::keys`] decides by. `ampacity-link-agent` is what agents' pods mount. Only the leader writes, by the revision
//! that it read; followers read, so that they could lead at once. Secrets without `keys.json` are another's, such as
//! cert-manager's, with the same three keys: they are read, and never written. So is each that another is said to give,
//! whatever it still holds of ours: cert-manager changes its own three keys and leaves `keys.json` where it was.

use super::keys::{Keys, generate};
use super::tls::{self, AUTHORITIES, CERTIFICATE, KEY, Pems};
use ampacity_core::units::Time;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, PostParams};
use rustls::ServerConfig;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// The operators' Secret.
pub const SERVER_SECRET: &str = "ampacity-link-server";
/// The agents' Secret.
pub const AGENT_SECRET: &str = "ampacity-link-agent";
/// What we keep beside what cert-manager would.
const KEYS: &str = "keys.json";
/// The Secrets are looked at so often once there are certificates,
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// and so often before.
const LOOK_FIRST_EVERY: Duration = Duration::from_secs(2);
/// A look takes this long at most.
const LOOKED_WITHIN: Duration = Duration::from_secs(10);

/// Who makes the certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The leading operator, where there are none of another's.
    Made,
    /// Another: the operators only read.
    Given,
}

/// Why there are no certificates, or none that are newer.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("Secret {SERVER_SECRET}: {0}")]
    Tls(#[from] tls::TlsError),
    #[error("Secret {SERVER_SECRET}: {KEYS}: {0}")]
    Kept(#[from] serde_json::Error),
    #[error("making certificates: {0}")]
    Made(#[from] rcgen::Error),
    #[error("Secret {SERVER_SECRET} is not there yet")]
    Missing,
    #[error("Secret {AGENT_SECRET} is another's, and {SERVER_SECRET} is not: delete the one that is not wanted")]
    Mixed,
    #[error("the API server did not answer within {0} s")]
    Away(u64),
}

/// What a Secret of the operators holds.
#[derive(Debug, PartialEq, Eq)]
enum Kept {
    /// What we made.
    Ours(Box<Keys>),
    /// What another gave.
    Theirs(Pems),
}

fn kept(secret: &Secret, source: Source) -> Result<Kept, KeepError> {
    let data = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
    let Some(keys) = data(KEYS).filter(|_| source == Source::Made) else {
        let pem = |key| data(key).map(|value| value.0.clone()).unwrap_or_default();
        return Ok(Kept::Theirs(Pems { certificate: pem(CERTIFICATE), key: pem(KEY), authorities: pem(AUTHORITIES) }));
    };
    Ok(Kept::Ours(serde_json::from_slice(&keys.0)?))
}

/// A Secret with what one end shows and trusts. `stands` is what it takes the place of.
fn secret(name: &str, pems: Pems, keys: Option<&Keys>, stands: Option<&Secret>) -> Result<Secret, KeepError> {
    let data = [(CERTIFICATE, pems.certificate), (KEY, pems.key), (AUTHORITIES, pems.authorities)];
    let mut data: BTreeMap<String, ByteString> =
        data.into_iter().map(|(key, pem)| (key.to_owned(), ByteString(pem))).collect();
    if let Some(keys) = keys {
        data.insert(KEYS.into(), ByteString(serde_json::to_vec(keys)?));
    }
    let metadata = match stands {
        Some(stands) => stands.metadata.clone(),
        None => {
            let labels =
                [("app.kubernetes.io/name", "ampacity"), ("app.kubernetes.io/managed-by", "ampacity-operator")];
            let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
            ObjectMeta { name: Some(name.into()), labels: Some(labels.into()), ..ObjectMeta::default() }
        }
    };
    // The type of a Secret cannot be changed.
    let type_ = stands.map_or_else(|| Some("kubernetes.io/tls".into()), |stands| stands.type_.clone());
    Ok(Secret { metadata, type_, data: Some(data), ..Secret::default() })
}

/// Keeps certificates in a cluster's Secrets.
pub struct Keeper<L> {
    /// The operators' namespace.
    secrets: Api<Secret>,
    source: Source,
    server_name: String,
    /// Whether this operator leads.
    leads: L,
    /// The certificates as they are now.
    shown: watch::Sender<Option<Arc<ServerConfig>>>,
}

impl<L: Fn() -> bool> Keeper<L> {
    /// Keeps them in `namespace`; what is made bears `server_name`.
    pub fn new(
        client: Client,
        namespace: &str,
        source: Source,
        server_name: &str,
        leads: L,
        shown: watch::Sender<Option<Arc<ServerConfig>>>,
    ) -> Self {
        Self { secrets: Api::namespaced(client, namespace), source, server_name: server_name.into(), leads, shown }
    }

    /// Looks at the Secrets again and again, for good.
    pub async fn run(self) {
        let mut last = None;
        let mut told = String::new();
        loop {
            let looked = tokio::time::timeout(LOOKED_WITHIN, self.look()).await;
            let looked = looked.unwrap_or_else(|_| Err(KeepError::Away(LOOKED_WITHIN.as_secs())));
            match looked.and_then(|pems| self.show(pems, &mut last)) {
                Ok(()) => told.clear(),
                Err(error) => {
                    let why = error.to_string();
                    if why != told {
                        tracing::warn!(why, "certificates of the link");
                        told = why;
                    }
                }
            }
            let ready = self.shown.borrow().is_some();
            tokio::time::sleep(if ready { LOOK_EVERY } else { LOOK_FIRST_EVERY }).await;
        }
    }

    fn show(&self, pems: Pems, last: &mut Option<Pems>) -> Result<(), KeepError> {
        if last.as_ref() != Some(&pems) {
            self.shown.send_replace(Some(tls::server(&pems)?));
            tracing::info!("certificates of the link are in use");
            *last = Some(pems);
        }
        Ok(())
    }

    /// What the operator is to show, after what was due was done.
    async fn look(&self) -> Result<Pems, KeepError> {
        let stands = self.secrets.get_opt(SERVER_SECRET).await?;
        let keys = match stands.as_ref().map(|stands| kept(stands, self.source)).transpose()? {
            Some(Kept::Theirs(pems)) => return Ok(pems),
            Some(Kept::Ours(keys)) => Some(*keys),
            None => None,
        };
        if self.source == Source::Given || !(self.leads)() {
            return keys.map(|keys| keys.server()).ok_or(KeepError::Missing);
        }
        let make = |now| generate(&self.server_name, now);
        let keys = match (Keys::advance(keys.clone(), now(), make)?, keys) {
            (Some(new), _) => {
                self.write(secret(SERVER_SECRET, new.server(), Some(&new), stands.as_ref())?, stands.is_some()).await?;
                tracing::info!(staged = new.next.is_some(), "made certificates of the link");
                new
            }
            (None, Some(keys)) => keys,
            (None, None) => return Err(KeepError::Missing),
        };
        let agents = self.secrets.get_opt(AGENT_SECRET).await?;
        let ours = |secret: &Secret| {
            let by = secret.metadata.labels.as_ref().and_then(|all| all.get("app.kubernetes.io/managed-by"));
            by.is_some_and(|by| by == "ampacity-operator")
        };
        if agents.as_ref().is_some_and(|secret| !ours(secret)) {
            return Err(KeepError::Mixed);
        }
        let wanted = secret(AGENT_SECRET, keys.agent(), None, agents.as_ref())?;
        if agents.as_ref().is_none_or(|agents| agents.data != wanted.data) {
            self.write(wanted, agents.is_some()).await?;
        }
        Ok(keys.server())
    }

    /// Only over what was read.
    async fn write(&self, secret: Secret, stands: bool) -> Result<(), KeepError> {
        let name = secret.metadata.name.clone().unwrap_or_default();
        if stands {
            self.secrets.replace(&name, &PostParams::default(), &secret).await?;
        } else {
            self.secrets.create(&PostParams::default(), &secret).await?;
        }
        Ok(())
    }
}

fn now() -> Time {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::new(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_we_made_is_told_from_one_that_another_filled() {
        let keys = Keys { current: generate("a.svc", Time::seconds(0)).unwrap(), next: None, old: Vec::new() };
        let made = secret(SERVER_SECRET, keys.server(), Some(&keys), None).unwrap();
        assert_eq!(kept(&made, Source::Made).unwrap(), Kept::Ours(Box::new(keys.clone())));
        let given = secret(SERVER_SECRET, keys.server(), None, None).unwrap();
        assert_eq!(kept(&given, Source::Made).unwrap(), Kept::Theirs(keys.server()));
        let mut spoilt = made;
        spoilt.data.as_mut().unwrap().insert(KEYS.into(), ByteString(b"{".to_vec()));
        let said = kept(&spoilt, Source::Made).unwrap_err().to_string();
        assert!(said.starts_with("Secret ampacity-link-server: keys.json: EOF"), "{said}");
    }

    #[test]
    fn what_another_gives_is_shown_whatever_we_kept_beside_it_before() {
        let keys = |at| Keys { current: generate("a.svc", Time::seconds(at)).unwrap(), next: None, old: Vec::new() };
        let (ours, theirs) = (keys(0), keys(9).server());
        let mut filled = secret(SERVER_SECRET, ours.server(), Some(&ours), None).unwrap();
        let of_theirs = secret(SERVER_SECRET, theirs.clone(), None, None).unwrap();
        filled.data.as_mut().unwrap().extend(of_theirs.data.unwrap());
        assert_eq!(kept(&filled, Source::Given).unwrap(), Kept::Theirs(theirs));
        assert_eq!(kept(&filled, Source::Made).unwrap(), Kept::Ours(Box::new(ours)), "and back");
    }

    #[test]
    fn what_takes_the_place_of_a_secret_does_so_by_the_revision_that_was_read() {
        let keys = Keys { current: generate("a.svc", Time::seconds(0)).unwrap(), next: None, old: Vec::new() };
        let mut stands = secret(AGENT_SECRET, keys.agent(), None, None).unwrap();
        stands.metadata.resource_version = Some("7".into());
        let new = secret(AGENT_SECRET, keys.agent(), None, Some(&stands)).unwrap();
        assert_eq!(new, stands);
    }
}
