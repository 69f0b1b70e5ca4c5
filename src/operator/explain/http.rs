//! Answers over HTTP: `GET /v1/explain/KIND/NAME`, `POST /v1/explain` with a JSON list of objects.
//!
//! For the pod's own loopback address alone: prices and leases of every tenant can be read here, so that only who may
//! forward a port to the operator's pod can. Nothing is written, whatever is asked.

use super::answer::Trouble;
use super::subject::Subject;
use super::view::View;
use super::{Desk, explain, what_if};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// More than the largest object that the API server takes.
pub const BODY_MAX: usize = 2 << 20;
/// The loop turns once a second; one that does not turn does not answer.
const TURN_WITHIN: Duration = Duration::from_secs(10);
/// Copies that are worked on at a time: one core at most is taken from the loop.
const AT_ONCE: usize = 1;
/// How long an answer may take; the work itself is bounded by what a site holds.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

struct Answers {
    desk: Arc<Desk>,
    at_once: Arc<Semaphore>,
}

impl Answers {
    /// Works on a copy, off the loop.
    async fn answer<T: Serialize + Send + 'static>(
        &self,
        work: impl FnOnce(&View) -> Result<T, Trouble> + Send + 'static,
    ) -> Response {
        let busy = || said(StatusCode::TOO_MANY_REQUESTS, "too many ask at once; try again\n");
        let Some(asked) = self.desk.ask() else { return busy() };
        let Ok(Ok(view)) = tokio::time::timeout(TURN_WITHIN, asked).await else {
            return said(StatusCode::SERVICE_UNAVAILABLE, "the loop does not turn\n");
        };
        let permit = tokio::time::timeout(ANSWER_WITHIN, self.at_once.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return busy() };
        let working = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&view)
        });
        match tokio::time::timeout(ANSWER_WITHIN, working).await {
            Ok(Ok(Ok(answer))) => match serde_json::to_vec(&answer) {
                Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
                Err(error) => said(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
            },
            Ok(Ok(Err(trouble))) => said(status(&trouble), &format!("{trouble}\n")),
            Ok(Err(_)) => said(StatusCode::INTERNAL_SERVER_ERROR, "the answer failed; the log says why\n"),
            Err(_) => said(StatusCode::GATEWAY_TIMEOUT, "the answer takes too long\n"),
        }
    }
}

fn said(status: StatusCode, text: &str) -> Response {
    (status, text.to_owned()).into_response()
}

const fn status(trouble: &Trouble) -> StatusCode {
    match trouble {
        Trouble::NotLeading(_) => StatusCode::SERVICE_UNAVAILABLE,
        Trouble::Unknown(_) => StatusCode::NOT_FOUND,
        Trouble::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

async fn subject(State(answers): State<Arc<Answers>>, Path(text): Path<String>) -> Response {
    match text.parse::<Subject>() {
        Ok(subject) => answers.answer(move |view| explain(view, &subject)).await,
        Err(error) => said(StatusCode::BAD_REQUEST, &format!("{error}\n")),
    }
}

async fn objects(State(answers): State<Arc<Answers>>, body: Bytes) -> Response {
    match serde_json::from_slice(&body) {
        Ok(objects) => answers.answer(move |view| what_if(view, objects)).await,
        Err(error) => said(StatusCode::BAD_REQUEST, &format!("a JSON list of objects is expected: {error}\n")),
    }
}

fn router(desk: Arc<Desk>) -> Router {
    let answers = Arc::new(Answers { desk, at_once: Arc::new(Semaphore::new(AT_ONCE)) });
    Router::new()
        .route("/v1/explain/{*subject}", get(subject))
        .route("/v1/explain", post(objects))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(answers)
}

/// Answers at `address` for as long as the returned task lives. Gives the address with its port filled in.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(
    address: SocketAddr,
    desk: Arc<Desk>,
) -> std::io::Result<(SocketAddr, tokio::task::JoinHandle<std::io::Result<()>>)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let serving = async move { axum::serve(listener, router(desk)).await };
    Ok((bound, tokio::spawn(serving)))
}
