//! `/healthz`, `/readyz` and `/metrics`.

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

/// What the loop tells whoever asks.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    /// The last turn, in milliseconds since the start.
    turned: AtomicU64,
    ready: AtomicBool,
    /// Everything that is measured.
    pub metrics: Metrics,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            turned: AtomicU64::new(0),
            ready: AtomicBool::new(false),
            metrics: Metrics::default(),
        }
    }
}

impl Health {
    /// The loop turned; `ready` says whether everything there is has been shown to it.
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

async fn metrics(State(health): State<Arc<Health>>) -> Response {
    const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match health.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn router(health: Arc<Health>) -> Router {
    Router::new()
        .route(
            "/healthz",
            get(|State(health): State<Arc<Health>>| async move { says(health.is_alive(), "the loop does not turn\n") }),
        )
        .route(
            "/readyz",
            get(|State(health): State<Arc<Health>>| async move {
                says(health.is_ready(), "not everything has been listed yet\n")
            }),
        )
        .route("/metrics", get(metrics))
        .with_state(health)
}

/// Answers at `address` for as long as the returned task lives. Gives the address with its port filled in.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(
    address: SocketAddr,
    health: Arc<Health>,
) -> std::io::Result<(SocketAddr, tokio::task::JoinHandle<std::io::Result<()>>)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let serving = async move { axum::serve(listener, router(health)).await };
    Ok((bound, tokio::spawn(serving)))
}
