//! `ampacity operator`: the loop in a cluster.

use super::agent::Device;
use crate::link::Uplink;
use crate::link::grpc::certificates::{Keeper, Source};
use crate::link::grpc::identity::{Accounts, ApiServer};
use crate::link::grpc::server::GrpcUplink;
use crate::link::memory::{Exchange, MemoryUplink};
use crate::market::Market;
use crate::operator::explain;
use crate::operator::http::{self, Health};
use crate::operator::own::{AgentPods, PodOptions};
use crate::operator::run::{Pace, Shell, SystemClock, run};
use crate::operator::{Operator, Options};
use crate::store::Filter;
use crate::store::kube::{KubeStore, control};
use anyhow::Context;
use clap::{Args, ValueEnum};
use kube::{Client, Config};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing_subscriber::EnvFilter;

/// The code of an operator that must be started afresh: it lost the leadership, or its account of the watts.
pub const EXIT_AFRESH: u8 = 3;

/// ServiceAccount of mining containers' agents, as the chart calls it.
const MINER_ACCOUNT: &str = "ampacity-miner-agent";

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for a person.
    Text,
    /// One JSON object a line.
    Json,
}

/// Who makes the link's certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CertificateSource {
    /// The leading operator makes and renews them, where they are not another's.
    Made,
    /// Another does, such as cert-manager: they are only read.
    Given,
}

/// Runs the operator against the cluster of the kubeconfig, or of the pod that it runs in.
#[derive(Args, Clone, Debug)]
pub struct OperatorArgs {
    /// Namespace of loads, agents and the leader's Lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "ampacity")]
    namespace: String,
    /// This operator's own name, different from every other replica's: the pod's.
    #[arg(long, env = "POD_NAME")]
    name: String,
    /// Where /healthz, /readyz and /metrics are answered.
    #[arg(long, default_value = "0.0.0.0:8080")]
    http_address: SocketAddr,
    /// Where `ampacity explain` is answered. It tells every tenant's prices and leases: leave it on the pod's own
    /// loopback address, which takes the right to forward a port to this pod to reach.
    #[arg(long, default_value = "127.0.0.1:8082")]
    explain_address: SocketAddr,
    /// Folder that relative paths of price, hashprice and meter files start at.
    #[arg(long, default_value = ".")]
    feeds_folder: PathBuf,
    /// Image of the agents' pods, one for each mining container; left out, somebody else runs the agents.
    #[arg(long, requires = "agent_service_account", requires = "agent_device")]
    agent_image: Option<String>,
    /// ServiceAccount of the agents' pods.
    #[arg(long, requires = "agent_image")]
    agent_service_account: Option<String>,
    /// What drives the devices of the agents' pods.
    #[arg(long, value_enum, requires = "agent_image")]
    agent_device: Option<Device>,
    /// PriorityClass of the agents' pods; left out, the cluster's default.
    #[arg(long, requires = "agent_image")]
    agent_priority_class: Option<String>,
    /// Where agents are listened to while this operator leads; left out, orders reach them through the API server alone.
    #[arg(long)]
    link_address: Option<SocketAddr>,
    /// Host under which agents reach it, which the leader's Lease tells them: the pod's address.
    #[arg(long, env = "POD_IP", default_value = "127.0.0.1")]
    link_host: String,
    /// The name in this operator's certificate; left out, ampacity-operator.NAMESPACE.svc.
    #[arg(long)]
    link_server_name: Option<String>,
    /// Who keeps the certificates in the Secrets ampacity-link-server and ampacity-link-agent.
    #[arg(long, value_enum, default_value = "made")]
    link_certificates: CertificateSource,
    /// ServiceAccount of mining containers' agents, as far as the link believes them; left out, --agent-service-account
    /// or ampacity-miner-agent.
    #[arg(long)]
    link_miner_account: Option<String>,
    /// ServiceAccount of GPU nodes' agents, as far as the link believes them.
    #[arg(long, default_value = "ampacity-gpu-agent")]
    link_gpu_account: String,
    /// The loop turns at least this often, milliseconds.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(100..=10_000))]
    tick_milliseconds: u64,
    /// The loop rests at least this long between two turns, milliseconds.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    rest_milliseconds: u64,
    /// A stop waits at most this long for answers and for the release of the leadership, seconds.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=60))]
    stop_within_seconds: u64,
    /// Format of the log on standard error. What is logged is RUST_LOG's to say; by default info.
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

impl OperatorArgs {
    fn options(&self) -> Options {
        let agents = match (&self.agent_image, &self.agent_service_account, self.agent_device) {
            (Some(image), Some(account), Some(device)) => AgentPods::Pods(PodOptions {
                image: image.clone(),
                service_account: account.clone(),
                device: device.word().into(),
                priority_class: self.agent_priority_class.clone(),
                link: self.link_address.map(|_| self.server_name()),
            }),
            _ => AgentPods::Elsewhere,
        };
        Options { name: self.name.clone(), namespace: self.namespace.clone(), agents, link: String::new() }
    }

    fn server_name(&self) -> String {
        self.link_server_name.clone().unwrap_or_else(|| server_name(&self.namespace))
    }

    /// The host and port of an address that is listened at, as agents dial it.
    fn reached_at(&self, address: SocketAddr) -> String {
        let host = &self.link_host;
        if host.contains(':') { format!("[{host}]:{}", address.port()) } else { format!("{host}:{}", address.port()) }
    }

    /// Listens to agents, if it is to; the other end, in memory, hears nobody.
    async fn link(&self, client: &Client, wake: &Arc<Notify>) -> anyhow::Result<Linked> {
        let Some(address) = self.link_address else {
            let exchange = Exchange::new(0, SystemClock::default().now());
            return Ok(Linked {
                uplink: Box::new(MemoryUplink::join(&exchange, &self.name)),
                reached_at: String::new(),
                _keeping: JoinSet::new(),
            });
        };
        let miner = self.link_miner_account.clone().or_else(|| self.agent_service_account.clone());
        let accounts = Accounts {
            namespace: self.namespace.clone(),
            miner: miner.unwrap_or_else(|| MINER_ACCOUNT.into()),
            gpu: self.link_gpu_account.clone(),
        };
        let (shown, certificates) = watch::channel(None);
        let reviewer = Box::new(ApiServer::new(client.clone()));
        let uplink = GrpcUplink::listen(address, certificates, reviewer, accounts, wake.clone())
            .await
            .with_context(|| format!("listening to agents at {address}"))?;
        let source = match self.link_certificates {
            CertificateSource::Made => Source::Made,
            CertificateSource::Given => Source::Given,
        };
        let keeper = Keeper::new(client.clone(), &self.namespace, source, &self.server_name(), uplink.leads(), shown);
        let mut keeping = JoinSet::new();
        keeping.spawn(keeper.run());
        let reached_at = self.reached_at(uplink.address());
        tracing::info!(address = %uplink.address(), reached_at, "listening to agents while leading");
        Ok(Linked { uplink: Box::new(uplink), reached_at, _keeping: keeping })
    }

    fn pace(&self) -> Pace {
        Pace {
            tick: Duration::from_millis(self.tick_milliseconds),
            rest: Duration::from_millis(self.rest_milliseconds),
            stop_within: Duration::from_secs(self.stop_within_seconds),
        }
    }
}

/// The operator's end of the link, and what keeps it going.
struct Linked {
    uplink: Box<dyn Uplink>,
    reached_at: String,
    /// Ends with this.
    _keeping: JoinSet<()>,
}

/// The name in the operators' certificate, unless another is given: of a Service, whether there is one or not.
pub(super) fn server_name(namespace: &str) -> String {
    format!("ampacity-operator.{namespace}.svc")
}

/// Runs until a signal, or until the operator must exit.
///
/// # Errors
/// No cluster is configured, or the address cannot be bound.
pub fn operate(args: &OperatorArgs) -> anyhow::Result<ExitCode> {
    log(args.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(operate_in(args))
}

async fn operate_in(args: &OperatorArgs) -> anyhow::Result<ExitCode> {
    let config = Config::infer().await.context("no cluster: neither a kubeconfig nor a pod's account was found")?;
    let client = Client::try_from(control(config)).context("making a client of the API server")?;
    let link_wake = Arc::new(Notify::new());
    let mut link = args.link(&client, &link_wake).await?;
    let mut store = KubeStore::connect(client, &args.namespace, Filter::All);
    let mut feeds = Market::new(&args.feeds_folder);
    let health = Arc::new(Health::default());
    let (address, serving) = http::serve(args.http_address, health.clone())
        .await
        .with_context(|| format!("answering at {}", args.http_address))?;
    let operator = Operator::new(Options { link: link.reached_at.clone(), ..args.options() });
    let (explained_at, explaining) = explain::serve(args.explain_address, operator.desk())
        .await
        .with_context(|| format!("answering at {}", args.explain_address))?;
    tracing::info!(%explained_at, name = args.name, namespace = args.namespace, %address, "started");
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let shell = Shell {
        store: &mut store,
        link: link.uplink.as_mut(),
        link_wake,
        feeds: &mut feeds,
        health,
        pace: args.pace(),
    };
    let outcome = run(operator, shell, stop).await;
    serving.abort();
    explaining.abort();
    Ok(match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(EXIT_AFRESH),
    })
}

/// Sends the log to standard error.
pub(super) fn log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
