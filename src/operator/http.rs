//! `/healthz`, `/readyz` and `/metrics`, of an operator and of an agent.

use super::metrics::Metrics;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// A loop that has not turned for this long hangs: it turns once a second, and no turn waits for anything.
const ALIVE_WITHIN: Duration = Duration::from_secs(15);

/// What a loop measures, and what it is waiting for while it is not ready.
pub trait Measured: Default + Send + Sync + 'static {
    /// Why it is not ready: a short line.
    const NOT_READY: &'static str;

    /// Everything, as Prometheus reads it.
    ///
    /// # Errors
    /// A value that cannot be written.
    fn text(&self) -> Result<String, std::fmt::Error>;
}

impl Measured for Metrics {
    const NOT_READY: &'static str =
        "not everything has been listed yet, a PowerBudget is led from another namespace, or a newer version has led\n";

    fn text(&self) -> Result<String, std::fmt::Error> {
        Self::text(self)
    }
}

/// What the loop tells whoever asks.
#[derive(Debug)]
pub struct Health<M = Metrics> {
    started: Instant,
    /// The last turn, in milliseconds since the start.
    turned: AtomicU64,
    ready: AtomicBool,
    /// Everything that is measured.
    pub metrics: M,
}

impl<M: Measured> Default for Health<M> {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            turned: AtomicU64::new(0),
            ready: AtomicBool::new(false),
            metrics: M::default(),
        }
    }
}

impl<M: Measured> Health<M> {
    /// The loop turned; `ready` says whether it has what it waited for.
    pub fn turned(&self, ready: bool) {
        let since = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.turned.store(since, Ordering::Relaxed);
        self.ready.store(ready, Ordering::Relaxed);
    }

    fn is_alive(&self) -> bool {
        let turned = Duration::from_millis(self.turned.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(turned) <= ALIVE_WITHIN
    }

    fn is_ready(&self) -> bool {
        self.is_alive() && self.ready.load(Ordering::Relaxed)
    }
}

fn says(good: bool, otherwise: &'static str) -> (StatusCode, &'static str) {
    if good { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, otherwise) }
}

async fn metrics<M: Measured>(State(health): State<Arc<Health<M>>>) -> Response {
    const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match health.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn healthz<M: Measured>(State(health): State<Arc<Health<M>>>) -> (StatusCode, &'static str) {
    says(health.is_alive(), "the loop does not turn\n")
}

async fn readyz<M: Measured>(State(health): State<Arc<Health<M>>>) -> (StatusCode, &'static str) {
    says(health.is_ready(), M::NOT_READY)
}

fn router<M: Measured>(health: Arc<Health<M>>) -> Router {
    Router::new()
        .route("/healthz", get(healthz::<M>))
        .route("/readyz", get(readyz::<M>))
        .route("/metrics", get(metrics::<M>))
        .with_state(health)
}

/// Answers at `address` for as long as the returned task lives. Gives the address with its port filled in.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve<M: Measured>(
    address: SocketAddr,
    health: Arc<Health<M>>,
) -> std::io::Result<(SocketAddr, tokio::task::JoinHandle<std::io::Result<()>>)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let serving = async move { axum::serve(listener, router(health)).await };
    Ok((bound, tokio::spawn(serving)))
}
