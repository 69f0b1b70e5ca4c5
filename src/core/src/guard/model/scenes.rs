//! Where the runs start and what may happen in each.

/// How often things may still happen, and which things happen at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    /// Writes of the operators, claims included.
    pub(super) sends: u8,
    /// New leaders beside the first.
    pub(super) leads: u8,
    /// Agents of load 0 that start while the one before runs on.
    pub(super) spares: u8,
    /// Agents of load 0 that die; each starts again without memory.
    pub(super) kills: u8,
    /// Objects deleted.
    pub(super) deletes: u8,
    /// Deleted objects made again.
    pub(super) remakes: u8,
    /// Backups restored.
    pub(super) restores: u8,
    /// Changes of what the devices of a load would draw.
    pub(super) demands: u8,
    /// Jumps of the clock, each by `jump_seconds`.
    pub(super) jumps: u8,
    /// Writes (of operators, of agents) that are given up and may land later or never.
    pub(super) late: u8,
    /// Proofs that reach the agent later than they were made.
    pub(super) late_proofs: u8,
    /// Raises that reach the device later than they were sent.
    pub(super) late_raises: u8,
    /// Views that come again after newer ones.
    pub(super) stale: u8,
    /// Sheds that are shouted.
    pub(super) shouts: u8,
}

/// Where a run starts, and what is in it besides.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scene {
    pub(super) budget: Budget,
    /// Setpoints in force, obeyed and proved, W.
    pub(super) now: [i64; 2],
    /// Those of the backup.
    pub(super) backup: [i64; 2],
    pub(super) fallback: i64,
    /// How far the clock jumps, s.
    pub(super) jump_seconds: i64,
    /// Without a leader the agents hold for this, s; 0: for ever.
    pub(super) hold_seconds: i64,
    /// A limiter holds so long after it was read back, s, then the device may drop it; 0: for ever.
    pub(super) life_seconds: i64,
    /// How long ago all that was proved, s.
    pub(super) start_seconds: i16,
    /// The number of the write that stands on each load.
    pub(super) sequence: u64,
    /// A second agent took load 0 over since, and the first has yet to see it.
    pub(super) pair: bool,
    /// Load 0 is to stay under 0 W in this time (s after the start).
    pub(super) known_limit: Option<(i64, i64)>,
    /// Steps taken before the search begins, by how their labels begin: they are paid from the budget like any.
    pub(super) prelude: &'static [&'static str],
}

const NONE: Budget = Budget {
    sends: 3,
    leads: 0,
    spares: 0,
    kills: 0,
    deletes: 0,
    remakes: 0,
    restores: 0,
    demands: 0,
    jumps: 0,
    late: 0,
    late_proofs: 0,
    late_raises: 0,
    stale: 0,
    shouts: 0,
};

/// Both loads at 1 W of the 2 W that they share, no time passes.
const HALVES: Scene = Scene {
    budget: NONE,
    now: [1, 1],
    backup: [1, 1],
    fallback: 1,
    jump_seconds: 0,
    hold_seconds: 0,
    life_seconds: 0,
    start_seconds: 0,
    sequence: 2,
    pair: false,
    known_limit: None,
    prelude: &[],
};

const LEAD: Budget = Budget { leads: 1, ..NONE };
const BACK: Budget = Budget { restores: 1, ..LEAD };
/// What all that was sent and permitted needs to end.
const LONG: i64 = 16;

const fn halves(budget: Budget) -> Scene {
    Scene { budget, ..HALVES }
}

/// A scene by name.
pub(super) const SCENES: &[(&str, Scene)] = &[
    ("plain", halves(Budget { sends: 4, ..NONE })),
    ("late", halves(Budget { sends: 4, late: 1, ..NONE })),
    ("late2", halves(Budget { late: 2, ..NONE })),
    ("stale", halves(Budget { stale: 1, late: 1, ..NONE })),
    ("shout", halves(Budget { shouts: 1, late: 1, ..NONE })),
    ("lead", Scene { now: [0, 1], ..halves(LEAD) }),
    ("leadlate", Scene { now: [0, 1], ..halves(Budget { late: 1, ..LEAD }) }),
    ("leadstale", Scene { now: [2, 0], ..halves(Budget { sends: 4, ..LEAD }) }),
    (
        "claimstale",
        Scene {
            now: [2, 0],
            prelude: &[
                "operator 0 sends [Lower { load: LoadId(0), order: Order { epoch: 1, sequence: 3 }, setpoint: 0W }]",
                "operator 1 leads",
                "operator 1 sends [Claim",
            ],
            ..halves(Budget { sends: 5, ..LEAD })
        },
    ),
    (
        "reused",
        Scene {
            now: [0, 0],
            backup: [0, 0],
            sequence: 0,
            prelude: &[
                "operator 0 sends [Raise { load: LoadId(1), order: Order { epoch: 2, sequence: 1 }, setpoint: 2W }]",
                "Flight { from: 0, load: 1, epoch: 2, sequence: 1, setpoint: 2, given_up: false, lowers: false, spoken: false } is given up",
                "a backup is restored",
            ],
            ..halves(Budget { sends: 4, late: 1, ..BACK })
        },
    ),
    ("raised", Scene { now: [0, 0], ..halves(Budget { sends: 4, late: 1, ..NONE }) }),
    ("idle", halves(Budget { demands: 2, ..NONE })),
    ("devices", halves(Budget { sends: 4, late_proofs: 1, late_raises: 1, ..NONE })),
    ("life", Scene { now: [0, 0], life_seconds: 15, start_seconds: 16, ..halves(Budget { sends: 2, ..NONE }) }),
    ("kill", Scene { jump_seconds: LONG, ..halves(Budget { sends: 2, kills: 1, jumps: 1, late_raises: 1, ..NONE }) }),
    (
        "dark",
        Scene {
            now: [0, 2],
            jump_seconds: LONG,
            ..halves(Budget { sends: 0, restores: 1, kills: 1, jumps: 1, ..NONE })
        },
    ),
    ("spare", Scene { jump_seconds: LONG, ..halves(Budget { sends: 2, spares: 1, jumps: 1, ..NONE }) }),
    (
        "twins",
        Scene {
            jump_seconds: LONG,
            prelude: &["load 0: agent 1 starts", "agent 0.1 reads setpoint", "16 s pass"],
            ..halves(Budget { sends: 2, spares: 1, jumps: 1, ..NONE })
        },
    ),
    (
        "holders",
        Scene {
            jump_seconds: LONG,
            prelude: &["load 0: agent 1 starts", "agent 0.1 reads setpoint", "agent 0.1: Status", "16 s pass"],
            ..halves(Budget { sends: 2, spares: 1, jumps: 1, ..NONE })
        },
    ),
    ("pair", Scene { pair: true, start_seconds: 16, ..halves(Budget { sends: 2, ..NONE }) }),
    ("delete", halves(Budget { deletes: 1, ..NONE })),
    ("remake", halves(Budget { deletes: 1, remakes: 1, ..NONE })),
    ("fall", Scene { now: [0, 2], hold_seconds: 5, jump_seconds: 21, ..halves(Budget { sends: 2, jumps: 1, ..NONE }) }),
    (
        "known",
        Scene { known_limit: Some((0, 5)), jump_seconds: 6, ..halves(Budget { sends: 2, jumps: 1, late: 1, ..NONE }) },
    ),
    ("restore", Scene { now: [0, 2], ..halves(BACK) }),
    ("back4", Scene { now: [0, 2], ..halves(Budget { sends: 4, ..BACK }) }),
    ("restorekill", Scene { now: [0, 2], ..halves(Budget { sends: 2, kills: 1, ..BACK }) }),
    (
        "everything",
        Scene {
            jump_seconds: 4,
            known_limit: Some((100, 140)),
            ..halves(Budget {
                sends: 100,
                leads: 1,
                spares: 1,
                kills: 3,
                deletes: 1,
                remakes: 0,
                restores: 0,
                demands: 20,
                jumps: 100,
                late: 40,
                late_proofs: 40,
                late_raises: 20,
                stale: 20,
                shouts: 20,
            })
        },
    ),
];
