//! The way to the leading operator: a port forwarded to its pod, or an address.

use super::ExplainArgs;
use crate::store::LEADERSHIP_NAME;
use anyhow::{Context, anyhow, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// An answer takes a turn of the operator's loop and some work.
const WITHIN: Duration = Duration::from_secs(45);
/// No answer is larger.
const ANSWER_MAX: usize = 16 << 20;

/// Where an operator answers: `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url(String);

/// Reads `http://HOST:PORT`.
pub(super) fn url(text: &str) -> Result<Url, String> {
    let wrong = || format!("{text:?}: http://ADDRESS:PORT is expected");
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/") && uri.port_u16().is_some();
    let authority = uri.authority().filter(|_| plain).ok_or_else(wrong)?;
    Ok(Url(authority.to_string()))
}

enum Way {
    Direct(String),
    Pod { client: Client, namespace: String, pod: String, port: u16 },
}

/// The operator that is asked.
pub(super) struct Operator {
    /// The namespace of who asks.
    pub(super) namespace: String,
    way: Way,
}

impl Operator {
    /// The operator of the arguments: the one named, or the one that leads.
    pub(super) async fn find(args: &ExplainArgs) -> anyhow::Result<Self> {
        if let Some(Url(address)) = &args.operator {
            let own = args.cluster.config().await.ok().map(|config| config.default_namespace);
            let namespace = args.namespace.clone().or(own).unwrap_or_else(|| "default".into());
            return Ok(Self { namespace, way: Way::Direct(address.clone()) });
        }
        let config = args.cluster.config().await?;
        let asked_from = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("making a client of the API server")?;
        let namespace = args.operator_namespace.clone();
        let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
        let lease = tokio::time::timeout(WITHIN, leases.get_opt(LEADERSHIP_NAME)).await;
        let lease = lease.context("the API server does not answer")?;
        let lease = lease.with_context(|| format!("reading who leads, Lease {namespace}/{LEADERSHIP_NAME}"))?;
        let holder = lease.and_then(|lease| lease.spec?.holder_identity).filter(|holder| !holder.is_empty());
        let pod = holder.ok_or_else(|| anyhow!("no operator leads in namespace {namespace} (--operator-namespace)"))?;
        let way = Way::Pod { client, namespace, pod, port: args.operator_port };
        Ok(Self { namespace: asked_from, way })
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Bytes> {
        self.ask(Method::GET, path, Vec::new()).await
    }

    pub(super) async fn post(&self, path: &str, body: Vec<u8>) -> anyhow::Result<Bytes> {
        self.ask(Method::POST, path, body).await
    }

    async fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<Bytes> {
        let asking = async {
            match &self.way {
                Way::Direct(address) => {
                    let stream = TcpStream::connect(address).await.with_context(|| format!("reaching {address}"))?;
                    exchange(stream, address, method, path, body).await
                }
                Way::Pod { client, namespace, pod, port } => {
                    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
                    let forwarded = pods.portforward(pod, &[*port]).await;
                    let mut forwarded = forwarded.with_context(|| {
                        format!(
                            "forwarding a port to {namespace}/{pod}: it takes the right to create pods/portforward \
                             there (an operator outside the cluster is asked with --operator)"
                        )
                    })?;
                    let stream = forwarded.take_stream(*port).context("the forwarded port has no stream")?;
                    exchange(stream, "localhost", method, path, body).await
                }
            }
        };
        tokio::time::timeout(WITHIN, asking).await.context("the operator does not answer")?
    }
}

/// One request and its answer.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    host: &str,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> anyhow::Result<Bytes> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the stream; what goes wrong on it is the request's error too.
    let connection = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", host);
    let request = request.header("content-type", "application/json").header("connection", "close");
    let response = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await.context("asking")?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
    let body = body.map_err(|error| anyhow!("reading the answer: {error}"))?.to_bytes();
    connection.abort();
    if !status.is_success() {
        bail!("{}", String::from_utf8_lossy(&body).trim_end());
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_a_host_and_a_port_and_no_path() {
        assert_eq!(url("http://127.0.0.1:8082"), Ok(Url("127.0.0.1:8082".into())));
        for wrong in ["127.0.0.1:8082", "https://a:1", "http://a", "http://a:1/b", "http://", ""] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
