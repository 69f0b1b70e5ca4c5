//! `ampacity agent miner` and `ampacity agent gpu`: the agent of one load in a cluster.

use super::operator::{EXIT_AFRESH, LogFormat, log, server_name};
use crate::agent::again;
use crate::agent::metrics::Metrics;
use crate::agent::run::{Ended, Shell, run};
use crate::agent::setting::{self, Setting, SettingError, Which};
use crate::agent::{Agent, Options};
use crate::api::common::LoadKind;
use crate::device::Devices;
use crate::link::Downlink;
use crate::link::grpc::client::{GrpcDownlink, LinkOptions};
use crate::link::none::NoLink;
use crate::operator::http::{self, Health};
use crate::operator::run::{Pace, SystemClock};
use crate::sim::hardware::{self, Hardware};
use crate::store::kube::{KubeStore, control};
use crate::store::{Filter, Key, Kind};
use ampacity_core::guard::HolderId;
use ampacity_core::guard::proof::Policy;
use ampacity_core::units::Time;
use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use kube::{Client, Config, ResourceExt};
use sha2::{Digest, Sha256};
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// The code of an agent that a flag or an object keeps from working: a person must mend it.
pub const EXIT_WRONG: u8 = 2;

/// What cannot be read at the start is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// One request at the start takes this long at most.
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// What still runs at the end, watches and a name being looked up, has this long to be torn down.
const TEARDOWN: Duration = Duration::from_secs(1);

/// What an agent's devices are.
#[derive(Clone, Debug, Subcommand)]
pub enum AgentCommand {
    /// The agent of a mining container.
    Miner(MinerArgs),
    /// The agent of a GPU node.
    Gpu(GpuArgs),
}

/// Runs the agent of one mining container: drives its machines under the order of its ControllableLoad.
#[derive(Args, Clone, Debug)]
pub struct MinerArgs {
    /// Name of the ControllableLoad: the fleet's, a dash and the container's number.
    #[arg(long)]
    load: String,
    #[command(flatten)]
    common: CommonArgs,
}

/// Runs the agent of one GPU node: drives its GPUs under the order of its ControllableLoad.
#[derive(Args, Clone, Debug)]
pub struct GpuArgs {
    /// Name of the ControllableLoad: the pool's, a dash and the node's.
    #[arg(long, required_unless_present = "node", conflicts_with = "node")]
    load: Option<String>,
    /// The node that this runs on: its load is looked for, and waited for.
    #[arg(long)]
    node: Option<String>,
    #[command(flatten)]
    common: CommonArgs,
}

/// What drives the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// None: devices are simulated, as the load's MiningFleet or GpuPool describes them.
    Simulated,
}

impl Device {
    /// The word on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Simulated => "simulated",
        }
    }
}

#[derive(Args, Clone, Debug)]
struct CommonArgs {
    /// Namespace of the load and of the leader's Lease.
    #[arg(long, env = "POD_NAMESPACE", default_value = "ampacity")]
    namespace: String,
    /// This agent's own name, shown as the load's holder: the pod's.
    #[arg(long, env = "POD_NAME")]
    name: String,
    /// UID of the pod that this runs in.
    #[arg(long, env = "POD_UID", default_value = "")]
    pod_uid: String,
    /// What drives the devices.
    #[arg(long, value_enum)]
    device: Device,
    /// File in which simulated devices keep their limiters while no agent runs; left out, each start is a cold one.
    #[arg(long)]
    device_state: Option<PathBuf>,
    /// Where /healthz, /readyz and /metrics are answered.
    #[arg(long, default_value = "0.0.0.0:8080")]
    http_address: SocketAddr,
    /// Links to the leading operator: at the address that its Lease tells, or at this one (HOST:PORT). Left out, orders
    /// and sheds come through the API server alone.
    #[arg(
        long,
        value_name = "ADDRESS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        requires = "link_tls_dir",
        requires = "link_token_file"
    )]
    link: Option<String>,
    /// Folder with tls.crt, tls.key and ca.crt for the link; read anew for each connection.
    #[arg(long, requires = "link")]
    link_tls_dir: Option<PathBuf>,
    /// File with the pod's token of audience ampacity-link; read anew as the kubelet renews it.
    #[arg(long, requires = "link")]
    link_token_file: Option<PathBuf>,
    /// The name in the operator's certificate; left out, ampacity-operator.NAMESPACE.svc.
    #[arg(long, requires = "link")]
    link_server_name: Option<String>,
    /// The loop turns at least this often, milliseconds.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(100..=2_000))]
    tick_milliseconds: u64,
    /// A stop waits at most this long for answers, seconds.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=60))]
    stop_within_seconds: u64,
    /// Format of the log on standard error. What is logged is RUST_LOG's to say; by default info.
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

impl AgentCommand {
    fn parts(&self) -> (Which, LoadKind, &CommonArgs) {
        match self {
            Self::Miner(args) => (Which::Load(args.load.clone()), LoadKind::Miner, &args.common),
            Self::Gpu(args) => {
                let node = args.node.clone().map(Which::Node);
                let which = node.unwrap_or_else(|| Which::Load(args.load.clone().unwrap_or_default()));
                (which, LoadKind::Gpu, &args.common)
            }
        }
    }
}

impl CommonArgs {
    fn pace(&self) -> Pace {
        Pace {
            tick: Duration::from_millis(self.tick_milliseconds),
            stop_within: Duration::from_secs(self.stop_within_seconds),
            ..Pace::default()
        }
    }

    /// The agent's end of the link, if it is to have one.
    fn link(&self, load: &Arc<str>, holder: HolderId, wake: &Arc<Notify>) -> Box<dyn Downlink> {
        let (Some(address), Some(folder), Some(token)) = (&self.link, &self.link_tls_dir, &self.link_token_file) else {
            return Box::new(NoLink);
        };
        let options = LinkOptions {
            load: load.clone(),
            holder,
            server_name: self.link_server_name.clone().unwrap_or_else(|| server_name(&self.namespace)),
            folder: folder.clone(),
            token: token.clone(),
            address: address.clone(),
        };
        Box::new(GrpcDownlink::dial(options, wake.clone()))
    }
}

/// Runs until a signal, or until the agent must not go on. In every case its devices stay as they are.
///
/// # Errors
/// No cluster is configured, or the address cannot be bound.
pub fn act(command: &AgentCommand) -> anyhow::Result<ExitCode> {
    let (which, kind, args) = command.parts();
    log(args.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let ended = runtime.block_on(act_in(&which, kind, args))?;
    // Why it ended is the last thing that it says: a watch that is torn down may still log.
    runtime.shutdown_timeout(TEARDOWN);
    Ok(ended.map_or_else(
        |wrong| {
            eprintln!("error: {}", wrong.why);
            ExitCode::from(wrong.code)
        },
        |()| ExitCode::SUCCESS,
    ))
}

/// Why an agent must not go on.
struct Wrong {
    /// What the process exits with.
    code: u8,
    why: String,
}

impl Wrong {
    /// A flag or an object that somebody has to mend.
    fn mend(why: String) -> Self {
        Self { code: EXIT_WRONG, why }
    }

    /// The same process, started again, may go on.
    fn afresh(why: String) -> Self {
        Self { code: EXIT_AFRESH, why }
    }
}

/// A signal to stop.
type Stop = Pin<Box<dyn Future<Output = ()>>>;

async fn act_in(which: &Which, kind: LoadKind, args: &CommonArgs) -> anyhow::Result<Result<(), Wrong>> {
    let config = Config::infer().await.context("no cluster: neither a kubeconfig nor a pod's account was found")?;
    let client = Client::try_from(control(config)).context("making a client of the API server")?;
    let health = Arc::new(Health::<Metrics>::default());
    let (address, serving) = http::serve(args.http_address, health.clone())
        .await
        .with_context(|| format!("answering at {}", args.http_address))?;
    tracing::info!(?which, name = args.name, namespace = args.namespace, %address, "started");
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut stop: Stop = Box::pin(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    let ended = match ask(&client, which, kind, args, &health, &mut stop).await {
        Ok(Some(setting)) => serve(client, setting, args, health, stop).await,
        Ok(None) => Ok(()),
        Err(error) => Err(Wrong::mend(error.to_string())),
    };
    serving.abort();
    Ok(ended)
}

/// Asks until everything is known; none where it was stopped before. An agent in the dark changes nothing.
async fn ask(
    client: &Client,
    which: &Which,
    kind: LoadKind,
    args: &CommonArgs,
    health: &Health<Metrics>,
    stop: &mut Stop,
) -> Result<Option<Setting>, SettingError> {
    let mut told = String::new();
    loop {
        let asked = tokio::time::timeout(ASK_WITHIN, setting::read(client, &args.namespace, which, kind));
        let (why, ready) = tokio::select! {
            () = &mut *stop => return Ok(None),
            answer = asked => match answer {
                Ok(Ok(setting)) => return Ok(Some(setting)),
                Ok(Err(error)) if error.may_pass() => (error.to_string(), error.holds_nothing()),
                Ok(Err(error)) => return Err(error),
                Err(_) => (format!("the API server did not answer within {} s", ASK_WITHIN.as_secs()), false),
            },
        };
        if why != told {
            tracing::warn!(why, "in the dark: the devices stay as they are");
            told = why;
        }
        health.turned(ready);
        tokio::select! {
            () = &mut *stop => return Ok(None),
            () = tokio::time::sleep(ASK_AGAIN) => {}
        }
    }
}

/// The agent of a load that is known.
async fn serve(
    client: Client,
    setting: Setting,
    args: &CommonArgs,
    health: Arc<Health<Metrics>>,
    stop: Stop,
) -> Result<(), Wrong> {
    let name = setting.load.name_any();
    let mut clock = SystemClock::default();
    let now = clock.now();
    let load = Key::namespaced(Kind::ControllableLoad, &args.namespace, &name);
    let mut devices = devices(&setting, &load, args, now).map_err(Wrong::mend)?;
    let options = Options {
        load: load.clone(),
        pod: args.name.clone(),
        holder: holder(&args.pod_uid),
        hold: setting.hold,
        down_per_minute: setting.down_per_minute,
        policy: Policy::default(),
    };
    let link_wake = Arc::new(Notify::new());
    let mut link = args.link(&load.name, options.holder, &link_wake);
    tracing::info!(load = name, device = args.device.word(), link = args.link.is_some(), "serving");
    let agent =
        Agent::new(options, devices.as_ref(), now).map_err(|error| Wrong::mend(format!("load {name:?}: {error}")))?;
    let (again, reading) = again::follow(client.clone(), &args.namespace, setting.load.spec.kind, setting);
    let mut store = KubeStore::connect(client, &args.namespace, Filter::Load(load));
    let (link, pace) = (link.as_mut(), args.pace());
    let shell = Shell { store: &mut store, link, link_wake, devices: devices.as_mut(), health, clock, pace, again };
    let ended = run(agent, shell, stop).await;
    reading.abort();
    match ended {
        Ended::Stopped => Ok(()),
        Ended::Overtaken => {
            Err(Wrong::afresh(format!("load {name:?}: another agent holds it (status.holder): one agent a load")))
        }
        Ended::Outdated(protocol) => Err(Wrong::mend(setting::outdated(&name, protocol))),
        Ended::OtherDevices => Err(Wrong::afresh(format!(
            "load {name:?}: its fleet or pool describes other devices now: to be started afresh"
        ))),
    }
}

/// The devices of the load.
fn devices(setting: &Setting, load: &Key, args: &CommonArgs, now: Time) -> Result<Box<dyn Devices>, String> {
    let (name, spec) = (setting.load.name_any(), &setting.load.spec);
    let Device::Simulated = args.device;
    let whole = format!("{}/{}", args.namespace, load.name);
    let last = match (&setting.made, &args.device_state) {
        (None, Some(path)) => hardware::made_last(path, &whole).map_err(|error| error.to_string())?,
        _ => None,
    };
    let made = setting.made.clone().or(last).ok_or_else(|| {
        let owner = &spec.owner;
        let (field, kind) =
            if owner.fleet.is_some() { ("fleet", "MiningFleet") } else { ("pool", "GpuPool") };
        let value = owner.fleet.as_ref().or(owner.pool.as_ref()).cloned().unwrap_or_default();
        format!(
            "load {name:?}: spec.owner.{field} is {value:?}: there is no {kind} of this name, and no --device-state says what its devices were"
        )
    })?;
    let path = args.device_state.as_deref();
    let devices = Hardware::new(&whole, made, &setting.tree, path, now).map_err(|error| error.to_string())?;
    let (most, nameplate) = (devices.describe().nameplate(), spec.nameplate_watts.watts());
    if most > nameplate {
        return Err(format!(
            "load {name:?}: spec.nameplateWatts is {}, and its devices could draw {} W: raise the nameplate of its fleet or pool, and release this load",
            nameplate.get(),
            most.get()
        ));
    }
    Ok(Box::new(devices))
}

/// This run of this process: the pod, and what tells this run from every other of it.
fn holder(pod_uid: &str) -> HolderId {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
    // The standard library's hasher is seeded by the system, anew in each process.
    let chance = RandomState::new().hash_one(since);
    let digest = Sha256::digest(format!("{pod_uid} {} {since} {chance}", std::process::id()));
    HolderId(digest.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests;
