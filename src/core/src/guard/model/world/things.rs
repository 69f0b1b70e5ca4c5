//! What happens beside the machines: devices, demand, deaths, deletions, leaders, backups, time.

use super::*;
use crate::guard::Proof;
use crate::guard::model::intern::{Key, Status};

impl Model {
    pub(super) fn devices(&mut self, world: &World, load: usize, slot: usize, out: &mut Next) {
        let driver = world.driver[load][slot];
        if !driver.told {
            return;
        }
        let limiter = world.limiter[load];
        if limiter > driver.limit {
            let mut next = *world;
            next.limiter[load] = driver.limit;
            self.push(out, |_| format!("devices of load {load} are lowered to {} by agent {slot}", driver.limit), next);
        }
        let may_raise = driver.raise_until == ALWAYS || world.seconds < driver.raise_until;
        if limiter < driver.limit && may_raise {
            let mut next = *world;
            next.limiter[load] = driver.limit;
            self.push(out, |_| format!("devices of load {load} are raised to {} by agent {slot}", driver.limit), next);
            if world.left.late_raises > 0 && world.rising[load].0 == 0 {
                let mut next = *world;
                next.left.late_raises -= 1;
                next.rising[load] = (driver.limit, slot as u8);
                self.push(out, |_| format!("a raise of load {load} to {} is sent by agent {slot}", driver.limit), next);
            }
        }
        if self.scene.life_seconds > 0
            && let Some(beat) = self.machines.agents.get(world.agent[load][slot]).heartbeat(world.now())
        {
            for op in 0..2 {
                let mut next = *world;
                if next.ledger[op] > 0 {
                    let told = self.machines.learn(next.ledger[op], load as u32, Key::Heartbeat(beat), world.now());
                    next.ledger[op] = told.unwrap_or(0);
                }
                if next.ledger != world.ledger {
                    self.push(out, |_| format!("operator {op} hears {beat:?} from load {load}"), next);
                }
            }
        }
        let on_its_way = world.rising[load].0 > 0 && usize::from(world.rising[load].1) == slot;
        let read = if self.keeps(Outside::ProofByLimiter) { limiter } else { limiter.min(world.demand[load]) };
        let done = driver.raise_until == NEVER || limiter == driver.limit;
        let rising = limiter < driver.limit && driver.raise_until != NEVER && !on_its_way;
        let proof = (driver.command, read, done && read <= driver.limit && !on_its_way, rising);
        let mut next = *world;
        if self.scene.life_seconds > 0 {
            next.holds[load] = i16::try_from(i64::from(world.seconds) + self.scene.life_seconds).unwrap();
        }
        // What has not settled tells the agent nothing that it does not count already, but where limiters are lost, or
        // leave to raise is wanted.
        let tells = proof.2 || proof.3 || self.scene.life_seconds > 0;
        if tells && self.proves(&mut next, load, slot, proof) {
            self.push(out, |_| format!("devices of load {load} prove {proof:?} to agent {slot}"), next);
        }
        if world.left.late_proofs > 0 && driver.proof.is_none() {
            let mut next = *world;
            next.left.late_proofs -= 1;
            next.driver[load][slot].proof = Some(proof);
            self.push(
                out,
                |_| format!("devices of load {load} prove {proof:?} to agent {slot}, who reads it later"),
                next,
            );
        }
        if let Some(proof) = driver.proof {
            let mut next = *world;
            next.driver[load][slot].proof = None;
            self.proves(&mut next, load, slot, proof);
            self.push(out, |_| format!("agent {load}.{slot} reads the late proof {proof:?}"), next);
        }
    }

    pub(super) fn proves(
        &mut self,
        world: &mut World,
        load: usize,
        slot: usize,
        (command, ceiling, settled, rising): (u16, u8, bool, bool),
    ) -> bool {
        let proof = Proof { ceiling: watts(ceiling), expires: self.expires(world.seconds), settled, rising };
        self.tell_agent(world, load, slot, Key::Devices(u64::from(command), proof))
    }

    /// What happens to one load by itself.
    pub(super) fn happens(&mut self, world: &World, load: usize, out: &mut Next) {
        let left = world.left;
        let orphans = world.status[load][0].map(|at| match at {
            0 => 0,
            at => {
                let status = self.machines.statuses.get(at).clone();
                self.machines.statuses.number(Status { write: 0, given_up: true, ..status })
            }
        });
        let mut case = |wanted: bool, label: &str, change: &mut dyn FnMut(&mut World)| {
            if wanted {
                let mut next = *world;
                change(&mut next);
                self.push(out, |_| format!("load {load}: {label}"), next);
            }
        };
        case(left.demands > 0, "its demand changes", &mut |w| {
            w.left.demands -= 1;
            w.demand[load] = LIMIT - w.demand[load];
        });
        case(world.rising[load].0 > 0, "a raise arrives", &mut |w| {
            w.limiter[load] = w.limiter[load].max(w.rising[load].0);
            w.rising[load] = (0, 0);
        });
        let lapsed = load == 0
            && self.scene.life_seconds > 0
            && world.seconds >= world.holds[load]
            && world.limiter[load] < LIMIT;
        case(lapsed, "its devices drop their limiters", &mut |w| w.limiter[load] = LIMIT);
        case(left.deletes > 0 && world.api[load] > 0, "deleted", &mut |w| {
            w.left.deletes -= 1;
            w.old[load] = w.api[load];
            w.api[load] = 0;
        });
        case(left.kills > 0 && load == 0 && world.agent[0][0] > 0, "its agent dies", &mut |w| {
            w.left.kills -= 1;
            w.agent[load][0] = 0;
            w.driver[load][0] = Driver::default();
            w.status[load][0] = orphans;
        });
        if left.remakes > 0 && world.api[load] == 0 {
            let mut next = *world;
            next.left.remakes -= 1;
            let revision = self.machines.views.get(world.old[load]).revision + 2;
            let view = self.view(load, i64::from(LIMIT), Order::default(), revision);
            next.api[load] = self.machines.views.number(view);
            self.push(out, |_| format!("load {load}: made again"), next);
        }
        let slot = usize::from(left.spares > 0 && load == 0 && world.agent[load][1] == 0);
        if slot == 1 || world.agent[load][0] == 0 {
            let mut next = *world;
            next.left.spares -= slot as u8;
            next.holders[load] += u8::from(self.keeps(Outside::NewHolder));
            let agent = self.agent(u64::from(next.holders[load]), world.now());
            next.agent[load][slot] = self.machines.agents.number(agent);
            self.push(out, |_| format!("load {load}: agent {slot} starts"), next);
        }
    }

    /// Leaders, backups, clocks.
    pub(super) fn leads(&mut self, world: &World, out: &mut Next) {
        let mut next = *world;
        if world.left.leads > 0 && world.ledger[1] == 0 {
            next.left.leads -= 1;
            let (clock, stored) = world.epochs;
            let epoch = if self.keeps(Outside::ClockEpoch) { clock + 1 } else { stored + 1 };
            next.epochs = (clock.max(epoch), epoch);
            next.ledger[1] = self.lead(world, u64::from(epoch)).unwrap_or(0);
            self.push(out, |_| format!("operator 1 leads with epoch {epoch}"), next);
        }
        if world.left.restores > 0 && world.ledger[1] == 0 {
            // By the runbook: operators are stopped, revisions bumped; it takes longer than a permit lives.
            let mut next = *world;
            next.left.restores -= 1;
            next.ledger[0] = 0;
            next.epochs.1 = 1;
            next.seconds += 11;
            next.rising = [(0, 0); 2];
            for load in 0..2 {
                let revision = self.machines.views.get(world.api[load]).revision + 1;
                let view = LoadView { revision, ..self.machines.views.get(world.backup[load]).clone() };
                next.api[load] = self.machines.views.number(view);
                next.old[load] = next.api[load];
            }
            self.push(out, |_| "a backup is restored".into(), next);
        }
        if world.left.jumps > 0 {
            let mut next = *world;
            next.left.jumps -= 1;
            next.seconds += i16::try_from(self.scene.jump_seconds).unwrap();
            // A command reaches its device within the settling time, or never.
            next.rising = [(0, 0); 2];
            self.push(out, |_| format!("{} s pass", self.scene.jump_seconds), next);
        }
    }
}
