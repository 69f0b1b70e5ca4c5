//! Prices as given, meters as the plant has them.

use crate::market::series::Series;
use crate::market::{Asked, Feeds, Market, Point, Source};
use crate::sim::plant::SharedPlant;
use crate::sim::spec::WorldSpec;
use ampacity_core::tree::Tree;
use ampacity_core::units::Time;
use std::sync::PoisonError;

/// The feeds of a simulated site.
#[derive(Debug)]
pub(super) struct SimFeeds {
    market: Market,
    prices: Option<Series>,
    hashprice: Option<Series>,
    plant: SharedPlant,
    tree: Tree,
}

impl SimFeeds {
    pub(super) fn new(spec: &WorldSpec, plant: &SharedPlant, tree: &Tree) -> Self {
        Self {
            market: Market::new(&spec.folder),
            prices: spec.prices.clone(),
            hashprice: spec.hashprice.clone(),
            plant: plant.clone(),
            tree: tree.clone(),
        }
    }

    fn sample(&self, node: &str) -> Option<Point> {
        let plant = self.plant.lock().unwrap_or_else(PoisonError::into_inner);
        let sample = plant.meter(self.tree.find(node)?)?;
        Some(Point { value: sample.watts.get(), since: sample.time, until: sample.time, known: sample.time })
    }
}

impl Feeds for SimFeeds {
    fn newest(&mut self, asked: Asked<'_>, source: Source<'_>, now: Time) -> Result<Option<Point>, String> {
        match (asked, &self.prices, &self.hashprice) {
            (Asked::EnergyPrice(_), Some(series), _) | (Asked::Hashprice(_), _, Some(series)) => Ok(series.at(now)),
            (Asked::Meter(_, node), ..) => Ok(self.sample(node)),
            _ => self.market.newest(asked, source, now),
        }
    }
}
