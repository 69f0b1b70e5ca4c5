//! What waits to be read by one end: the newest message of each kind, and nothing more.

use crate::link::Shout;

/// Shouts that were not read yet. The newest of a kind takes the place of what waited.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Slots {
    shed: Option<Shout>,
    schedule: Option<Shout>,
}

impl Slots {
    pub(super) fn put(&mut self, shout: Shout) {
        match shout {
            Shout::Shed { .. } => self.shed = Some(shout),
            Shout::Schedule { .. } => self.schedule = Some(shout),
        }
    }

    /// The next one: sheds go first.
    pub(super) fn take(&mut self) -> Option<Shout> {
        self.shed.take().or_else(|| self.schedule.take())
    }
}
