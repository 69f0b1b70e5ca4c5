//! The simulated hardware of one load, in real time beside its agent (`ampacity agent … --device simulated`).
//!
//! What it is made of stands in the load's own `MiningFleet` or `GpuPool`; nothing is chosen here. A real device does not
//! notice that its agent restarts: limiters in force, and how many devices there are, are kept in a file before the agent
//! hears of them, and a successor finds them there, at what they draw once they have arrived. What a real device would
//! lose is lost: a GPU's cap when its node has started anew since. Without a file each start is a cold one.

use super::build;
use super::plant::faults::Rates;
use super::plant::weather::Weather;
use super::plant::{LoadSpec, Plant, PlantPort, PlantSpec, SharedPlant};
use crate::agent::setting::Made;
use crate::device::{Devices, Sample};
use ampacity_core::guard::proof::{DeviceAnswer, DeviceCommand, Limiter, LoadDevices, Sleep};
use ampacity_core::tree::{NodeId, Tree};
use ampacity_core::units::{Span, Time, Watts};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The air around a container, day and night (assumed: a mild day, so that cooling never stops the machines by itself).
const AIR: Weather = Weather { mean_celsius: 18.0, swing_kelvin: 0.0, utc_offset_hours: 0.0 };
/// Tells one start of this machine from every other.
const HOST_BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// What stands there, as a plant knows it.
fn built(made: &Made) -> LoadSpec {
    match made {
        Made::Container(fleet) => {
            let mut container = build::container(fleet, NodeId::SITE);
            for (miner, _, _) in &mut container.devices {
                // What a fleet's floor carries for one that sleeps is to carry the limiter's error too.
                let most = build::ASLEEP_AT_MOST.without(miner.class.limiter_error);
                miner.class.sleep = miner.class.sleep.map(|sleep| Sleep { watts: most, ..sleep });
            }
            container
        }
        Made::Node(pool) => {
            let mut node = build::gpu_node(pool, NodeId::SITE);
            for (gpu, _, _) in &mut node.devices {
                // The pool declares it; a simulated driver takes as long.
                gpu.class.boot_to_full = Span::seconds(pool.boot_to_full_seconds);
                gpu.boot_ms = gpu.class.boot_to_full.get();
            }
            node
        }
    }
}

/// Why there is no such hardware.
#[derive(Debug, thiserror::Error)]
pub enum HardwareError {
    /// The file cannot be read or written.
    #[error("--device-state {path}: {error}: name a file in a folder that exists and that this process may write to")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is not one of ours.
    #[error("--device-state {path}: {error}: it is not the state of simulated devices; remove it for a cold start")]
    Unreadable {
        /// The file.
        path: String,
        /// What the parser said.
        error: serde_json::Error,
    },
    /// The file is another load's.
    #[error(
        "--device-state {path}: it holds the devices of load {holds:?}, not of {load:?}: give each load a file of its own"
    )]
    OtherLoad {
        /// The file.
        path: String,
        /// Whose it is.
        holds: String,
        /// Who asked.
        load: String,
    },
}

/// A limiter, as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Held {
    Asleep,
    Unlimited,
    Watts(i64),
}

impl From<Limiter> for Held {
    fn from(limiter: Limiter) -> Self {
        match limiter {
            Limiter::Asleep => Self::Asleep,
            Limiter::Unlimited => Self::Unlimited,
            Limiter::Watts(watts) => Self::Watts(watts.get()),
        }
    }
}

impl From<Held> for Limiter {
    fn from(held: Held) -> Self {
        match held {
            Held::Asleep => Self::Asleep,
            Held::Unlimited => Self::Unlimited,
            Held::Watts(watts) => Self::Watts(Watts::new(watts)),
        }
    }
}

/// How the devices of a load were left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Left {
    /// `namespace/name` of the load.
    load: String,
    /// This start of the machine that GPUs are plugged into.
    host_boot: String,
    made: Made,
    /// So many devices in a row are under this limiter.
    limiters: Vec<(usize, Held)>,
}

fn file(path: &Path, error: std::io::Error) -> HardwareError {
    HardwareError::File { path: path.display().to_string(), error }
}

fn read(path: &Path, load: &str) -> Result<Option<Left>, HardwareError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file(path, error)),
    };
    let shown = || path.display().to_string();
    let left: Left = serde_json::from_str(&text).map_err(|error| HardwareError::Unreadable { path: shown(), error })?;
    if left.load != load {
        return Err(HardwareError::OtherLoad { path: shown(), holds: left.load, load: load.into() });
    }
    Ok(Some(left))
}

/// What a load's devices were last made of, by their file: for an agent that outlives its fleet or pool.
///
/// # Errors
/// The file is there and of no use: names the flag, the file and what would be right.
pub fn made_last(path: &Path, load: &str) -> Result<Option<Made>, HardwareError> {
    Ok(read(path, load)?.map(|left| left.made))
}

/// One load's simulated hardware.
#[derive(Debug)]
pub struct Hardware {
    plant: SharedPlant,
    port: PlantPort,
    path: Option<PathBuf>,
    left: Left,
}

impl Hardware {
    /// The hardware of `load` (`namespace/name`) at the site of this tree. The load's name is the seed: its units are the
    /// same after every start.
    ///
    /// # Errors
    /// The file is of no use: names the flag, the file and what would be right.
    pub fn new(load: &str, made: Made, tree: &Tree, path: Option<&Path>, now: Time) -> Result<Self, HardwareError> {
        let before = path.map(|path| read(path, load)).transpose()?.flatten();
        let spec =
            PlantSpec { seed: seed(load), weather: AIR, rates: Rates::NONE, loads: vec![built(&made)], meters: vec![] };
        let mut plant = Plant::new(&spec, tree, now);
        let host_boot = std::fs::read_to_string(HOST_BOOT).unwrap_or_default().trim().to_owned();
        if let Some(before) = before.filter(|before| before.lasts(&made, &host_boot)) {
            plant.put_back(0, &before.each(), now);
            plant.advance(now);
        }
        let left = Left { load: load.into(), host_boot, made, limiters: runs(plant.limiters(0)) };
        let plant = Arc::new(Mutex::new(plant));
        let port = PlantPort::new(plant.clone(), 0);
        let hardware = Self { plant, port, path: path.map(Path::to_owned), left };
        hardware.keep()?;
        Ok(hardware)
    }

    /// What it truly draws, W: for judging an agent, never for it.
    pub fn true_watts(&self) -> Watts {
        self.lock().load_watts(0)
    }

    fn lock(&self) -> MutexGuard<'_, Plant> {
        self.plant.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the file: whole, or not at all.
    fn keep(&self) -> Result<(), HardwareError> {
        let Some(path) = &self.path else { return Ok(()) };
        let said = |error| file(path, error);
        let text = serde_json::to_string(&self.left).map_err(|error| said(error.into()))?;
        let beside = path.with_extension("new");
        std::fs::write(&beside, text).map_err(said)?;
        std::fs::rename(&beside, path).map_err(said)
    }
}

impl Left {
    /// Whether devices made like that are still as they were left: the same ones, and none that forgot.
    fn lasts(&self, made: &Made, host_boot: &str) -> bool {
        let forgets = matches!(made, Made::Node(_)) && self.host_boot != host_boot;
        same_devices(&self.made, made) && !forgets
    }

    fn each(&self) -> Vec<Limiter> {
        self.limiters.iter().flat_map(|(count, held)| std::iter::repeat_n(Limiter::from(*held), *count)).collect()
    }
}

/// Whether two owners' objects describe the same devices: their prices and limits may differ.
pub fn same_devices(a: &Made, b: &Made) -> bool {
    let of = |made: &Made| {
        let load = built(made);
        let counts = load.devices.into_iter().map(|(of, count, _)| (of.class, count));
        counts.collect::<Vec<_>>()
    };
    of(a) == of(b)
}

fn runs(limiters: impl Iterator<Item = Limiter>) -> Vec<(usize, Held)> {
    let mut runs: Vec<(usize, Held)> = Vec::new();
    for held in limiters.map(Held::from) {
        match runs.last_mut() {
            Some((count, last)) if *last == held => *count += 1,
            _ => runs.push((1, held)),
        }
    }
    runs
}

fn seed(load: &str) -> u64 {
    Sha256::digest(load).iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}

impl Devices for Hardware {
    fn describe(&self) -> LoadDevices {
        self.port.describe()
    }

    fn submit(&mut self, commands: &[DeviceCommand], now: Time) {
        self.lock().advance(now);
        self.port.submit(commands, now);
    }

    fn poll(&mut self, now: Time) -> Vec<DeviceAnswer> {
        self.lock().advance(now);
        let answers = self.port.poll(now);
        let limiters = runs(self.lock().limiters(0));
        if limiters != self.left.limiters {
            self.left.limiters = limiters;
            // Before the agent hears of it: a successor must not find its devices other than they were left.
            if let Err(error) = self.keep() {
                tracing::error!(%error, "simulated devices forget what they were told at the next start");
            }
        }
        answers
    }

    fn meter(&mut self, now: Time) -> Option<Sample> {
        self.port.meter(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ampacity_core::guard::proof::Ask;
    use ampacity_core::tree::Node;
    use ampacity_core::units::Ppm;
    use serde_json::json;

    fn fleet(miners: i32) -> Made {
        let spec = json!({
            "budget": "b", "feeder": "f", "containers": 1, "minersPerContainer": miners, "model": "S21",
            "curve": [{"watts": 2000, "gigahashPerSecond": 120_000}, {"watts": 3000, "gigahashPerSecond": 180_000}],
            "setpointRetention": "Persistent",
        });
        Made::Container(serde_json::from_value(spec).unwrap())
    }

    fn pool() -> Made {
        let spec = json!({
            "budget": "b", "feeder": "f", "nodeLabels": {"pool": "h100"}, "gpusPerNode": 8, "minCapWatts": 200,
            "maxCapWatts": 700, "overheadWatts": "4600",
        });
        Made::Node(serde_json::from_value(spec).unwrap())
    }

    fn tree() -> Tree {
        let (limit, none) = (Watts::kilo(1_000), Watts::ZERO);
        let site = Node { name: "b".into(), parent: None, limit, reserve: none, auxiliary: none, loss: Ppm::ZERO };
        Tree::new(vec![site]).unwrap()
    }

    /// A folder of its own, gone when the test is done.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("ampacity-hardware-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn file(&self) -> PathBuf {
            self.0.join("device.json")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn start(made: Made, path: Option<&Path>, seconds: i64) -> Hardware {
        Hardware::new("n/c-0", made, &tree(), path, Time::seconds(seconds)).unwrap()
    }

    /// Wakes two of three machines and lets them come up.
    fn wake(hardware: &mut Hardware) {
        let limiter = Limiter::Watts(Watts::new(2_000));
        let wake = |device| DeviceCommand { device, ask: Ask::Set { number: device as u64 + 1, limiter } };
        hardware.submit(&[wake(0), wake(1)], Time::seconds(0));
        assert_eq!(hardware.poll(Time::seconds(60)).len(), 2);
    }

    #[test]
    fn a_device_does_not_notice_that_its_agent_restarts() {
        let folder = Folder::new("restart");
        let mut before = start(fleet(3), Some(&folder.file()), 0);
        wake(&mut before);
        let (drawn, kinds) = (before.true_watts(), before.describe());
        assert!((4_000..4_100).contains(&drawn.get()), "{drawn}");
        // Killed: nothing is said goodbye to.
        drop(before);
        let after = start(fleet(3), Some(&folder.file()), 61);
        assert_eq!(
            (after.left.limiters.clone(), after.describe()),
            (vec![(2, Held::Watts(2_000)), (1, Held::Asleep)], kinds)
        );
        assert!((4_000..4_100).contains(&after.true_watts().get()), "{}", after.true_watts());
        assert_eq!(made_last(&folder.file(), "n/c-0").unwrap(), Some(fleet(3)));
    }

    #[test]
    fn without_a_file_and_with_other_devices_each_start_is_a_cold_one() {
        let folder = Folder::new("cold");
        wake(&mut start(fleet(3), Some(&folder.file()), 0));
        let asleep = |hardware: &Hardware| hardware.left.limiters.clone();
        assert_eq!(asleep(&start(fleet(4), Some(&folder.file()), 61)), [(4, Held::Asleep)]);
        wake(&mut start(fleet(3), None, 0));
        assert_eq!(asleep(&start(fleet(3), None, 61)), [(3, Held::Asleep)]);
    }

    #[test]
    fn a_node_that_started_anew_has_lost_its_caps_and_a_container_keeps_its_presets() {
        let left = |made: Made| {
            let limiters = vec![(8, Held::Watts(300))];
            Left { load: "n/c-0".into(), host_boot: "first".into(), made, limiters }
        };
        let lasts = |made: Made, boot| left(made.clone()).lasts(&made, boot);
        assert_eq!([lasts(pool(), "first"), lasts(pool(), "second"), lasts(fleet(8), "second")], [true, false, true]);
    }

    #[test]
    fn the_file_of_another_load_and_one_that_is_no_state_are_refused_by_name() {
        let folder = Folder::new("refused");
        drop(start(fleet(1), Some(&folder.file()), 0));
        let shown = folder.file().display().to_string();
        let said = |load: &str| {
            let made = Hardware::new(load, fleet(1), &tree(), Some(&folder.file()), Time::ZERO);
            made.map(drop).unwrap_err().to_string()
        };
        assert_eq!(
            said("n/c-1"),
            format!(
                "--device-state {shown}: it holds the devices of load \"n/c-0\", not of \"n/c-1\": give each load a file of its own"
            )
        );
        std::fs::write(folder.file(), "{}").unwrap();
        assert_eq!(
            said("n/c-0"),
            format!(
                "--device-state {shown}: missing field `load` at line 1 column 2: it is not the state of simulated devices; remove it for a cold start"
            )
        );
    }
}
