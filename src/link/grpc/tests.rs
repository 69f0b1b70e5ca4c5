//! Both ends in one process, over real TLS on the loopback interface; only the API server's word on tokens is played.

mod contract;
mod hostile;

use super::client::{GrpcDownlink, LinkOptions};
use super::identity::{Accounts, Proved, Reviewer, Unproved};
use super::keys::{Generation, Keys, generate};
use super::server::GrpcUplink;
use super::tls::{self, AUTHORITIES, CERTIFICATE, KEY, Pems};
use crate::link::{AgentOf, Uplink};
use ampacity_core::guard::HolderId;
use ampacity_core::units::Time;
use futures::future::BoxFuture;
use rustls::ServerConfig;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};

const SERVER_NAME: &str = "ampacity-operator.ampacity.svc";

/// What the API server is played to say of a token; of any other it says that it does not know it.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<BTreeMap<String, Result<Proved, Unproved>>>>);

impl Book {
    fn says(&self, token: &str, answer: Result<Proved, Unproved>) {
        self.0.lock().unwrap().insert(token.into(), answer);
    }
}

impl Reviewer for Book {
    fn review(&self, token: String) -> BoxFuture<'static, Result<Proved, Unproved>> {
        let answer = self.0.lock().unwrap().get(&token).cloned();
        Box::pin(async move { answer.unwrap_or_else(|| Err(Unproved::Refused("unknown".into()))) })
    }
}

/// The token of the agent of a container's load.
fn of_load(load: &str) -> Proved {
    Proved {
        account: "system:serviceaccount:ampacity:ampacity-miner-agent".into(),
        pod: format!("{load}-agent"),
        pod_uid: format!("{load}-uid"),
        node: "n1".into(),
    }
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Time::new(since.as_millis() as i64)
}

/// Made once: keys take time.
fn generation(which: usize) -> Generation {
    static MADE: OnceLock<[Generation; 2]> = OnceLock::new();
    MADE.get_or_init(|| [generate(SERVER_NAME, now()).unwrap(), generate(SERVER_NAME, now()).unwrap()])[which].clone()
}

fn keys() -> Keys {
    Keys { current: generation(0), next: None, old: Vec::new() }
}

/// A folder of this test's own.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ampacity-link-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn put(&self, pems: &Pems) {
        for (name, pem) in [(CERTIFICATE, &pems.certificate), (KEY, &pems.key), (AUTHORITIES, &pems.authorities)] {
            std::fs::write(self.0.join(name), pem).unwrap();
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// One operator that leads, and what agents need.
struct Bench {
    up: GrpcUplink,
    shown: watch::Sender<Option<Arc<ServerConfig>>>,
    book: Book,
    folder: Folder,
    // Dropped last: the others end tasks on it.
    runtime: Arc<Runtime>,
}

const LOADS: [&str; 3] = ["a", "b", "c"];

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (book, folder) = (Book::default(), Folder::new());
        folder.put(&keys().agent());
        for load in LOADS {
            book.says(&format!("token-{load}"), Ok(of_load(load)));
            std::fs::write(folder.0.join(load), format!("token-{load}\n")).unwrap();
        }
        let runtime = Arc::new(runtime);
        let (up, shown) = operator(&runtime, &book, &keys().server());
        Self { up, shown, book, folder, runtime }
    }

    /// The agent of a load.
    fn agent(&self, load: &str, address: String, wake: &Arc<Notify>) -> GrpcDownlink {
        let _in = self.runtime.enter();
        GrpcDownlink::dial(options(&self.folder.0, load, address), wake.clone())
    }

    fn address(&self) -> String {
        self.up.address().to_string()
    }

    /// Waits for something.
    fn until(&self, what: &str, mut look: impl FnMut() -> bool) {
        for _ in 0..1_500 {
            if look() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("waited in vain for {what}");
    }
}

fn options(folder: &Path, load: &str, address: String) -> LinkOptions {
    LinkOptions {
        load: load.into(),
        holder: HolderId(7),
        server_name: SERVER_NAME.into(),
        folder: folder.into(),
        token: folder.join(load),
        address,
    }
}

/// An operator that leads under epoch 3 and knows all loads.
fn operator(runtime: &Runtime, book: &Book, pems: &Pems) -> (GrpcUplink, watch::Sender<Option<Arc<ServerConfig>>>) {
    let (shown, certificates) = watch::channel(Some(tls::server(pems).unwrap()));
    let accounts = Accounts {
        namespace: "ampacity".into(),
        miner: "ampacity-miner-agent".into(),
        gpu: "ampacity-gpu-agent".into(),
    };
    let free = "127.0.0.1:0".parse().unwrap();
    let listen = GrpcUplink::listen(free, certificates, Box::new(book.clone()), accounts, Arc::default());
    let mut up = runtime.block_on(listen).unwrap();
    for load in LOADS {
        up.know(load, Some(AgentOf::Pod(format!("{load}-agent").into())));
    }
    up.lead(Some(3));
    (up, shown)
}
