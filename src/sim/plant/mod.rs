//! The simulated physical site: what truly happens to the watts, whatever the controllers believe.
//!
//! Seeded, in virtual time, cheap: a device at rest is part of a sum, one that moves is a formula of time. Nothing in
//! here knows of orders, ceilings or prices. Agents reach it through [`PlantPort`] as they reach real devices, the
//! operator through its meters; the truth ([`Plant::true_watts`]) is for judging runs alone.

mod bank;
pub mod container;
pub mod device;
pub mod faults;
pub mod gpunode;
pub mod meter;
#[cfg(test)]
mod tests;
pub mod weather;

use crate::device::{Devices, Sample};
use ampacity_core::guard::proof::{DeviceAnswer, DeviceCommand, Limiter, LoadDevices};
use ampacity_core::tree::{NodeId, Tree};
use ampacity_core::units::{Ppm, Span, Time, WattSeconds, Watts};
use bank::Bank;
use container::{Cooling, Loop};
use device::Behaviour;
use faults::{Chance, Fault, Rates};
use gpunode::Host;
use meter::{Meter, MeterSpec};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use weather::Weather;

/// A site to simulate.
#[derive(Clone, Debug)]
pub struct PlantSpec {
    /// The same seed makes the same site and the same mishaps.
    pub seed: u64,
    /// The air.
    pub weather: Weather,
    /// What goes wrong by chance.
    pub rates: Rates,
    /// The loads. A load is named by its place here.
    pub loads: Vec<LoadSpec>,
    /// Meters of nodes. A node has one at most.
    pub meters: Vec<(NodeId, MeterSpec)>,
}

/// One load.
#[derive(Clone, Debug)]
pub struct LoadSpec {
    /// The node it hangs on.
    pub node: NodeId,
    /// Its devices: how many of each kind, and what limits them when the simulation starts.
    pub devices: Vec<(Behaviour, usize, Limiter)>,
    /// What stands around them.
    pub kind: LoadKind,
}

/// What a load is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LoadKind {
    /// A mining container.
    Container(Cooling),
    /// A GPU node.
    GpuNode(Host),
}

impl LoadSpec {
    /// A container of miners, cooled for what they draw at most.
    pub fn container(node: NodeId, devices: Vec<(Behaviour, usize, Limiter)>) -> Self {
        let most = |(of, count, _): &(Behaviour, usize, Limiter)| {
            Watts::new(of.class.power_on_watts.get().saturating_mul(i64::try_from(*count).unwrap_or(i64::MAX)))
        };
        let most = devices.iter().map(most).sum();
        Self { node, devices, kind: LoadKind::Container(Cooling::for_watts(most)) }
    }

    /// A node of eight H100, uncapped and idle.
    pub fn gpu_node(node: NodeId) -> Self {
        let devices = vec![(gpunode::h100(), 8, Limiter::Watts(Watts::new(700)))];
        Self { node, devices, kind: LoadKind::GpuNode(Host::DGX) }
    }
}

#[derive(Clone, Debug)]
struct Load {
    node: NodeId,
    bank: Bank,
    kind: LoadKind,
    cooling: Loop,
    watts: Watts,
    energy: WattSeconds,
}

impl Load {
    fn overhead(&self) -> Watts {
        match self.kind {
            LoadKind::Container(cooling) => cooling.largest(),
            LoadKind::GpuNode(host) => host.largest,
        }
    }

    fn advance(&mut self, air: f64, now: Time, since: Span) {
        self.bank.advance(now);
        let devices = self.bank.watts();
        let beside = match &self.kind {
            LoadKind::Container(cooling) => {
                if let Some(tripped) = self.cooling.advance(cooling, devices, air, now) {
                    self.bank.change(None, now, |device, of| device.trip(tripped, of, now));
                }
                self.cooling.draws(cooling)
            }
            LoadKind::GpuNode(host) => host.draws(devices),
        };
        self.energy += self.watts.over(since);
        self.watts = devices + beside;
    }
}

/// The site.
#[derive(Clone, Debug)]
pub struct Plant {
    tree: Tree,
    weather: Weather,
    loads: Vec<Load>,
    meters: Vec<Meter>,
    /// True watts by node, with losses and auxiliaries.
    nodes: Vec<Watts>,
    now: Time,
}

impl Plant {
    /// A site at rest. Every load hangs on a node of `tree`; what does not is drawn at the site alone.
    pub fn new(spec: &PlantSpec, tree: &Tree, now: Time) -> Self {
        let load = |(place, load): (usize, &LoadSpec)| Load {
            node: load.node,
            bank: Bank::new(&load.devices, place, spec.rates, spec.seed, now),
            kind: load.kind,
            cooling: Loop::new(now),
            watts: Watts::ZERO,
            energy: WattSeconds::ZERO,
        };
        let mut chance = Chance::new(spec.seed);
        let meters = spec.meters.iter().map(|(node, meter)| Meter::new(*node, *meter, chance.even(), now));
        let mut plant = Self {
            tree: tree.clone(),
            weather: spec.weather,
            meters: meters.collect(),
            loads: spec.loads.iter().enumerate().map(load).collect(),
            nodes: vec![Watts::ZERO; tree.len()],
            now,
        };
        plant.advance(now);
        plant
    }

    /// Lets time pass up to `now`: writes land, draws move, heat flows, meters sample.
    pub fn advance(&mut self, now: Time) {
        let since = now.since(self.now);
        self.now = self.now.max(now);
        let air = self.weather.celsius(now);
        for load in &mut self.loads {
            load.advance(air, now, since);
        }
        let sums = self.tree.sums(self.loads.iter().map(|load| (load.node, load.watts)));
        for (place, (node, sum)) in self.nodes.iter_mut().zip(sums).enumerate() {
            *node = u32::try_from(place).map_or(sum, |place| self.tree.at_meter(NodeId(place), sum));
        }
        for meter in &mut self.meters {
            meter.advance(self.nodes.get(meter.node.index()).copied().unwrap_or_default(), now);
        }
    }

    /// What truly flows at a node, with losses and auxiliaries, W. Zero for a node that is not in the tree.
    pub fn true_watts(&self, node: NodeId) -> Watts {
        self.nodes.get(node.index()).copied().unwrap_or_default()
    }

    /// What a load truly draws, overhead included, W.
    pub fn load_watts(&self, load: usize) -> Watts {
        self.loads.get(load).map_or(Watts::ZERO, |load| load.watts)
    }

    /// What a load has drawn since the start.
    pub fn energy(&self, load: usize) -> WattSeconds {
        self.loads.get(load).map_or(WattSeconds::ZERO, |load| load.energy)
    }

    /// What the meter at a node says, if it has one that has been read.
    pub fn meter(&self, node: NodeId) -> Option<Sample> {
        self.meters.iter().find(|meter| meter.node == node)?.sample()
    }

    /// What the devices of a load yield just now: GH/s of a container. Looks at every device: not for every tick.
    pub fn yields(&self, load: usize) -> i64 {
        self.loads.get(load).map_or(0, |load| load.bank.yields())
    }

    /// How fast a job runs on a GPU node, as a fraction of uncapped: by its slowest GPU that works.
    pub fn throughput(&self, load: usize) -> Ppm {
        let Some(load) = self.loads.get(load) else { return Ppm::ZERO };
        let caps = load.bank.devices.iter().map(|device| match device.limiter {
            _ if device.dead => Ppm::ZERO,
            Limiter::Watts(cap) => gpunode::throughput(cap),
            Limiter::Asleep => Ppm::ZERO,
            Limiter::Unlimited => Ppm::new(1_000_000),
        });
        caps.min().unwrap_or(Ppm::ZERO)
    }

    /// The loop of a container; none for a GPU node.
    pub fn cooling(&self, load: usize) -> Option<Loop> {
        let load = self.loads.get(load)?;
        matches!(load.kind, LoadKind::Container(_)).then_some(load.cooling)
    }

    /// What limits each device of a load just now.
    pub fn limiters(&self, load: usize) -> impl Iterator<Item = Limiter> + '_ {
        self.loads.get(load).into_iter().flat_map(|load| &load.bank.devices).map(|device| device.limiter)
    }

    /// Puts the devices of a load back to these limiters, arrived at what they draw under them: how they were left.
    /// Devices beyond the list stay as they are.
    pub fn put_back(&mut self, load: usize, limiters: &[Limiter], now: Time) {
        let Some(load) = self.loads.get_mut(load) else { return };
        let mut limiters = limiters.iter();
        load.bank.change(None, now, |device, of| {
            if let Some(limiter) = limiters.next() {
                device.limiter = *limiter;
                device.draw = device::Draw::still(device.goal(of), now);
            }
        });
    }

    /// Work lands on a GPU node or leaves it: its first `gpus` GPUs would now draw `demand` each, the others are idle.
    pub fn set_job(&mut self, load: usize, gpus: usize, demand: Watts, now: Time) {
        let Some(load) = self.loads.get_mut(load) else { return };
        let mut place = 0;
        load.bank.change(None, now, |device, of| {
            let demand = if place < gpus { demand.get() as f64 } else { 0.0 };
            place += 1;
            if of.idle_watts.is_some() && device.demand.to_bits() != demand.to_bits() {
                device.demand = demand;
                if now >= device.dark_until.max(device.wedged_until) {
                    device.move_on(of, now);
                }
            }
        });
    }

    /// Something goes wrong.
    pub fn inject(&mut self, fault: Fault, now: Time) {
        match fault {
            Fault::Dies { load, device } => self.each(load, device, now, |device, of| {
                device.dead = true;
                device.move_on(of, now);
            }),
            Fault::Hangs { load, device, until } => {
                self.each(load, device, now, |device, _| device.silent_until = device.silent_until.max(until));
            }
            Fault::Reboots { load, device } => self.each(load, device, now, |device, of| device.reboot(of, now)),
            Fault::Wedges { load, device, until } => {
                if let Some(load) = self.loads.get_mut(load) {
                    load.bank.wedge(device, until, now);
                }
            }
            Fault::FansStop { load, until } => {
                if let Some(load) = self.loads.get_mut(load) {
                    load.cooling.fans_out_until = until;
                }
            }
            Fault::MeterOut { node, until } => {
                if let Some(meter) = self.meters.iter_mut().find(|meter| meter.node == node) {
                    meter.out_until = until;
                }
            }
        }
    }

    fn each(
        &mut self,
        load: usize,
        device: Option<usize>,
        now: Time,
        with: impl FnMut(&mut device::Device, &Behaviour),
    ) {
        if let Some(load) = self.loads.get_mut(load) {
            load.bank.change(device, now, with);
        }
    }
}

/// A plant that the simulation and the agents' ports share.
pub type SharedPlant = Arc<Mutex<Plant>>;

/// One load of a plant, as its agent reaches it.
#[derive(Clone, Debug)]
pub struct PlantPort {
    plant: SharedPlant,
    load: usize,
}

impl PlantPort {
    /// The port to the load at this place.
    pub const fn new(plant: SharedPlant, load: usize) -> Self {
        Self { plant, load }
    }

    fn lock(&self) -> MutexGuard<'_, Plant> {
        // A panic elsewhere has left no half-made change that matters to watts.
        self.plant.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Devices for PlantPort {
    fn describe(&self) -> LoadDevices {
        let empty = LoadDevices { classes: Vec::new(), devices: Vec::new(), overhead_watts: Watts::ZERO };
        self.lock().loads.get(self.load).map_or(empty, |load| load.bank.describe(load.overhead()))
    }

    fn submit(&mut self, commands: &[DeviceCommand], now: Time) {
        if let Some(load) = self.lock().loads.get_mut(self.load) {
            load.bank.submit(commands, now);
        }
    }

    fn poll(&mut self, now: Time) -> Vec<DeviceAnswer> {
        self.lock().loads.get_mut(self.load).map_or_else(Vec::new, |load| load.bank.poll(now))
    }

    fn meter(&mut self, _now: Time) -> Option<Sample> {
        // Meters of single loads: none in this plant; its nodes have them.
        None
    }
}
