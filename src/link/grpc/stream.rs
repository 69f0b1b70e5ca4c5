//! One agent's stream at the operator: who opens it, what it may send, what waits for it.

use super::identity::{Proved, Unproved};
use super::server::Shared;
use super::slots::Slots;
use super::socket::Stage;
use super::wire::{self, down, link_server, up};
use super::{AUTHORIZATION, GREETED_WITHIN, SILENT_AT_MOST, convert};
use crate::link::{Report, Shout};
use ampacity_core::guard::HolderId;
use futures::Stream;
use futures::future::BoxFuture;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

/// A stream's token is reviewed anew so often: a pod that is gone, or an account, speaks no longer than that.
const REVIEWED_EVERY: Duration = Duration::from_secs(300);
/// While nobody can be asked, what was proved last holds for so long: sheds must reach agents while the API server is
/// away, and a token lives no longer than this anyway.
const TRUSTED_FOR: Duration = Duration::from_secs(3_600);
/// Messages that an agent may send at once; it sends one a second.
const BURST: f64 = 20.0;
/// Messages that it may send a second for long.
const RATE: f64 = 5.0;

/// What waits to be sent on a stream.
#[derive(Debug, Default)]
struct Out {
    welcome: Option<u64>,
    received: bool,
    shouts: Slots,
    end: Option<Status>,
    ended: bool,
}

/// One agent's stream.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) load: Arc<str>,
    holder: HolderId,
    out: Mutex<Out>,
    wake: Notify,
    inbox: Mutex<Option<Arc<Report>>>,
}

impl Line {
    fn new(load: Arc<str>, holder: HolderId, epoch: u64) -> Arc<Self> {
        let out = Mutex::new(Out { welcome: Some(epoch), ..Out::default() });
        Arc::new(Self { load, holder, out, wake: Notify::new(), inbox: Mutex::default() })
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inbox(&self) -> MutexGuard<'_, Option<Arc<Report>>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest report, if it was not taken yet.
    pub(super) fn take_report(&self) -> Option<Arc<Report>> {
        self.inbox().take()
    }

    /// Has the agent told; never waits.
    pub(super) fn shout(&self, shout: Shout) {
        self.out().shouts.put(shout);
        self.wake.notify_one();
    }

    /// Ends the stream, after nothing else.
    pub(super) fn end(&self, why: Status) {
        self.out().end.get_or_insert(why);
        self.wake.notify_one();
    }

    /// Puts a report where the operator finds it. Gives whether it says anything new.
    fn put(&self, report: Report, last: &mut Option<Arc<Report>>) -> bool {
        let report = Arc::new(report);
        let told = |report: &Arc<Report>| (report.order, report.ceiling, report.devices);
        let news = last.as_ref().map(told) != Some(told(&report));
        *last = Some(report.clone());
        *self.inbox() = Some(report);
        self.out().received = true;
        self.wake.notify_one();
        news
    }

    /// What goes out next: the welcome, an end, sheds, schedules, and then that reports have come.
    fn next(&self) -> Option<Result<wire::Down, Status>> {
        let mut out = self.out();
        let message = |kind| Some(Ok(wire::Down { kind: Some(kind) }));
        if let Some(epoch) = out.welcome.take() {
            return message(down::Kind::Welcome(wire::Welcome { epoch }));
        }
        if let Some(why) = out.end.take() {
            out.ended = true;
            return Some(Err(why));
        }
        if let Some(shout) = out.shouts.take() {
            return Some(Ok(convert::shout(&shout)));
        }
        std::mem::take(&mut out.received).then_some(())?;
        message(down::Kind::Received(wire::Received {}))
    }
}

/// Whatever becomes of a stream, this clears up after it.
struct Guard {
    line: Arc<Line>,
    shared: Arc<Shared>,
    stage: Option<Arc<Stage>>,
    reader: JoinHandle<()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.reader.abort();
        self.shared.leave(&self.line);
        if let Some(stage) = &self.stage {
            stage.left();
        }
    }
}

/// The gRPC service.
pub(super) struct Service {
    shared: Arc<Shared>,
}

impl Service {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<wire::Down, Status>> + Send>>;

#[tonic::async_trait]
impl link_server::Link for Service {
    type AttachStream = Answers;

    async fn attach(&self, request: Request<Streaming<wire::Up>>) -> Result<Response<Answers>, Status> {
        let stage = request.extensions().get::<Arc<Stage>>().cloned();
        let opened = open(&self.shared, request).await;
        // Whoever is refused need not keep the connection.
        let refused = |status: Status| {
            tracing::debug!(%status, "a stream was refused");
            if let Some(stage) = &stage {
                stage.left();
            }
            status
        };
        let (line, incoming, token) = opened.map_err(refused)?;
        if let Some(stage) = &stage {
            stage.greeted();
        }
        self.shared.join(&line);
        let reader = tokio::spawn(Reader::new(self.shared.clone(), line.clone(), token).run(incoming));
        let guard = Guard { line, shared: self.shared.clone(), stage, reader };
        let answers = futures::stream::unfold(guard, |guard| async move {
            loop {
                if guard.line.out().ended {
                    return None;
                }
                if let Some(message) = guard.line.next() {
                    return Some((message, guard));
                }
                guard.line.wake.notified().await;
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// Finds out who opens a stream, and whether they may.
async fn open(
    shared: &Shared,
    request: Request<Streaming<wire::Up>>,
) -> Result<(Arc<Line>, Streaming<wire::Up>, String), Status> {
    shared.epoch()?;
    let token = request.metadata().get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let token = token.ok_or_else(|| Status::unauthenticated("no ServiceAccount token"))?.to_owned();
    let mut incoming = request.into_inner();
    let proved = shared.gate.prove(&token).await.map_err(refusal)?;
    let first = tokio::time::timeout(GREETED_WITHIN, incoming.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("nobody said who speaks"))??;
    let Some(wire::Up { kind: Some(up::Kind::Hello(hello)) }) = first else {
        return Err(Status::invalid_argument("the first message is not a Hello"));
    };
    admit(shared, &proved, &hello.load)?;
    // Asked last: leading may have ended while the API server was asked.
    let epoch = shared.epoch()?;
    Ok((Line::new(hello.load.as_str().into(), HolderId(hello.holder), epoch), incoming, token))
}

fn admit(shared: &Shared, proved: &Proved, load: &str) -> Result<(), Status> {
    let agent = shared.agent(load)?;
    shared.gate.accounts.admit(proved, &agent).map_err(|why| Status::permission_denied(format!("load {load:?}: {why}")))
}

fn refusal(why: Unproved) -> Status {
    match why {
        Unproved::Refused(_) => Status::unauthenticated(why.to_string()),
        Unproved::Away(_) => Status::unavailable(why.to_string()),
    }
}

/// Reads what one agent sends.
struct Reader {
    shared: Arc<Shared>,
    line: Arc<Line>,
    token: String,
    proved: Instant,
    /// Messages that may be sent at once now, and since when.
    allowed: (f64, Instant),
    last: Option<Arc<Report>>,
}

impl Reader {
    fn new(shared: Arc<Shared>, line: Arc<Line>, token: String) -> Self {
        let now = Instant::now();
        Self { shared, line, token, proved: now, allowed: (BURST, now), last: None }
    }

    async fn run(mut self, mut incoming: Streaming<wire::Up>) {
        let why = match self.read(&mut incoming).await {
            Ok(()) => Status::ok("the agent ended its stream"),
            Err(why) => why,
        };
        if why.code() != tonic::Code::Ok {
            tracing::info!(load = &*self.line.load, status = %why, "an agent's stream ended");
        }
        self.line.end(why);
    }

    async fn read(&mut self, incoming: &mut Streaming<wire::Up>) -> Result<(), Status> {
        let mut due = tokio::time::interval_at(Instant::now() + REVIEWED_EVERY, REVIEWED_EVERY);
        // Beside the reading: reports go on while the API server is slow.
        let mut review: BoxFuture<'static, Result<Proved, Unproved>> = Box::pin(std::future::pending());
        loop {
            tokio::select! {
                message = tokio::time::timeout(SILENT_AT_MOST, incoming.message()) => {
                    let message = message.map_err(|_| Status::deadline_exceeded("no report for too long"))?;
                    let Some(message) = message? else { return Ok(()) };
                    if self.take(message)? {
                        review = self.review();
                    }
                }
                _ = due.tick() => review = self.review(),
                answer = &mut review => {
                    review = Box::pin(std::future::pending());
                    self.reviewed(answer)?;
                }
            }
        }
    }

    /// Takes in one message. Gives whether it was a new token.
    fn take(&mut self, message: wire::Up) -> Result<bool, Status> {
        let now = Instant::now();
        let (allowed, since) = self.allowed;
        let allowed = RATE.mul_add(now.duration_since(since).as_secs_f64(), allowed).min(BURST);
        if allowed < 1.0 {
            return Err(Status::resource_exhausted("more messages than an agent has to send"));
        }
        self.allowed = (allowed - 1.0, now);
        match message.kind {
            Some(up::Kind::Report(report)) => {
                let report = convert::read_report(&self.line.load, self.line.holder, report);
                let report = report.ok_or_else(|| Status::invalid_argument("a report of watts below zero"))?;
                if self.line.put(report, &mut self.last) {
                    self.shared.wake.notify_one();
                }
                Ok(false)
            }
            Some(up::Kind::Token(token)) => {
                self.token = token;
                Ok(true)
            }
            Some(up::Kind::Hello(_)) => Err(Status::invalid_argument("a second Hello")),
            // A kind that a newer agent knows: the rest of what it says is still worth having.
            None => Ok(false),
        }
    }

    fn review(&self) -> BoxFuture<'static, Result<Proved, Unproved>> {
        let (shared, token) = (self.shared.clone(), self.token.clone());
        Box::pin(async move { shared.gate.prove(&token).await })
    }

    fn reviewed(&mut self, answer: Result<Proved, Unproved>) -> Result<(), Status> {
        match answer {
            Ok(proved) => {
                admit(&self.shared, &proved, &self.line.load)?;
                self.proved = Instant::now();
                Ok(())
            }
            Err(Unproved::Away(_)) if self.proved.elapsed() < TRUSTED_FOR => Ok(()),
            Err(why) => Err(refusal(why)),
        }
    }
}
