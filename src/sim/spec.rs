//! What a simulation is made from.

use super::happening::Script;
use super::plant::faults::Rates;
use super::plant::weather::Weather;
use crate::api::manifest::Object;
use crate::market::series::Series;
use ampacity_core::units::Time;
use std::path::PathBuf;

/// Annotation of a `GpuPool` in manifests for the demo: how many nodes it has. Without it, four.
pub const NODES_ANNOTATION: &str = "ampacity.dev/demo-nodes";
/// Nodes of a pool that does not say.
pub const NODES_DEFAULT: u32 = 4;

/// How much goes wrong besides the script.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mishaps {
    /// Nothing.
    #[default]
    None,
    /// What a site sees on an ordinary day: late messages, a device now and then.
    Usual,
    /// Everything at once, all the time: lost, late and repeated writes, frozen watches, partitions, crashes.
    Chaos,
}

/// A site to simulate.
#[derive(Clone, Debug)]
pub struct WorldSpec {
    /// The same seed prints the same trace.
    pub seed: u64,
    /// Virtual time at the start.
    pub start: Time,
    /// The site: one `PowerBudget` and what belongs to it. Jobs leases get one Job of all their GPUs.
    pub objects: Vec<Object>,
    /// Where the relative paths of file sources start.
    pub folder: PathBuf,
    /// In place of the budget's own energy price: millionths of USD/MWh.
    pub prices: Option<Series>,
    /// In place of the budget's own hashprice: millionths of USD per PH/s per day.
    pub hashprice: Option<Series>,
    /// What happens.
    pub script: Script,
    /// How much goes wrong besides.
    pub mishaps: Mishaps,
    /// The air.
    pub weather: Weather,
    /// What goes wrong with devices by chance.
    pub rates: Rates,
}
