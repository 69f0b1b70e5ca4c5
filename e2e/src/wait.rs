//! Waiting on conditions, always with a bound, never on a fixed sleep.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at. Short beside what is waited for (tens of milliseconds to seconds),
/// long beside what a look costs.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks again and again until `look` returns `Some`, and returns that.
///
/// An error from `look` counts as "not yet": a control plane that is coming up refuses connections.
///
/// # Errors
/// After `limit`: names `what` was awaited, for how long, and the last error that `look` met.
pub async fn until<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    let mut last = String::from("nothing was seen");
    loop {
        let left = limit.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, look()).await {
            Ok(Ok(Some(found))) => return Ok(found),
            Ok(Ok(None)) => last = String::from("not so when last looked at"),
            Ok(Err(error)) => last = format!("last error: {error:#}"),
            Err(_) => {}
        }
        if started.elapsed() >= limit {
            bail!("waited {:.1} s for {what}: {last}", limit.as_secs_f64());
        }
        tokio::time::sleep(LOOK_EVERY.min(left)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_that_never_comes_true_ends_at_its_limit_and_names_the_last_error() {
        let started = Instant::now();
        let outcome: Result<()> =
            until("the moon", Duration::from_millis(120), async || bail!("the sky is {}", "cloudy")).await;
        let message = outcome.map_err(|error| error.to_string());
        assert_eq!(message, Err(String::from("waited 0.1 s for the moon: last error: the sky is cloudy")));
        assert!(started.elapsed() < Duration::from_secs(2));
    }

    #[tokio::test]
    async fn a_look_that_hangs_does_not_outlive_the_limit() {
        let started = Instant::now();
        let outcome: Result<()> = until("an answer", Duration::from_millis(120), async || {
            std::future::pending::<()>().await;
            Ok(None)
        })
        .await;
        let message = outcome.map_err(|error| error.to_string());
        assert_eq!(message, Err(String::from("waited 0.1 s for an answer: nothing was seen")));
        assert!(started.elapsed() < Duration::from_secs(2));
    }

    #[tokio::test]
    async fn a_wait_returns_what_was_found_on_a_later_look() -> Result<()> {
        let mut looks = 0;
        let found = until("the third look", Duration::from_secs(5), async || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        })
        .await?;
        assert_eq!(found, 3);
        Ok(())
    }
}
