//! What stands at the API server, followed from outside: every order of every load, and who leads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ampacity::api::ControllableLoad;
use ampacity::store::LEADERSHIP_NAME;
use ampacity::store::kube::EPOCH_ANNOTATION;
use ampacity_e2e::{Test, figure, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use tokio::task::JoinSet;

/// A look so often: the error of every time that is measured by it, and a tenth of a turn of the loop that orders. Several
/// sites are looked at side by side.
const EVERY: Duration = Duration::from_millis(100);
/// A look that takes longer is given up: the API server may be frozen.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// An order of a load, as it was first seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) at: Instant,
    pub(crate) load: String,
    pub(crate) epoch: i64,
    pub(crate) sequence: i64,
    pub(crate) setpoint: i64,
}

#[derive(Debug, Default)]
struct Kept {
    orders: Vec<Order>,
    last: BTreeMap<String, Order>,
    /// Changes of who leads: the holder (empty: nobody) and the epoch.
    leaders: Vec<(Instant, String, i64)>,
    /// An order that fell, since this was last asked.
    fell: Option<String>,
}

/// Follows for as long as it lives.
#[derive(Debug)]
pub(crate) struct Orders {
    kept: Arc<Mutex<Kept>>,
    _following: JoinSet<()>,
}

impl Orders {
    pub(crate) fn follow(test: &Test) -> Self {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let loads: Api<ControllableLoad> = Api::default_namespaced(test.admin());
        let leases: Api<Lease> = Api::default_namespaced(test.admin());
        let mut following = JoinSet::new();
        let into = kept.clone();
        following.spawn(async move {
            let all = ListParams::default();
            loop {
                let look = async { tokio::join!(loads.list(&all), leases.get_opt(LEADERSHIP_NAME)) };
                if let Ok((listed, lease)) = tokio::time::timeout(LOOK_WITHIN, look).await {
                    let mut kept = lock(&into);
                    listed.into_iter().flat_map(|list| list.items).for_each(|load| kept.take(&load));
                    lease.into_iter().flatten().for_each(|lease| kept.lead(&lease));
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        Self { kept, _following: following }
    }

    /// The orders of every load, as they stand.
    pub(crate) fn now(&self) -> BTreeMap<String, Order> {
        lock(&self.kept).last.clone()
    }

    /// The last orders of epochs up to this.
    pub(crate) fn under(&self, epoch: i64) -> BTreeMap<String, Order> {
        let kept = lock(&self.kept);
        let of = kept.orders.iter().filter(|order| order.epoch <= epoch);
        of.map(|order| (order.load.clone(), order.clone())).collect()
    }

    /// The highest epoch that any order bears.
    pub(crate) fn epoch(&self) -> i64 {
        lock(&self.kept).last.values().map(|order| order.epoch).max().unwrap_or_default()
    }

    /// Who leads, as far as is known: nobody is "".
    pub(crate) fn leader(&self) -> (String, i64) {
        lock(&self.kept).leaders.last().map(|(_, name, epoch)| (name.clone(), *epoch)).unwrap_or_default()
    }

    /// When somebody first led under an epoch above this.
    pub(crate) async fn led_above(&self, epoch: i64, within: Duration) -> Result<(Instant, String)> {
        until(&format!("a leader after epoch {epoch}"), within, async || {
            let kept = lock(&self.kept);
            Ok(kept.leaders.iter().find(|(_, _, of)| *of > epoch).map(|(at, name, _)| (*at, name.clone())))
        })
        .await
    }

    /// The first order of an epoch above this.
    pub(crate) async fn first_above(&self, epoch: i64, within: Duration) -> Result<Order> {
        until(&format!("an order after epoch {epoch}"), within, async || {
            Ok(lock(&self.kept).orders.iter().find(|order| order.epoch > epoch).cloned())
        })
        .await
    }

    /// The orders that changed a setpoint since.
    pub(crate) fn changed(&self, since: Instant) -> Vec<Order> {
        let kept = lock(&self.kept);
        let mut before: BTreeMap<&str, i64> = BTreeMap::new();
        let mut changed = Vec::new();
        for order in &kept.orders {
            let was = before.insert(&order.load, order.setpoint);
            if order.at >= since && was.is_some_and(|was| was != order.setpoint) {
                changed.push(order.clone());
            }
        }
        changed
    }

    /// Writes of orders since, claims among them: by their sequences, so that one that was overtaken between two looks
    /// counts too.
    pub(crate) fn writes(&self, since: Instant) -> i64 {
        let kept = lock(&self.kept);
        let mut before: BTreeMap<&str, &Order> = BTreeMap::new();
        let mut writes = 0;
        for order in &kept.orders {
            let was = before.insert(&order.load, order);
            if order.at >= since {
                let same = was.filter(|was| was.epoch == order.epoch);
                writes += same.map_or(order.sequence + 1, |was| order.sequence - was.sequence);
            }
        }
        writes
    }

    /// No order was ever seen to fall.
    pub(crate) fn rose(&self, scene: &str) -> Result<()> {
        let fell = lock(&self.kept).fell.take();
        ensure!(fell.is_none(), "{scene}: an order fell: {}", fell.unwrap_or_default());
        Ok(())
    }

    /// What was seen to fall, where it was meant to: after this it counts as never seen.
    pub(crate) fn forget_fall(&self) -> Option<String> {
        lock(&self.kept).fell.take()
    }
}

impl Kept {
    fn take(&mut self, load: &ControllableLoad) {
        let spec = &load.spec;
        let order = Order {
            at: Instant::now(),
            load: load.name_any(),
            epoch: spec.order.epoch,
            sequence: spec.order.sequence,
            setpoint: spec.setpoint_watts.0,
        };
        let last = self.last.get(&order.load);
        if last.is_some_and(|last| (last.epoch, last.sequence) == (order.epoch, order.sequence)) {
            return;
        }
        if let Some(last) = last.filter(|last| (last.epoch, last.sequence) > (order.epoch, order.sequence)) {
            self.fell = Some(format!("{last:?} to {order:?}"));
        }
        self.last.insert(order.load.clone(), order.clone());
        self.orders.push(order);
    }

    fn lead(&mut self, lease: &Lease) {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
        let epoch = lease.annotations().get(EPOCH_ANNOTATION).and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
        if self.leaders.last().is_none_or(|(_, name, of)| (name, *of) != (&holder, epoch)) {
            self.leaders.push((Instant::now(), holder, epoch));
        }
    }
}

/// The median and the worst of times.
pub(crate) fn median_and_worst(name: &str, mut times: Vec<Duration>) -> Result<()> {
    times.sort_unstable();
    let (median, worst) = (times.get(times.len() / 2), times.last());
    let (median, worst) = median.zip(worst).context("no times")?;
    figure(&format!("{name}_median"), median.as_secs_f64(), "seconds");
    figure(&format!("{name}_worst"), worst.as_secs_f64(), "seconds");
    figure(&format!("{name}_repetitions"), times.len() as f64, "times");
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
