//! The plain shape: etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok on free ports of
//! the loopback interface, as any user. Nodes and pods are objects that kwok moves; Jobs, scheduling,
//! RBAC, admission and CEL are real.

mod access;
mod arguments;
mod backup;
mod kwok;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::api::Api;
use kube::{Client, Config};

use crate::binaries::{self, Binaries, Program};
use crate::binary;
use crate::identity::{self, ADMIN, Tokens};
use crate::node::Space;
use crate::process::{Keeper, Part};
use crate::proxy::FaultProxy;
use crate::wait::until;

/// The API server is ready about two seconds after its start; other work on the machine may slow it.
const START_LIMIT: Duration = Duration::from_secs(180);
/// A port that was free may be taken before its part binds it; a whole new start draws others.
const TRIES: u32 = 3;

/// A running control plane. Dropping it, or the end of the process, kills every part and removes its folder.
#[derive(Debug)]
pub struct Plain {
    // Dropped in this order: dependents first, the keeper (which tidies up) last.
    parts: BTreeMap<Program, Part>,
    ports: Ports,
    tokens: Tokens,
    ca_pem: Vec<u8>,
    folder: PathBuf,
    binaries: Binaries,
    ready_after: Duration,
    /// Of a real node, where there is one.
    space: Option<Space>,
    keeper: Arc<Keeper>,
}

/// What a control plane has beside the nodes that kwok plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Nothing: pods are objects. Any user.
    Plain,
    /// A real node: pods are processes. Root, and what [`crate::node::trouble`] names.
    Node,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    etcd: u16,
    etcd_peer: u16,
    api_server: u16,
    controller_manager: u16,
    scheduler: u16,
}

impl Ports {
    /// Five ports that are free now on the loopback interface and at `address`. All are held until all are known, so
    /// that they differ.
    fn draw(address: Ipv4Addr) -> Result<Self> {
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on the loopback interface");
        let at_address = || TcpListener::bind((address, 0)).with_context(|| format!("no free port at {address}"));
        let held = [bind()?, bind()?, at_address()?, bind()?, bind()?];
        let [etcd, etcd_peer, api_server, controller_manager, scheduler] =
            held.each_ref().map(|listener| listener.local_addr().map(|address| address.port()));
        Ok(Self {
            etcd: etcd?,
            etcd_peer: etcd_peer?,
            api_server: api_server?,
            controller_manager: controller_manager?,
            scheduler: scheduler?,
        })
    }
}

impl Plain {
    /// Starts a control plane and returns when the API server, the controller-manager and the scheduler say
    /// that they are ready and the `default` namespace has its `default` ServiceAccount.
    ///
    /// # Errors
    /// If a part ends or is not ready in time: names it, its log and its last words.
    pub async fn start() -> Result<Self> {
        Self::start_as(Shape::Plain).await
    }

    /// The same in one of the shapes; a real node takes pods when this returns.
    ///
    /// # Errors
    /// As [`Plain::start`].
    pub async fn start_as(shape: Shape) -> Result<Self> {
        let find = match shape {
            Shape::Plain => binaries::find_or_build,
            Shape::Node => binaries::find_or_build_node,
        };
        let binaries = tokio::task::spawn_blocking(move || find(&|line| eprintln!("{line}"))).await??;
        let mut tries = 1;
        loop {
            let started = Instant::now();
            let mut plain = Self::spawn(binaries.clone(), shape).await?;
            match plain.bring_up().await {
                Ok(()) => {
                    plain.ready_after = started.elapsed();
                    return Ok(plain);
                }
                Err(_) if tries < TRIES && plain.lost_a_port() => tries += 1,
                Err(error) => {
                    plain.keep_logs();
                    return Err(error.context(format!("logs are kept in {}", plain.logs().display())));
                }
            }
        }
    }

    async fn spawn(binaries: Binaries, shape: Shape) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("ampacity-e2e-{}", identity::random_hex(6)?));
        // Keys and tokens lie in it.
        DirBuilder::new().mode(0o700).create(&folder).with_context(|| format!("making {}", folder.display()))?;
        let keeper = Keeper::start(&folder)?;
        fs::create_dir(folder.join("logs"))?;
        let tokens = Tokens::draw()?;
        fs::write(folder.join("tokens.csv"), tokens.file())?;
        let (private_key, public_key) = arguments::signing_keys()?;
        fs::write(folder.join("service-accounts.key"), private_key)?;
        fs::write(folder.join("service-accounts.pub"), public_key)?;
        fs::write(folder.join("stages.yaml"), arguments::stages()?)?;
        let space = match shape {
            Shape::Plain => None,
            Shape::Node => Some(Space::start(&folder, &keeper).await.context("the real node's namespaces")?),
        };
        let ports = Ports::draw(space.as_ref().map_or(Ipv4Addr::LOCALHOST, Space::outside))?;
        let (parts, ready_after) = (BTreeMap::new(), Duration::ZERO);
        Ok(Self { parts, ports, tokens, ca_pem: Vec::new(), folder, binaries, ready_after, space, keeper })
    }

    async fn bring_up(&mut self) -> Result<()> {
        self.launch(Program::Etcd, self.etcd_arguments())?;
        self.launch(Program::ApiServer, self.api_server_arguments())?;
        let key = self.folder.join("pki/apiserver.key");
        let certificate = self.folder.join("pki/apiserver.crt");
        // The key is written after the certificate, so a key means a whole certificate.
        self.ready("the API server's certificate", async || Ok(key.exists().then_some(()))).await?;
        self.ca_pem = fs::read(&certificate).context("reading the API server's certificate")?;
        let admin = self.client(ADMIN).await?;
        self.ready("the API server's /readyz", async || probe(&admin, "/readyz").await).await?;
        self.launch(Program::ControllerManager, self.controller_manager_arguments()?)?;
        self.launch(Program::Scheduler, self.scheduler_arguments()?)?;
        self.launch(Program::Kwok, self.kwok_arguments()?)?;
        let manager = unverified(self.ports.controller_manager)?;
        self.ready("the controller-manager's /healthz", async || probe(&manager, "/healthz").await).await?;
        let scheduler = unverified(self.ports.scheduler)?;
        self.ready("the scheduler's /readyz", async || probe(&scheduler, "/readyz").await).await?;
        if self.space.is_some() {
            self.bring_up_node().await?;
        }
        self.service_account(&admin, "default").await
    }

    /// Waits for `condition`, and gives up as soon as a part has ended.
    pub(crate) async fn ready(&self, what: &str, mut condition: impl AsyncFnMut() -> Result<Option<()>>) -> Result<()> {
        let mut ended = None;
        let outcome = until(what, START_LIMIT, async || {
            ended = self.parts.values().find_map(|part| part.ended().map(|status| (part, status)));
            if ended.is_some() { Ok(Some(())) } else { condition().await }
        })
        .await;
        match ended {
            Some((part, status)) => {
                bail!("{} ended with {status} while waiting for {what}:\n{}", part.name(), part.last_words(15))
            }
            None => outcome.with_context(|| self.all_last_words()),
        }
    }

    fn all_last_words(&self) -> String {
        self.parts.values().map(|part| format!("{}:\n{}", part.name(), part.last_words(3))).collect()
    }

    fn lost_a_port(&self) -> bool {
        self.parts.values().any(|part| part.ended().is_some() && part.last_words(40).contains("address already in use"))
    }

    /// Waits until a namespace has its `default` ServiceAccount: until then pods in it are Forbidden.
    ///
    /// # Errors
    /// If it does not come in time.
    pub async fn service_account(&self, admin: &Client, namespace: &str) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), namespace);
        let what = format!("the default ServiceAccount of namespace {namespace}");
        self.ready(&what, async || Ok(accounts.get_opt("default").await?.map(|_| ()))).await
    }

    fn launch(&mut self, program: Program, arguments: Vec<String>) -> Result<()> {
        let log = self.logs().join(format!("{}.log", program.name()));
        let part = Part::start(program.name(), self.binaries.path(program), arguments, log, &self.keeper)?;
        self.parts.insert(program, part);
        Ok(())
    }

    /// Takes in a part that somebody else started.
    pub(crate) fn add(&mut self, program: Program, part: Part) {
        self.parts.insert(program, part);
    }

    /// The run's folder; it goes with the control plane.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn keeper(&self) -> &Arc<Keeper> {
        &self.keeper
    }

    pub(crate) fn node_space(&self) -> Option<&Space> {
        self.space.as_ref()
    }

    /// The path of a program.
    pub(crate) fn program(&self, program: Program) -> PathBuf {
        self.binaries.path(program)
    }

    /// A file of the run's folder.
    fn at(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// `https://` and [`Plain::address`].
    #[must_use]
    pub fn server(&self) -> String {
        format!("https://{}", self.address())
    }

    /// Where the API server listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((self.host(), self.ports.api_server))
    }

    /// The port of the loopback interface at which etcd answers, its metrics among others.
    #[must_use]
    pub fn etcd_port(&self) -> u16 {
        self.ports.etcd
    }

    /// Where the API server listens: where nobody but this machine, and its real node, can reach it.
    fn host(&self) -> Ipv4Addr {
        self.space.as_ref().map_or(Ipv4Addr::LOCALHOST, Space::outside)
    }

    /// From the first part's start until everything was ready.
    #[must_use]
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Runs the `ampacity` binary beside the control plane, by a kubeconfig. What it prints is in the file `log` of
    /// [`Plain::logs`]; it ends with the control plane at the latest, however that ends.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn run(&self, name: &'static str, log: &str, kubeconfig: &Path, arguments: &[&str]) -> Result<Part> {
        self.run_in(&[], name, log, kubeconfig, arguments)
    }

    /// The same with more in its environment.
    ///
    /// # Errors
    /// As [`Plain::run`].
    pub fn run_in(
        &self,
        environment: &[(&str, &Path)],
        name: &'static str,
        log: &str,
        kubeconfig: &Path,
        arguments: &[&str],
    ) -> Result<Part> {
        let mut all = vec![format!("KUBECONFIG={}", kubeconfig.display())];
        all.extend(environment.iter().map(|(name, value)| format!("{name}={}", value.display())));
        all.push(binary::ampacity()?.display().to_string());
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let log = self.logs().join(log);
        Part::start(name, PathBuf::from("/usr/bin/env"), all, log, &self.keeper)
    }

    /// Runs cert-manager's controllers beside the control plane, as the administrator.
    ///
    /// # Errors
    /// If they cannot be built or started.
    pub fn cert_manager(&self) -> Result<Part> {
        let binary = binaries::cert_manager(&|line| eprintln!("{line}"))?;
        let arguments = vec!["--kubeconfig".into(), self.kubeconfig(identity::ADMIN)?.display().to_string()];
        Part::start("cert-manager", binary, arguments, self.logs().join("cert-manager.log"), &self.keeper)
    }

    /// A new fault proxy in front of the API server.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn fault_proxy(&self) -> Result<FaultProxy> {
        FaultProxy::start(self.address()).await
    }

    /// A part of the control plane, to be frozen, thawed, killed and started again. A test that does so
    /// needs a control plane of its own ([`crate::Needs::OwnControlPlane`]).
    ///
    /// # Errors
    /// If the program is not one that runs (kubectl).
    pub fn part(&self, program: Program) -> Result<&Part> {
        self.parts.get(&program).ok_or_else(|| anyhow!("{} is not a part that runs", program.name()))
    }

    /// Waits until the API server says that it is ready, after a fault.
    ///
    /// # Errors
    /// If it does not in time.
    pub async fn api_server_ready(&self) -> Result<()> {
        let admin = self.client(ADMIN).await?;
        self.ready("the API server's /readyz", async || probe(&admin, "/readyz").await).await
    }

    /// The folder of the parts' logs.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// The logs stay when the control plane goes.
    pub fn keep_logs(&self) {
        self.keeper.keep_logs();
    }

    /// Each part's resident memory in bytes, where the system says.
    #[must_use]
    pub fn resident_bytes(&self) -> Vec<(&'static str, u64)> {
        self.parts.values().filter_map(|part| Some((part.name(), part.resident_bytes()?))).collect()
    }

    /// The path of kubectl.
    #[must_use]
    pub fn kubectl(&self) -> PathBuf {
        self.binaries.path(Program::Kubectl)
    }
}

/// Ready, and rid of the taint that every new node bears until it is.
pub(crate) fn takes_pods(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"));
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    ready && !taints.is_some_and(|all| all.iter().any(|taint| taint.key == "node.kubernetes.io/not-ready"))
}

/// `Some` when `path` answers 200.
async fn probe(client: &Client, path: &str) -> Result<Option<()>> {
    client.request_text(http::Request::get(path).body(Vec::new())?).await?;
    Ok(Some(()))
}

/// A client for a health port on the loopback interface, whose certificate nobody signed.
fn unverified(port: u16) -> Result<Client> {
    let mut config = Config::new(format!("https://127.0.0.1:{port}").parse()?);
    config.accept_invalid_certs = true;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}
