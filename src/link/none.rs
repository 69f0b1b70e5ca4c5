//! The end of an agent that has no link: nobody shouts to it, and nobody hears its reports.
//!
//! Orders reach such an agent through the API server alone, sheds too: a lower setpoint takes effect when its watch shows
//! it. What a link would carry besides, the life of its proof, its status carries.

use super::{Downlink, Report, Shout};

/// No link.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLink;

impl Downlink for NoLink {
    fn poll(&mut self) -> Vec<Shout> {
        Vec::new()
    }

    /// Goes nowhere: whoever asks this process for its metrics sees the same.
    fn report(&mut self, _: Report) {}

    fn is_up(&self) -> bool {
        false
    }
}
