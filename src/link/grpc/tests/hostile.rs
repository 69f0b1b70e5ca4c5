//! Who must not get in, and what those who are in must not do to others.

use super::{Bench, SERVER_NAME, generation, keys, of_load, operator};
use crate::link::contract::{report, shed};
use crate::link::grpc::client::connect;
use crate::link::grpc::identity::{Proved, Unproved};
use crate::link::grpc::keys::Keys;
use crate::link::grpc::tls::{self, Pems};
use crate::link::grpc::wire::{self, down, link_client::LinkClient, up};
use crate::link::grpc::{AUTHORIZATION, convert};
use crate::link::{Downlink, Uplink};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tonic::transport::{Endpoint, Uri};
use tonic::{Code, Request, Status, Streaming};

/// A stream that does what it is told.
struct Raw {
    out: mpsc::Sender<wire::Up>,
    incoming: Streaming<wire::Down>,
}

fn hello(load: &str) -> wire::Up {
    wire::Up { kind: Some(up::Kind::Hello(wire::Hello { load: load.into(), holder: 7 })) }
}

async fn attach(address: String, config: Arc<ClientConfig>, token: &str, first: wire::Up) -> Result<Raw, Status> {
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    let connector = tower::service_fn(move |_: Uri| connect(address.clone(), name.clone(), config.clone()));
    let channel = Endpoint::from_static("http://link").connect_with_connector(connector).await;
    let channel = channel.map_err(|error| Status::unknown(format!("{error:?}")))?;
    let (out, outgoing) = mpsc::channel::<wire::Up>(1_000);
    let outgoing = futures::stream::unfold(outgoing, |mut outgoing| async move {
        let message = outgoing.recv().await?;
        Some((message, outgoing))
    });
    out.send(first).await.unwrap();
    let mut request = Request::new(outgoing);
    if !token.is_empty() {
        request.metadata_mut().insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    }
    let incoming = LinkClient::new(channel).attach(request).await?.into_inner();
    Ok(Raw { out, incoming })
}

impl Bench {
    fn raw(&self, token: &str, first: wire::Up) -> Result<Raw, Status> {
        let config = tls::client(&keys().agent()).unwrap();
        self.runtime.block_on(attach(self.address(), config, token, first))
    }

    /// How a stream ends.
    fn end(&self, raw: &mut Raw) -> Code {
        let read = async {
            loop {
                match raw.incoming.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Code::Ok,
                    Err(status) => return status.code(),
                }
            }
        };
        self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), read).await }).unwrap()
    }

    /// The agent of load "b", linked: whatever others do, it is heard, and hears.
    fn good(&self) -> (impl Downlink + use<>, Arc<Notify>) {
        let wake = Arc::<Notify>::default();
        let mut agent = self.agent("b", self.address(), &wake);
        self.until("a link", || {
            agent.report(report("b", 1));
            agent.is_up()
        });
        (agent, wake)
    }

    /// How long a shed takes to "b".
    fn shed_takes(&mut self, agent: &mut impl Downlink, wake: &Notify, sequence: u64) -> Duration {
        let started = Instant::now();
        self.up.shout("b", shed(sequence));
        self.runtime.block_on(async {
            loop {
                if agent.poll() == [shed(sequence)] {
                    return;
                }
                tokio::time::timeout(Duration::from_secs(20), wake.notified()).await.unwrap();
            }
        });
        started.elapsed()
    }
}

#[test]
fn nobody_gets_in_without_a_certificate_of_the_agents_authority() {
    let bench = Bench::new();
    let trusted = keys().authorities().into_bytes();
    let other = generation(1).agent;
    let stranger =
        Pems { certificate: other.certificate.into_bytes(), key: other.key.into_bytes(), authorities: trusted.clone() };
    // The operators' own certificate is for serving alone.
    let servers = Pems { authorities: trusted, ..keys().server() };
    let mut roots = rustls::RootCertStore::empty();
    let own = generation(0).authority.certificate;
    use rustls::pki_types::pem::PemObject;
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(own.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let none = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut none = none.with_root_certificates(roots).with_no_client_auth();
    none.alpn_protocols = vec![b"h2".to_vec()];
    let configs = [Arc::new(none), tls::client(&stranger).unwrap(), tls::client(&servers).unwrap()];
    for config in configs {
        let raw = bench.runtime.block_on(attach(bench.address(), config, "token-a", hello("a")));
        let error = raw.err().expect("let in");
        // The connection was closed, and nobody looked at the token: how that shows depends on how far it had come.
        let closed = [Code::Unknown, Code::Unavailable, Code::Internal, Code::Cancelled];
        assert!(closed.contains(&error.code()), "{error:?}");
    }
    assert_eq!(bench.up.streams(), 0);
    // The same with the right one.
    assert!(bench.raw("token-a", hello("a")).is_ok());
}

#[test]
fn an_agent_speaks_to_no_server_but_the_operators() {
    let bench = Bench::new();
    let other = Keys { current: generation(1), next: None, old: Vec::new() };
    let (impostor, _shown) = operator(&bench.runtime, &bench.book, &other.server());
    let mut agent = bench.agent("a", impostor.address().to_string(), &Arc::default());
    for _ in 0..150 {
        agent.report(report("a", 1));
        assert!(!agent.is_up());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(impostor.streams(), 0);
}

#[test]
fn a_token_opens_its_own_load_and_nothing_else_while_this_operator_leads() {
    let mut bench = Bench::new();
    bench.book.says("expired", Err(Unproved::Refused("token has expired".into())));
    bench.book.says("away", Err(Unproved::Away("no answer".into())));
    let tenant = Proved { account: "system:serviceaccount:tenant-a:ampacity-miner-agent".into(), ..of_load("a") };
    bench.book.says("tenant", Ok(tenant));
    let report = convert::report(&report("a", 1));
    let long = "x".repeat(9_000);
    for (token, first, code) in [
        ("", hello("a"), Code::Unauthenticated),
        ("unknown", hello("a"), Code::Unauthenticated),
        ("expired", hello("a"), Code::Unauthenticated),
        (long.as_str(), hello("a"), Code::Unauthenticated),
        ("away", hello("a"), Code::Unavailable),
        ("tenant", hello("a"), Code::PermissionDenied),
        ("token-b", hello("a"), Code::PermissionDenied),
        ("token-a", hello("nobody"), Code::NotFound),
        ("token-a", report, Code::InvalidArgument),
    ] {
        let refused = bench.raw(token, first.clone()).err().map(|status| status.code());
        assert_eq!(refused, Some(code), "{token:.10} {first:?}");
    }
    assert_eq!(bench.up.streams(), 0);
    bench.up.lead(None);
    let refused = bench.raw("token-a", hello("a")).err().unwrap();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::FailedPrecondition, "this operator does not lead: the leader's Lease says who does")
    );
}

#[test]
fn a_stream_ends_with_the_leadership_with_its_load_and_with_its_token() {
    let mut bench = Bench::new();
    let mut raw = bench.raw("token-a", hello("a")).unwrap();
    bench.up.lead(None);
    assert_eq!(bench.end(&mut raw), Code::FailedPrecondition);
    bench.up.lead(Some(4));
    let mut raw = bench.raw("token-a", hello("a")).unwrap();
    let welcome = bench.runtime.block_on(raw.incoming.message()).unwrap().unwrap();
    assert_eq!(welcome.kind, Some(down::Kind::Welcome(wire::Welcome { epoch: 4 })));
    bench.up.know("a", None);
    assert_eq!(bench.end(&mut raw), Code::PermissionDenied);

    let token = |text: &str| wire::Up { kind: Some(up::Kind::Token(text.into())) };
    let mut raw = bench.raw("token-b", hello("b")).unwrap();
    bench.book.says("renewed", Ok(of_load("b")));
    bench.book.says("away", Err(Unproved::Away("no answer".into())));
    for good in ["renewed", "away"] {
        raw.out.blocking_send(token(good)).unwrap();
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(bench.up.streams(), 1, "sheds must reach agents while the API server is away");
    raw.out.blocking_send(token("token-c")).unwrap();
    assert_eq!(bench.end(&mut raw), Code::PermissionDenied);
}

#[test]
fn of_one_load_two_streams_hear_a_shed_and_a_third_takes_the_place_of_the_oldest() {
    let mut bench = Bench::new();
    let mut all: Vec<Raw> = (0..3).map(|_| bench.raw("token-a", hello("a")).unwrap()).collect();
    bench.until("two streams", || bench.up.streams() == 2);
    assert_eq!(bench.end(&mut all.remove(0)), Code::Aborted);
    bench.up.shout("a", shed(5));
    for raw in &mut all {
        let mut next = || bench.runtime.block_on(raw.incoming.message()).unwrap().unwrap();
        assert!(matches!(next().kind, Some(down::Kind::Welcome(_))));
        assert_eq!(convert::read_shout(next()), Some(shed(5)));
    }
}

#[test]
fn too_large_a_message_a_flood_and_what_cannot_be_end_their_own_stream_and_no_other() {
    let mut bench = Bench::new();
    let (mut good, wake) = bench.good();
    let large = wire::Report { note: "x".repeat(100_000), ..wire::Report::default() };
    let wrong = wire::Report { ceiling_watts: Some(-1), ..wire::Report::default() };
    let up = |report| wire::Up { kind: Some(up::Kind::Report(report)) };
    let flood = vec![convert::report(&report("a", 1)); 500];
    for (messages, code) in [
        (vec![up(large)], Code::OutOfRange),
        (flood, Code::ResourceExhausted),
        (vec![hello("a")], Code::InvalidArgument),
        (vec![up(wrong)], Code::InvalidArgument),
    ] {
        let mut raw = bench.raw("token-a", hello("a")).unwrap();
        for message in messages {
            let _ = raw.out.blocking_send(message);
        }
        assert_eq!(bench.end(&mut raw), code);
    }
    let took = bench.shed_takes(&mut good, &wake, 9);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(bench.up.streams(), 1);
}

#[test]
fn one_that_does_not_read_and_many_that_only_connect_delay_nobody() {
    let mut bench = Bench::new();
    let (mut good, wake) = bench.good();
    let address = bench.address();
    let idle: Vec<TcpStream> =
        (0..200).map(|_| bench.runtime.block_on(TcpStream::connect(&address)).unwrap()).collect();
    let _slow = bench.raw("token-a", hello("a")).unwrap();
    let started = Instant::now();
    for sequence in 0..200_000 {
        bench.up.shout("a", shed(sequence));
    }
    eprintln!("200,000 shouts at one that does not read: {:?}", started.elapsed());
    let mut longest = Duration::ZERO;
    for sequence in 1..=50 {
        longest = longest.max(bench.shed_takes(&mut good, &wake, sequence));
    }
    eprintln!("the longest of 50 sheds meanwhile: {longest:?}");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    drop(idle);
}

#[test]
fn a_connection_on_which_no_agent_speaks_is_closed() {
    let bench = Bench::new();
    let config = tls::client(&keys().agent()).unwrap();
    let closed = bench.runtime.block_on(async {
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        let mut stream = connect(bench.address(), name, config).await.unwrap().into_inner();
        let started = Instant::now();
        // What the server says first, and then its end.
        let mut said = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut said)).await.unwrap();
        started.elapsed()
    });
    assert!((14..20).contains(&closed.as_secs()), "{closed:?}");
}

#[test]
fn certificates_change_while_agents_are_linked_and_each_end_may_be_late() {
    let bench = Bench::new();
    let (_good, _wake) = bench.good();
    let staged = Keys { current: generation(0), next: Some(generation(1)), old: Vec::new() };
    let promoted = Keys { current: generation(1), next: None, old: vec![generation(0).authority] };
    let links = |operator: &Keys, agent: &Keys, load: &str| {
        bench.shown.send_replace(Some(tls::server(&operator.server()).unwrap()));
        bench.folder.put(&agent.agent());
        let before = bench.up.streams();
        let mut agent = bench.agent(load, bench.address(), &Arc::default());
        bench.until("a link", || {
            agent.report(report(load, 1));
            agent.is_up()
        });
        assert_eq!(bench.up.streams(), before + 1, "who was linked stays linked");
        drop(agent);
        bench.until("its end", || bench.up.streams() == before);
    };
    links(&staged, &keys(), "a");
    links(&staged, &staged, "c");
    links(&promoted, &staged, "a");
    links(&promoted, &promoted, "c");
    links(&staged, &promoted, "a");
}
