//! What one object says that its schema cannot check: quantities against each other.
//!
//! CEL cannot compare fields that may be an integer or a text, so these become faults here: the manifest reader
//! refuses them at once, the operator states them in the condition `Accepted`. What takes a second object to see (a
//! name that does not exist) is the operator's to find.

use super::check::Fault;
use super::convert::BudgetError;
use super::manifest::Object;
use super::quantity::{Percent, WattsQuantity};
use super::{GpuPoolSpec, LeaseClassSpec, MiningFleetSpec, PowerBudget};
use ampacity_core::tree::Tree;
use ampacity_core::units::Watts;

impl Object {
    /// Everything that makes no sense in this object by itself; empty where there is nothing.
    pub fn faults(&self) -> Vec<Fault> {
        match self {
            Self::PowerBudget(budget) => budget_faults(budget),
            Self::MiningFleet(fleet) => fleet.spec.faults(),
            Self::GpuPool(pool) => pool.spec.faults(),
            Self::LeaseClass(class) => class.spec.faults(),
            Self::ComputeLease(_) | Self::GridEvent(_) | Self::Lockout(_) | Self::ControllableLoad(_) => Vec::new(),
        }
    }
}

/// A fault of a field that holds `have` and must not be above `most`, which is `what`.
fn above(field: &str, have: Watts, most: Watts, what: &str) -> Option<Fault> {
    let quantity = WattsQuantity::from;
    (have > most)
        .then(|| Fault::new(field, format!("{}: must not be above {}, {what}", quantity(have), quantity(most))))
}

/// A fault of a nameplate that is below what its parts can draw: the guard counts on it.
fn below(field: &str, stated: Option<WattsQuantity>, least: Watts, what: &str) -> Option<Fault> {
    let stated = stated.filter(|stated| stated.watts() < least)?;
    Some(Fault::new(field, format!("{stated}: must be at least {}, {what}", WattsQuantity::from(least))))
}

/// A fault of a share above the whole.
fn whole(field: impl Into<String>, share: Percent) -> Option<Fault> {
    (share > Percent::whole(100)).then(|| Fault::new(field, format!("{share}: must not be above 100")))
}

/// What makes no sense in a site: limits that are used up before anything is given out, shares above the whole.
pub fn budget_faults(budget: &PowerBudget) -> Vec<Fault> {
    let tree = match Tree::try_from(budget) {
        Ok(tree) => tree,
        Err(error @ BudgetError::Limit(_)) => return vec![Fault::new("spec", error.to_string())],
        Err(error) => return vec![Fault::new("spec.feeders", error.to_string())],
    };
    let spec = &budget.spec;
    let mut faults: Vec<Fault> = whole("spec.lossPercent", spec.loss_percent).into_iter().collect();
    if let Some(hashprice) = &spec.hashprice {
        faults.extend(whole("spec.hashprice.poolFeePercent", hashprice.pool_fee_percent));
    }
    for (index, node) in tree.nodes().iter().enumerate() {
        let place = index.checked_sub(1).map_or("spec".to_string(), |feeder| format!("spec.feeders[{feeder}]"));
        let field = format!("{place}.reserveWatts");
        faults.extend(above(&field, node.reserve + node.auxiliary, node.limit, "the limit, with auxiliaryWatts added"));
    }
    for (index, feeder) in spec.feeders.iter().enumerate() {
        faults.extend(whole(format!("spec.feeders[{index}].lossPercent"), feeder.loss_percent));
    }
    faults
}

impl MiningFleetSpec {
    /// The most that one container's machines and overhead can draw by their presets, W.
    pub fn presets(&self) -> Watts {
        let highest = self.curve.iter().map(|point| point.watts.0).max().unwrap_or_default();
        Watts::new(highest.saturating_mul(i64::from(self.miners_per_container))) + self.overhead_watts.watts()
    }

    /// The nameplate of one container, W: as stated, or by its presets.
    pub fn nameplate(&self) -> Watts {
        self.nameplate_watts_per_container.map_or_else(|| self.presets(), WattsQuantity::watts)
    }

    /// What makes no sense in a fleet.
    pub fn faults(&self) -> Vec<Fault> {
        let nameplate = "the nameplate of one container";
        let presets = "machines at their highest preset and overheadWatts";
        let field = "spec.nameplateWattsPerContainer";
        let all = [
            below(field, self.nameplate_watts_per_container, self.presets(), presets),
            above("spec.thermalFloorWatts", self.thermal_floor_watts.watts(), self.nameplate(), nameplate),
            above("spec.fallbackWatts", self.fallback_watts.unwrap_or_default().watts(), self.nameplate(), nameplate),
            above("spec.stepWatts", self.step_watts.unwrap_or_default().watts(), self.nameplate(), nameplate),
        ];
        all.into_iter().flatten().collect()
    }
}

impl GpuPoolSpec {
    /// One node with every GPU at `cap`, W: with the highest cap what it can draw, with the lowest its must-run.
    pub fn node_at(&self, cap: Watts) -> Watts {
        Watts::new(cap.get().saturating_mul(i64::from(self.gpus_per_node))) + self.overhead_watts.watts()
    }

    /// The nameplate of one node, W: as stated, or by its caps.
    pub fn nameplate(&self) -> Watts {
        self.nameplate_watts.map_or_else(|| self.node_at(self.max_cap_watts.watts()), WattsQuantity::watts)
    }

    /// What makes no sense in a pool.
    pub fn faults(&self) -> Vec<Fault> {
        let most = self.node_at(self.max_cap_watts.watts());
        let caps = "gpusPerNode at maxCapWatts and overheadWatts";
        let fallback = self.fallback_watts.unwrap_or_default().watts();
        let mut faults: Vec<Fault> = [
            below("spec.nameplateWatts", self.nameplate_watts, most, caps),
            above("spec.fallbackWatts", fallback, self.nameplate(), "the nameplate of one node"),
        ]
        .into_iter()
        .flatten()
        .collect();
        for (index, point) in self.throughput.iter().enumerate() {
            faults.extend(whole(format!("spec.throughput[{index}].throughputPercent"), point.throughput_percent));
        }
        faults
    }
}

impl LeaseClassSpec {
    /// What makes no sense in a class.
    pub fn faults(&self) -> Vec<Fault> {
        let caps = self.caps.as_ref().and_then(|c| whole("spec.caps.minThroughputPercent", c.min_throughput_percent));
        let namespace = self.max_watts_per_namespace.unwrap_or_default().watts();
        let sold = self.capacity_watts.map(WattsQuantity::watts);
        let watts = sold.and_then(|sold| above("spec.maxWattsPerNamespace", namespace, sold, "capacityWatts"));
        caps.into_iter().chain(watts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::check::Schemas;
    use crate::api::manifest;

    /// The faults of an example after `from` was replaced by `to` in it.
    fn faults(example: &str, from: &str, to: &str) -> Vec<String> {
        let path = format!("{}/examples/{example}.yaml", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains(from), "{from}");
        let value = manifest::values(example, &text.replace(from, to)).unwrap().remove(0);
        let value = Schemas::new().unwrap().defaulted(&value);
        Object::from_value(value).unwrap().faults().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_nameplate_below_what_the_parts_can_draw_is_a_fault_since_the_guard_counts_on_it() {
        let fleet = faults("mining-fleet", "thermalFloorWatts: 120k", "nameplateWattsPerContainer: 2M");
        let want = "spec.nameplateWattsPerContainer: 2M: must be at least 2192600, machines at their highest preset \
                    and overheadWatts";
        assert_eq!(fleet, [want]);
        let pool = faults("gpu-pool", "\"10200\"", "\"10199\"");
        let want = "spec.nameplateWatts: 10199: must be at least 10200, gpusPerNode at maxCapWatts and overheadWatts";
        assert_eq!(pool, [want]);
    }

    #[test]
    fn a_floor_or_fallback_above_the_nameplate_is_a_fault() {
        let fleet = faults("mining-fleet", "thermalFloorWatts: 120k", "thermalFloorWatts: 3M\n  fallbackWatts: 4M");
        let want = "must not be above 2192600, the nameplate of one container";
        assert_eq!(fleet, [format!("spec.thermalFloorWatts: 3M: {want}"), format!("spec.fallbackWatts: 4M: {want}")]);
    }

    #[test]
    fn a_reserve_that_uses_up_its_limit_and_a_share_above_the_whole_are_faults() {
        let site = faults("power-budget", "reserveWatts: 500k", "reserveWatts: 70M\n      lossPercent: \"101\"");
        let reserve = "spec.feeders[0].reserveWatts: 70M: must not be above 60M, the limit, with auxiliaryWatts added";
        assert_eq!(site, [reserve, "spec.feeders[0].lossPercent: 101.00: must not be above 100"]);
    }
}
