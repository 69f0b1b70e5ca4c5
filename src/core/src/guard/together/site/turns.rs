//! How messages land, and how each end takes its turn.

use super::*;

impl Site {
    /// What becomes of a write: whether it lands now, and whether that is heard.
    fn fate(&mut self, fate: Fate, landing: Landing) -> Option<bool> {
        match fate {
            Fate::Answered => Some(self.land(&landing)),
            Fate::Refused => Some(false),
            Fate::Lost => None,
            Fate::Unheard => {
                self.land(&landing);
                None
            }
            Fate::Late(seconds) => {
                self.landings.push((self.now.after(Span::seconds(i64::from(seconds))), landing));
                None
            }
        }
    }

    /// Whether it was accepted.
    pub(super) fn land(&mut self, landing: &Landing) -> bool {
        let now = self.now;
        match landing {
            Landing::Limiter(load, unit, limiter) => {
                let refuses = self.loads[*load].units[*unit].refuses;
                if !refuses && !self.loads[*load].liars[*unit] {
                    self.loads[*load].units[*unit].set(*limiter, now);
                    if let Some((_, taken)) = &mut self.loads[*load].lost[*unit] {
                        *taken = true;
                    }
                }
                !refuses
            }
            Landing::Order(load, write) => {
                let view = self.view(load.index());
                let (order, setpoint) = match *write {
                    Write::Claim { order, .. } => (order, view.setpoint),
                    Write::Shout { .. } => return false,
                    Write::Lower { order, setpoint, .. } | Write::Raise { order, setpoint, .. } => (order, setpoint),
                };
                let rises = order > view.order;
                self.write(load.index(), rises, LoadView { setpoint, order, ..view })
            }
            Landing::Status(load, statement, only_if) => {
                let view = self.view(*load);
                let holds = view.stated.map(|stated| stated.holder) == Some(statement.holder);
                let fits = statement.ceiling.is_none() || (statement.order == view.order && holds);
                let current = match only_if {
                    Precondition::Order(_) => true,
                    Precondition::Revision(revision) => *revision == view.revision,
                };
                self.write(*load, fits && current, LoadView { stated: Some(*statement), ..view })
            }
        }
    }

    fn view(&self, load: usize) -> LoadView {
        self.loads[load].shown.last().unwrap().clone()
    }

    fn write(&mut self, load: usize, accepted: bool, view: LoadView) -> bool {
        if accepted {
            self.loads[load].shown.push(LoadView { revision: view.revision + 1, ..view });
        }
        accepted
    }

    /// The view that is read of a load, which lags.
    fn read(&self, load: usize) -> LoadView {
        let shown = &self.loads[load].shown;
        shown[(shown.len() - 1).saturating_sub(self.loads[load].lag)].clone()
    }

    /// One operator reads, and writes what its ledger lets it.
    pub(super) fn operate(&mut self, leader: usize) {
        let now = self.now;
        for load in 0..self.loads.len() {
            let view = if self.loads[load].unlisted { None } else { Some(self.read(load)) };
            let _ = self.leaders[leader].learn(Seen::Load(LoadId(load as u32), view), now);
        }
        let want = |(load, at): (&Load, u32)| Want { load: LoadId(at), watts: load.want, step: Watts::ZERO };
        let wants: Vec<Want> = self.loads.iter().zip(0..).map(want).collect();
        let writes = self.leaders[leader].steps(&wants, now);
        let room = self.leaders[leader].headroom(now);
        for write in &writes {
            let Write::Raise { load, .. } = write else { continue };
            let over = self.tree.path(self.loads[load.index()].node).find(|node| room[node.index()] < Watts::ZERO);
            self.unfit.extend(over.map(|node| format!("{write:?} leaves {:?} at {node:?}", room[node.index()])));
        }
        for write in writes {
            let (load, order) = match write {
                Write::Claim { load, order } | Write::Lower { load, order, .. } | Write::Raise { load, order, .. } => {
                    (load, order)
                }
                Write::Shout { load, order, setpoint } => {
                    self.shout(load.index(), Input::Shed { order, setpoint });
                    continue;
                }
            };
            let fate = self.loads[load.index()].order_fate;
            let outcome = match self.fate(fate, Landing::Order(load, write)) {
                Some(true) => Outcome::Accepted(self.view(load.index())),
                Some(false) => Outcome::Refused,
                None => Outcome::Unknown,
            };
            let _ = self.leaders[leader].learn(Seen::Answer { load, order, outcome }, now);
        }
    }

    /// One run of an agent: reads, asks its devices, acts, beats.
    pub(super) fn run(&mut self, load: usize, run: usize) {
        let now = self.now;
        // Whoever is overtaken has ended, and drives its devices no more.
        if self.loads[load].runs[run].agent.is_overtaken() {
            return;
        }
        let mut inputs = vec![Input::Tick];
        if !self.loads[load].cut_off {
            inputs.push(Input::Load(Some(self.read(load))));
            // The Lease is the newest leader's.
            inputs.extend(self.leaders.last().map(|leader| Input::Leader { epoch: leader.epoch(), seen: now }));
        }
        for input in inputs {
            self.tell(load, run, input);
        }
        let asked = self.loads[load].runs[run].inventory.due(now);
        self.ask(load, run, asked);
        let proof = self.loads[load].runs[run].inventory.proof(now);
        if let Some(command) = self.loads[load].runs[run].agent.command_number() {
            self.tell(load, run, Input::Devices { command, proof });
        }
        if let Some(beat) = self.loads[load].runs[run].agent.heartbeat(now).filter(|_| !self.loads[load].cut_off) {
            for leader in &mut self.leaders {
                let _ = leader.learn(Seen::Heartbeat(LoadId(load as u32), beat), now);
            }
        }
    }

    /// The link carries it to whoever is not cut off.
    fn shout(&mut self, load: usize, input: Input) {
        if self.loads[load].cut_off {
            return;
        }
        for run in 0..self.loads[load].runs.len() {
            if !self.loads[load].runs[run].agent.is_overtaken() {
                self.tell(load, run, input.clone());
            }
        }
    }

    fn tell(&mut self, load: usize, run: usize, input: Input) {
        let now = self.now;
        for act in self.loads[load].runs[run].agent.step(input, now) {
            match act {
                Act::Device { limit, raise_until, afresh, .. } => {
                    let asked = self.loads[load].runs[run].inventory.command(limit, raise_until, afresh, now);
                    self.ask(load, run, asked);
                }
                Act::State { write, statement, only_if } => {
                    let fate = if self.loads[load].cut_off { Fate::Lost } else { self.loads[load].status_fate };
                    let outcome = match self.fate(fate, Landing::Status(load, statement, only_if)) {
                        Some(true) => Outcome::Accepted(self.view(load)),
                        Some(false) => Outcome::Refused,
                        None => Outcome::Unknown,
                    };
                    self.tell(load, run, Input::Answer { write, outcome });
                }
            }
        }
    }

    /// What answers where a device is asked.
    fn reading(&mut self, load: usize, device: usize) -> DeviceReading {
        let (now, load) = (self.now, &mut self.loads[load]);
        let answers = if load.aliased { 1 } else { device };
        let says = load.units[answers].reading(device, now);
        if !load.units[answers].frozen {
            load.said[answers] = None;
            return says;
        }
        let said = *load.said[answers].get_or_insert(says);
        DeviceReading { device, asked_at: now, answered_at: now, ..said }
    }

    fn ask(&mut self, load: usize, run: usize, asked: Vec<DeviceCommand>) {
        let now = self.now;
        for DeviceCommand { device, ask } in asked {
            let silent = self.loads[load].units[device].silent;
            let answer = match ask {
                Ask::Read if silent => continue,
                Ask::Read => DeviceAnswer::Read(self.reading(load, device)),
                Ask::Set { number, limiter } => {
                    // A driver writes to nobody but the device it means.
                    let mistaken = self.loads[load].aliased && device == 0;
                    let fate = if silent { Fate::Lost } else { self.loads[load].device_fate };
                    let fate = if mistaken { Fate::Refused } else { fate };
                    let written = match self.fate(fate, Landing::Limiter(load, device, limiter)) {
                        Some(true) => Written::Done,
                        Some(false) => Written::Refused(Refusal::Busy),
                        None => Written::Lost,
                    };
                    DeviceAnswer::Write(WriteAnswer { device, number, written, answered_at: now })
                }
            };
            self.loads[load].runs[run].inventory.observe(&answer, now);
        }
    }
}
