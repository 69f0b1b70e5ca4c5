//! What a cluster test stands on: a control plane that is shared unless it asks for its own, a namespace of
//! its own, a bound on its time, and logs that stay and are named when it fails.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use k8s_openapi::api::core::v1::{Namespace, Node, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{Api, DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::identity::{self, ADMIN, User};
use crate::node;
use crate::plain::{Plain, Shape};
use crate::wait::until;

/// How long a test may take unless it says otherwise.
const USUAL_LIMIT: Duration = Duration::from_secs(180);

/// What a test cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// An API server with its controllers: the suite's own, or whatever `--kubeconfig` points at.
    AnyCluster,
    /// Nodes that kwok plays, or people of the token file: the suite's own control plane, shared.
    FakeNodes,
    /// A control plane that no other test uses, because this test breaks it.
    OwnControlPlane,
    /// A node whose pods are real processes: the suite's own, shared by the tests of a file.
    RealNode,
}

/// One runtime for all tests of a binary: a client's connections live on the runtime that made them, and
/// the shared control plane's clients outlive any one test.
static RUNTIME: LazyLock<std::io::Result<Runtime>> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().enable_all().build());

/// Never dropped: its keeper ends it when this process ends, however that comes about.
static SHARED: OnceCell<Plain> = OnceCell::const_new();

/// The same with a real node.
static SHARED_NODE: OnceCell<Plain> = OnceCell::const_new();

/// A test's surroundings.
pub struct Test {
    cluster: Cluster,
    admin: Client,
    namespace: String,
    nodes: RefCell<Vec<String>>,
}

#[derive(Debug)]
enum Cluster {
    Shared(&'static Plain),
    Own(Box<Plain>),
    /// What `--kubeconfig` points at; people are played by impersonation.
    Given(Box<Config>),
}

impl Test {
    /// The test's own namespace. On the suite's control plane its `default` ServiceAccount exists.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A client that may do everything, whose default namespace is the test's.
    #[must_use]
    pub fn admin(&self) -> Client {
        self.admin.clone()
    }

    /// The configuration of a user's client, whose default namespace is the test's.
    ///
    /// # Errors
    /// If the user is not in the token file.
    pub async fn config(&self, user: User) -> Result<Config> {
        let mut config = match &self.cluster {
            Cluster::Shared(plain) => plain.config(user).await?,
            Cluster::Own(plain) => plain.config(user).await?,
            Cluster::Given(config) if user == ADMIN => (**config).clone(),
            Cluster::Given(config) => {
                let mut config = (**config).clone();
                config.auth_info.impersonate = Some(user.name.to_owned());
                config.auth_info.impersonate_groups = Some(user.groups.iter().map(|&group| group.to_owned()).collect());
                config
            }
        };
        self.namespace.clone_into(&mut config.default_namespace);
        Ok(config)
    }

    /// A user's client, whose default namespace is the test's.
    ///
    /// # Errors
    /// If the user is not in the token file.
    pub async fn client(&self, user: User) -> Result<Client> {
        Ok(Client::try_from(self.config(user).await?)?)
    }

    /// The suite's control plane.
    ///
    /// # Errors
    /// On a cluster of `--kubeconfig`; a test that [`Needs`] more than any cluster never runs there.
    pub fn plain(&self) -> Result<&Plain> {
        match &self.cluster {
            Cluster::Shared(plain) => Ok(plain),
            Cluster::Own(plain) => Ok(plain),
            Cluster::Given(_) => Err(anyhow!("this test said that any cluster will do, but asks for the suite's own")),
        }
    }

    /// kubectl as the administrator of the suite's control plane; gives what it wrote to standard output.
    ///
    /// # Errors
    /// If it fails, with its words; and as [`Test::plain`].
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let plain = self.plain()?;
        let kubeconfig = plain.kubeconfig(ADMIN)?;
        let done = Command::new(plain.kubectl()).env("KUBECONFIG", kubeconfig).args(arguments).output()?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "kubectl {}: {}\n{said}", arguments.join(" "), done.status);
        Ok(String::from_utf8(done.stdout)?)
    }

    /// Applies what a JSON holds, as the administrator, in the namespaces that it names.
    ///
    /// # Errors
    /// As [`Test::kubectl`].
    pub fn apply(&self, objects: &Value) -> Result<()> {
        let path = self.plain()?.folder().join("applied.json");
        std::fs::write(&path, serde_json::to_vec(objects)?)?;
        self.kubectl(&["apply", "--server-side", "-f", &path.display().to_string()]).map(drop)
    }

    /// Like [`Plain::kwok_node`], for as long as the test runs.
    ///
    /// # Errors
    /// If the node exists, or is not Ready in time.
    pub async fn kwok_node(&self, name: &str, labels: &[(&str, &str)], capacity: &[(&str, &str)]) -> Result<Node> {
        self.nodes.borrow_mut().push(name.to_owned());
        self.plain()?.kwok_node(name, labels, capacity).await
    }

    /// Gives `user` the rights of a ClusterRole (`edit`, `view`, …) within the test's namespace.
    ///
    /// # Errors
    /// If the user has that role here already.
    pub async fn grant(&self, user: User, cluster_role: &str) -> Result<()> {
        let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user.name});
        let binding: RoleBinding = serde_json::from_value(json!({
            "metadata": {"name": format!("{}-{cluster_role}", label(user.name))},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": cluster_role},
            "subjects": [subject],
        }))?;
        let bindings: Api<RoleBinding> = Api::default_namespaced(self.admin());
        bindings.create(&PostParams::default(), &binding).await.context("granting a role")?;
        Ok(())
    }

    async fn set_up(needs: Needs) -> Result<Option<Self>> {
        let cluster = match (given_kubeconfig(), needs) {
            (Some(path), Needs::AnyCluster) => Cluster::Given(Box::new(read_config(&path).await?)),
            (Some(_), _) => return Ok(None),
            (None, Needs::OwnControlPlane) => Cluster::Own(Box::new(Plain::start().await?)),
            (None, Needs::RealNode) => {
                Cluster::Shared(SHARED_NODE.get_or_try_init(|| Plain::start_as(Shape::Node)).await?)
            }
            (None, Needs::AnyCluster | Needs::FakeNodes) => {
                Cluster::Shared(SHARED.get_or_try_init(Plain::start).await?)
            }
        };
        let name = std::thread::current().name().map(str::to_owned).unwrap_or_default();
        let namespace = format!("{}-{}", label(&name), identity::random_hex(3)?);
        let mut config = match &cluster {
            Cluster::Shared(plain) => plain.config(ADMIN).await?,
            Cluster::Own(plain) => plain.config(ADMIN).await?,
            Cluster::Given(config) => (**config).clone(),
        };
        namespace.clone_into(&mut config.default_namespace);
        let admin = Client::try_from(config)?;
        let test = Self { cluster, admin, namespace, nodes: RefCell::default() };
        // Starting and building have bounds of their own; a request alone has none.
        tokio::time::timeout(USUAL_LIMIT, test.make_namespace()).await.context("making the test's namespace")??;
        Ok(Some(test))
    }

    async fn make_namespace(&self) -> Result<()> {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(self.namespace.clone());
        let namespaces: Api<Namespace> = Api::all(self.admin());
        namespaces.create(&PostParams::default(), &namespace).await.context("making the test's namespace")?;
        let accounts: Api<ServiceAccount> = Api::default_namespaced(self.admin());
        until("the namespace's default ServiceAccount", Duration::from_secs(30), async || {
            Ok(accounts.get_opt("default").await?.map(|_| ()))
        })
        .await
    }

    /// Asks for the removal of what the test made; nobody waits for it, since names are not used twice.
    async fn clear_away(&self) -> Result<()> {
        let at_once = DeleteParams::default();
        Api::<Namespace>::all(self.admin()).delete(&self.namespace, &at_once).await?;
        for name in self.nodes.take() {
            Api::<Node>::all(self.admin()).delete(&name, &at_once).await?;
        }
        Ok(())
    }

    /// What a person needs to find out why the test failed.
    fn failed(&self) -> String {
        match self.plain() {
            Ok(plain) => {
                plain.keep_logs();
                format!("namespace {}; the logs of every part are kept in {}", self.namespace, plain.logs().display())
            }
            Err(_) => format!("namespace {}", self.namespace),
        }
    }
}

/// Runs `body` as a test with three minutes to spend. See [`cluster_test_within`].
///
/// # Errors
/// As [`cluster_test_within`].
pub fn cluster_test(needs: Needs, body: impl AsyncFnOnce(&Test) -> Result<()>) -> Result<()> {
    cluster_test_within(USUAL_LIMIT, needs, body)
}

/// Runs `body` as a test that may take as long as `limit`, on a control plane that has what it `needs`.
/// Where that is not to be had the test is skipped, which `e2e/run` reports (and with `CI=true` refuses).
///
/// # Errors
/// What `body` returned, or that it took too long; panics of `body` go on. Either way the logs are kept and
/// named.
pub fn cluster_test_within(limit: Duration, needs: Needs, body: impl AsyncFnOnce(&Test) -> Result<()>) -> Result<()> {
    let runtime = RUNTIME.as_ref().map_err(|error| anyhow!("no runtime: {error}"))?;
    if needs == Needs::RealNode
        && let Some(why) = no_node()
    {
        return skipped(&why);
    }
    let Some(test) = runtime.block_on(Test::set_up(needs))? else {
        return skipped(&format!("it needs {needs:?}, and --kubeconfig gave another cluster"));
    };
    let run = async { tokio::time::timeout(limit, body(&test)).await };
    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run)));
    let outcome = match outcome {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(anyhow!("not done after {} s, its limit", limit.as_secs())),
        Err(panic) => {
            eprintln!("{}", test.failed());
            resume_unwind(panic)
        }
    };
    match outcome {
        Ok(()) if matches!(test.cluster, Cluster::Own(_)) => Ok(()),
        Ok(()) => runtime.block_on(async { tokio::time::timeout(limit, test.clear_away()).await? }),
        Err(error) => Err(error.context(test.failed())),
    }
}

/// Why there is to be no real node, if so.
fn no_node() -> Option<String> {
    let unwanted = std::env::var("AMPACITY_E2E_NODE").is_ok_and(|value| value == "no");
    if unwanted { Some("no real node was wanted (--no-node)".into()) } else { node::trouble() }
}

/// The file that `e2e/run --kubeconfig` names, if any.
fn given_kubeconfig() -> Option<PathBuf> {
    std::env::var_os("AMPACITY_E2E_KUBECONFIG").filter(|path| !path.is_empty()).map(PathBuf::from)
}

async fn read_config(path: &PathBuf) -> Result<Config> {
    let kubeconfig = Kubeconfig::read_from(path).with_context(|| format!("reading {}", path.display()))?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    Ok(config)
}

/// Says that this test is skipped, to who looks at its output and to `e2e/run`.
fn skipped(why: &str) -> Result<()> {
    let thread = std::thread::current();
    let line = format!("{}: {why}", thread.name().unwrap_or("a test"));
    if std::env::var("CI").is_ok_and(|value| value == "true") {
        bail!("skipped in CI, where nothing may be: {line}");
    }
    eprintln!("skipped {line}");
    append("AMPACITY_E2E_SKIPPED", &line)
}

/// A figure, for whoever reads the output of a run; `e2e/run` keeps them.
pub fn figure(name: &str, value: f64, unit: &str) {
    let line = format!("FIGURE {name} {value:.2} {unit}");
    eprintln!("{line}");
    // One that cannot be kept was printed.
    let _ = append("AMPACITY_E2E_FIGURES", &line);
}

/// Adds a line to the file that the variable names, if it names one.
fn append(variable: &str, line: &str) -> Result<()> {
    let Some(path) = std::env::var_os(variable) else { return Ok(()) };
    // In one write, since other tests append at the same time.
    OpenOptions::new().append(true).create(true).open(path)?.write_all(format!("{line}\n").as_bytes())?;
    Ok(())
}

/// A test's name as the start of a namespace's: lower case, digits and dashes, at most 50 of them.
fn label(name: &str) -> String {
    let name = name.rsplit("::").next().unwrap_or_default().to_lowercase();
    let safe: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(50).collect();
    let trimmed = safe.trim_matches('-');
    if trimmed.is_empty() { String::from("test") } else { trimmed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_named_after_its_test_within_what_dns_allows() {
        let long = "store::a_write_that_was_lost_on_the_way_back_is_reported_as_unknown_and_not_as_refused";
        assert_eq!(label(long), "a-write-that-was-lost-on-the-way-back-is-reported");
        assert_eq!(label("__"), "test");
        assert_eq!(label(""), "test");
    }
}
