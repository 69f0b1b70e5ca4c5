//! Where the runs start and what may happen in each.

use super::world::{Budget, Scene};

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
    pair: false,
    known_limit: None,
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
