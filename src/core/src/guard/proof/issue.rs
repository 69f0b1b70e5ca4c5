//! Which device is asked what, and when.

use super::Inventory;
use super::class::Class;
use super::device::Device;
use super::facts::{Ask, DeviceCommand, Limiter, Policy};
use super::idle::Spare;
use super::plan::{Ladder, Standings};
use crate::units::{Span, Time, Watts};

/// Writes on their way to one device at once: one, and a lower that overtakes it.
const OPEN_WRITES: usize = 2;
/// Thousandths of a device: the coin in which wakes and reads are paced.
const COIN: i64 = 1_000;

/// How fast devices are woken and read.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    number: u64,
    last: Time,
    /// Wakes that may be given now, in thousandths.
    wakes: i64,
    wakes_a_second: i64,
    /// Reads that are due of devices at rest, in thousandths.
    reads: i64,
    period: Span,
    cursor: usize,
}

impl Pace {
    pub(super) fn new(policy: &Policy, classes: &[Class], devices: usize, now: Time) -> Self {
        let devices = i64::try_from(devices).unwrap_or(i64::MAX);
        let shortest = classes.iter().map(|class| class.life.get() / 3).min();
        Self {
            number: 0,
            last: now,
            wakes: COIN,
            wakes_a_second: crate::units::mul_div(devices, policy.wakes_per_second.get(), COIN).max(COIN),
            reads: 0,
            period: Span::new(shortest.map_or(policy.read_every.get(), |s| s.min(policy.read_every.get())).max(1)),
            cursor: 0,
        }
    }

    fn advance(&mut self, devices: usize, now: Time) {
        let span = now.since(self.last).get().max(0);
        self.last = self.last.max(now);
        // What was not used is not saved up beyond a second: a wake is never a burst.
        let wakes = crate::units::mul_div(self.wakes_a_second, span, 1_000);
        self.wakes = self.wakes.saturating_add(wakes).min(self.wakes_a_second);
        let devices = i64::try_from(devices).unwrap_or(i64::MAX).saturating_mul(COIN);
        self.reads = self.reads.saturating_add(crate::units::mul_div_up(devices, span, self.period.get())).min(devices);
    }
}

impl Inventory {
    /// What has become due: lowers, then rises there is room for, retries, reads. To be called after every batch of
    /// answers and at least once a second.
    pub fn due(&mut self, now: Time) -> Vec<DeviceCommand> {
        self.expire(now);
        self.pace.advance(self.devices.len(), now);
        let raise = self.raise_until.is_some_and(|until| now < until);
        self.plan_stale |= std::mem::replace(&mut self.raise, raise) != raise;
        self.lose(now);
        if self.plan_stale {
            self.plan(now);
        }
        let mut asked = Vec::new();
        self.writes(now, &mut asked);
        let left = self.raise_until.is_some() && self.active.iter().any(|place| self.is_to_rise(*place, now));
        self.rising = left || (self.rising && !raise);
        self.reads(now, &mut asked);
        asked
    }

    /// Moves targets so that they fit the limit, from where the devices stand.
    fn plan(&mut self, now: Time) {
        self.plan_stale = false;
        let Some(limit) = self.limit else { return };
        let (mut fixed, mut standings, mut spare) = (self.overhead, Standings::default(), Spare::default());
        let mut sink = Vec::new();
        for (place, (device, class)) in self.each().enumerate() {
            if device.lost(class, &self.policy, now) {
                fixed += device.counted(class);
                if device.contradicts || device.stubborn {
                    sink.push(place);
                }
            } else if let Some(level) = self.stands(device, class) {
                let may_rise = now >= device.no_raise_before && now >= device.rests_until;
                if device.is_idle() {
                    spare.put(place, level, &class.ladder);
                } else {
                    standings.put(device.class, level, place, may_rise);
                }
            }
        }
        let ladders: Vec<Ladder> = self.classes.iter().map(|class| class.ladder.clone()).collect();
        let room = limit - fixed - standings.cost(&ladders) - spare.cost();
        // Those that do not use what they have fall first, nothing is lost with them: to make room, and for others.
        let mut wanted = -room;
        if self.raise && spare.most() > Watts::ZERO {
            let mut all = standings.clone();
            all.raise(&ladders, room + spare.most());
            wanted += all.cost(&ladders) - standings.cost(&ladders);
        }
        let room = room + spare.free(wanted);
        if room < Watts::ZERO {
            standings.lower(&ladders, -room);
        } else if self.raise {
            standings.raise(&ladders, room);
        }
        self.rest(spare.freed(), now);
        let sink = sink.into_iter().map(|place| (place, 0));
        let targets: Vec<(usize, usize)> = standings.iter().chain(spare.iter()).chain(sink).collect();
        for (place, level) in targets {
            self.touch(place, now, |device, class| {
                // What was found between two steps stays where it is until the plan moves it.
                let between = device
                    .seen
                    .is_some_and(|seen| class.ladder.level_of(seen) == level && class.ladder.limiter(level) != seen);
                let untouched = between && device.told.is_none() && device.open.is_empty();
                device.aim(if untouched { None } else { Some(level) }, now);
            });
        }
        self.plan_stale = false;
    }

    /// Those that the plan lowers because they leave their watts unused do not ask for them again for a while.
    fn rest(&mut self, lowered: Vec<usize>, now: Time) {
        let until = now.after(self.policy.rest);
        for place in lowered {
            self.touch(place, now, |device, _| device.rests_until = until);
        }
    }

    /// Where the plan takes a device to be. Without leave to raise, no higher than it is known to be already.
    fn stands(&self, device: &Device, class: &Class) -> Option<usize> {
        let level = device.level(class)?;
        if self.raise {
            return Some(level);
        }
        let seen = class.ladder.level_of(device.seen?);
        let told = device.told.map_or(seen, |told| class.ladder.level_of(told));
        // A rise that was allowed when it was given counts already: one that boots is not sent back to sleep.
        Some(level.min(seen.max(told)))
    }

    fn writes(&mut self, now: Time, asked: &mut Vec<DeviceCommand>) {
        let ready: Vec<(usize, Limiter, bool)> = self
            .active
            .iter()
            .filter_map(|place| self.ready(*place, now).map(|(to, rise)| (*place, to, rise)))
            .collect();
        for (place, limiter, _) in ready.iter().filter(|(_, _, rise)| !rise) {
            asked.push(self.tell(*place, *limiter, now));
        }
        for (place, limiter, _) in ready.iter().filter(|(_, _, rise)| *rise) {
            if self.may_rise(*place, *limiter) {
                asked.push(self.tell(*place, *limiter, now));
            }
        }
    }

    /// The limiter that a device is to be told now, and whether that is a rise.
    fn ready(&self, place: usize, now: Time) -> Option<(Limiter, bool)> {
        let (device, class) = self.pair(place)?;
        let seen = device.seen?;
        let to = device.wanted(class)?;
        if device.foreign || device.open.len() >= OPEN_WRITES || now < device.retry_at {
            return None;
        }
        let cost = |limiter| class.ladder.cost(limiter);
        let now_at = device.told.map_or(cost(seen), |told| cost(told).min(cost(seen)));
        let rise = cost(to) > now_at;
        // A rise waits for its turn; only a lower overtakes what is on its way.
        let waits = rise && (!device.open.is_empty() || now < device.no_raise_before);
        (!waits).then_some((to, rise))
    }

    /// Whether it has yet to be told to rise, or to be read before that can be said.
    fn is_to_rise(&self, place: usize, now: Time) -> bool {
        let unread = |device: &Device| device.seen.is_none() && !device.booked.lost;
        self.ready(place, now).is_some_and(|(_, rise)| rise) || self.devices.get(place).is_some_and(unread)
    }

    /// Whether a rise may be given out: with leave, room by what is proved now, and in its turn if it is a wake.
    fn may_rise(&mut self, place: usize, to: Limiter) -> bool {
        let Some((device, class)) = self.pair(place) else { return false };
        let counted = device.counted(class);
        let after = self.counted - counted + counted.max(class.ladder.cost(to)) + self.overhead;
        let wakes = device.seen == Some(Limiter::Asleep);
        if !self.raise || self.limit.is_none_or(|limit| after > limit) || (wakes && self.pace.wakes < COIN) {
            return false;
        }
        if wakes {
            self.pace.wakes -= COIN;
        }
        true
    }

    fn tell(&mut self, place: usize, limiter: Limiter, now: Time) -> DeviceCommand {
        self.pace.number += 1;
        let (number, retry_at) = (self.pace.number, now.after(self.policy.retry_after));
        self.touch(place, now, |device, class| {
            // Told this before, answered yes, and still not there: it says ok and does as it likes.
            let again = device.told == Some(limiter) && device.open.is_empty();
            let lower = device.seen.is_some_and(|seen| class.ladder.cost(limiter) < class.ladder.cost(seen));
            device.stubborn |= again && lower;
            device.tell(number, limiter, class, retry_at);
        });
        DeviceCommand { device: place, ask: Ask::Set { number, limiter } }
    }

    fn reads(&mut self, now: Time, asked: &mut Vec<DeviceCommand>) {
        let due: Vec<usize> =
            self.active.iter().copied().filter(|p| self.devices.get(*p).is_some_and(|d| d.next_read <= now)).collect();
        for place in due {
            if let Some(device) = self.devices.get_mut(place) {
                let pause =
                    if device.silent(&self.policy, now) { self.policy.retry_after } else { self.policy.read_proving };
                device.next_read = now.after(pause);
                asked.push(DeviceCommand { device: place, ask: Ask::Read });
            }
        }
        while self.pace.reads >= COIN && !self.devices.is_empty() {
            self.pace.reads -= COIN;
            let place = self.pace.cursor;
            self.pace.cursor = (place + 1) % self.devices.len();
            if !self.active.contains(&place) {
                asked.push(DeviceCommand { device: place, ask: Ask::Read });
            }
        }
    }
}
