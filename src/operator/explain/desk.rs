//! Where the loop hands out copies of what it knows.

use super::View;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// So many may wait for the next turn.
const WAITING_MAX: usize = 16;

/// Those who wait for a copy of what the operator knows. The loop looks in once a turn; one copy is for all of them.
#[derive(Debug, Default)]
pub struct Desk {
    waiting: Mutex<Vec<oneshot::Sender<Arc<View>>>>,
}

impl Desk {
    /// A copy as of the next turn; none where too many wait already.
    pub fn ask(&self) -> Option<oneshot::Receiver<Arc<View>>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|who| !who.is_closed());
        if waiting.len() >= WAITING_MAX {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        waiting.push(sender);
        Some(receiver)
    }

    /// Hands a copy to those who wait; makes none where nobody does.
    pub(in crate::operator) fn answer(&self, copy: impl FnOnce() -> View) {
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if waiting.iter().all(oneshot::Sender::is_closed) {
            return;
        }
        let view = Arc::new(copy());
        for who in waiting {
            // Who went away meanwhile needs none.
            drop(who.send(view.clone()));
        }
    }
}
