//! What a driver declares of its devices, and the messages between an inventory and the devices.

use crate::units::{Ppm, Span, Time, Watts};
use std::fmt;

/// Who a device is, whatever address it answers under: serial number, MAC or UUID, shortened by the caller to a number
/// that no two devices share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(pub u64);

/// What holds a device's draw down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limiter {
    /// Not working, by a mode that can be read back.
    Asleep,
    /// A cap or preset, W.
    Watts(Watts),
    /// Nothing: it may draw its power-on watts.
    Unlimited,
}

/// Whether a limiter survives a reboot of the device (or a reload of its driver).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retention {
    /// It does.
    Persistent,
    /// It does not: the device comes back at power-on watts (WhatsMiner percent, NVML caps).
    Volatile,
}

/// What it takes, besides the mode read back, to believe that a device sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SleepProof {
    /// The device's own watts, which its firmware measures or estimates whether it works or not.
    ReadBack,
    /// Answers without hash rows, and the watts of an outlet meter on this device alone.
    Outlet,
    /// Answers without hash rows, and a meter of the whole load that agrees ([`super::Inventory::metered`]).
    LoadMeter,
}

/// A device's sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sleep {
    /// The most it draws asleep, W.
    pub watts: Watts,
    /// How it is known to be asleep.
    pub verified_by: SleepProof,
}

/// One step of a ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// The limiter, W.
    pub watts: Watts,
    /// What a device yields at it (GH/s, or any unit that all classes of the load share).
    pub value: i64,
}

/// The limiters that a device can be told, and read back from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Limiters {
    /// None that can be read back. Only sleep counts.
    Unreadable {
        /// What a device yields at power-on watts.
        value: i64,
    },
    /// A discrete ladder, watts rising. Nothing between two steps is accepted by the device.
    Ladder(Vec<Step>),
    /// Any multiple of `step` above `min` up to `max`. Devices of a range share alike.
    Range {
        /// Lowest, W.
        min: Watts,
        /// Highest, W.
        max: Watts,
        /// Between two neighbours, W: above 0.
        step: Watts,
    },
}

/// What devices that are alike declare.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceClass {
    /// The most such a device draws with no limiter set, measurement error and unit spread included, W.
    pub power_on_watts: Watts,
    /// What it can be told.
    pub limiters: Limiters,
    /// Its sleep, where it has one.
    pub sleep: Option<Sleep>,
    /// Whether limiters survive a reboot.
    pub retention: Retention,
    /// The shortest time from an unseen reboot to passing a lost limiter.
    pub boot_to_full: Span,
    /// The longest time from a limiter being in force to the draw being under it.
    pub settle: Span,
    /// The longest time for which a write whose answer was lost may still land.
    pub write_lives: Span,
    /// The most by which the draw passes a limiter that holds, overshoot on a rise included.
    pub limiter_error: Ppm,
    /// The most by which reported watts are off.
    pub sensor_error: Ppm,
    /// Whether it draws close to its limiter whenever it may, as a miner does. A GPU waits for work: that it draws little
    /// says nothing of what it can use.
    pub always_works: bool,
}

/// One device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceFacts {
    /// Who it is.
    pub identity: Identity,
    /// Its place in [`LoadDevices::classes`].
    pub class: usize,
}

/// The whole inventory of one load: every device that hangs on its wires, whether it answers or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoadDevices {
    /// What its devices are.
    pub classes: Vec<DeviceClass>,
    /// The devices. A device is named by its place here.
    pub devices: Vec<DeviceFacts>,
    /// The most that the load draws beside its devices (pumps, fans, the host), W.
    pub overhead_watts: Watts,
}

impl LoadDevices {
    /// The most the load could ever draw: every device at power-on watts, and the overhead.
    pub fn nameplate(&self) -> Watts {
        let of = |device: &DeviceFacts| self.classes.get(device.class).map_or(Watts::ZERO, |c| c.power_on_watts);
        self.devices.iter().map(of).sum::<Watts>() + self.overhead_watts
    }
}

/// How an inventory reads, retries and staggers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Distinct samples that a proof takes, at least 1.
    pub samples: u32,
    /// How long a read-back limiter holds at most, also where it survives a reboot.
    pub life: Span,
    /// A proof that ends within this is counted as ended, so that what was stated never lapses unrenewed.
    pub renew_before: Span,
    /// A device that has not answered for this long is silent.
    pub silent_after: Span,
    /// How often a device at rest is read (oftener where its proof lives shorter).
    pub read_every: Span,
    /// How often a device is read that has something to prove.
    pub read_proving: Span,
    /// After this, what was refused or not obeyed is tried again, and a silent device asked again.
    pub retry_after: Span,
    /// A device that always works and has drawn less than half of its limiter for this long leaves it unused. Longer than
    /// the slowest wake takes to half of its watts (WhatsMiner: 600 to 1300 s to all of them, devices.md 7.3).
    pub idle_after: Span,
    /// A device that was lowered because it left its limiter unused asks for its watts again after this.
    pub rest: Span,
    /// The share of all devices that may be woken within a second; at least one device a second.
    pub wakes_per_second: Ppm,
}

impl Default for Policy {
    /// Three samples; ten minutes of life; a read every two minutes at rest and every two seconds while proving; idle
    /// after twenty minutes, asked again after thirty; 3 % of the devices woken a second (devices.md 7.4).
    fn default() -> Self {
        Self {
            samples: 3,
            life: Span::minutes(10),
            renew_before: Span::seconds(3),
            silent_after: Span::seconds(30),
            read_every: Span::minutes(2),
            read_proving: Span::seconds(2),
            retry_after: Span::seconds(30),
            idle_after: Span::minutes(20),
            rest: Span::minutes(30),
            wakes_per_second: Ppm::percent(3),
        }
    }
}

/// What a device is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Take this limiter. Answered by exactly one [`WriteAnswer`] with the same number.
    Set {
        /// The number of this write, rising within an inventory.
        number: u64,
        /// What to take.
        limiter: Limiter,
    },
    /// Say who you are, what limits you and what you draw. Answered by a [`DeviceReading`], or not at all.
    Read,
}

/// A request to one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceCommand {
    /// Its place in the inventory.
    pub device: usize,
    /// What it is asked.
    pub ask: Ask,
}

/// Where watts come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The device's own sensor.
    Measured,
    /// The firmware's estimate.
    Estimated,
    /// A meter in the outlet of this device alone.
    Outlet,
}

/// What a device said of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceReading {
    /// Its place in the inventory.
    pub device: usize,
    /// Who answered.
    pub identity: Identity,
    /// A number that differs after a reboot, where the device has one.
    pub boot: Option<u64>,
    /// Energy counter or device clock: moves from one sample to the next, falls at most by a reboot.
    pub counter: Option<u64>,
    /// When the request left.
    pub asked_at: Time,
    /// When the answer came.
    pub answered_at: Time,
    /// The limiter in force as the device says; none: it cannot tell, or did not.
    pub limiter: Option<Limiter>,
    /// What it draws, W.
    pub watts: Option<(Watts, Source)>,
    /// Whether the answer had hash rows (work in progress); none: it says nothing of it.
    pub working: Option<bool>,
}

/// Why a device refused a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Not on its ladder, or outside its range.
    OutOfRange,
    /// It is tuning, booting or otherwise not ready.
    Busy,
    /// Its write API is closed to us, or the credentials are wrong.
    Forbidden,
    /// Anything else that it said.
    Other,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Written {
    /// The device said yes. That proves nothing.
    Done,
    /// The device said no: it did not land.
    Refused(Refusal),
    /// No answer: it may have landed, or may land within [`DeviceClass::write_lives`].
    Lost,
}

/// A device's answer to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WriteAnswer {
    /// Its place in the inventory.
    pub device: usize,
    /// The number of the write.
    pub number: u64,
    /// What became of it.
    pub written: Written,
    /// When that was known.
    pub answered_at: Time,
}

/// What comes back from devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceAnswer {
    /// To [`Ask::Read`].
    Read(DeviceReading),
    /// To [`Ask::Set`].
    Write(WriteAnswer),
}

/// Why an inventory cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InventoryError {
    /// A device names a class that is not there.
    Class {
        /// The device's place.
        device: usize,
        /// The class it names.
        class: usize,
        /// How many classes there are.
        classes: usize,
    },
    /// Two devices carry one identity.
    Twice {
        /// The later one's place.
        device: usize,
        /// What both claim.
        identity: Identity,
    },
    /// A class's limiters do not rise, or are not positive.
    Ladder {
        /// The class.
        class: usize,
        /// The value at fault, W.
        watts: Watts,
    },
    /// The overhead or a class's watts, spans or errors are negative.
    Negative {
        /// The field.
        field: &'static str,
    },
}

impl fmt::Display for InventoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class { device, class, classes } => {
                write!(f, "devices[{device}].class is {class}: must be below {classes}, the number of classes")
            }
            Self::Twice { device, identity } => {
                write!(f, "devices[{device}].identity is {:x}: an earlier device has the same", identity.0)
            }
            Self::Ladder { class, watts } => {
                write!(f, "classes[{class}].limiters: {watts} must be positive and above the step before it")
            }
            Self::Negative { field } => write!(f, "{field} is negative: must be 0 or more"),
        }
    }
}

impl std::error::Error for InventoryError {}
