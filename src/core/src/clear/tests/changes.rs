//! A clearer that is kept from tick to tick, whatever changes between.

use super::*;

/// Enough bids that a pass seldom comes to the last.
fn many_bids() -> impl Strategy<Value = Vec<Bid>> {
    prop::collection::vec(any_bids(Kind::Any), 1..6).prop_map(|bids| bids.concat())
}

/// What may change between two clearings, of the bid that the index falls on.
#[derive(Clone, Debug)]
enum Change {
    Nothing,
    Tree(Tree),
    All(Vec<Bid>),
    Width(prop::sample::Index, i64),
    Floor(prop::sample::Index, i64),
    Adder(prop::sample::Index, i64),
    Rank(prop::sample::Index, u8),
    Instead(prop::sample::Index, Bid),
    Gone(prop::sample::Index),
}

fn any_change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        2 => Just(Change::Nothing),
        1 => any_tree().prop_map(Change::Tree),
        1 => many_bids().prop_map(Change::All),
        8 => (at(), 1..4_i64).prop_map(|(at, times)| Change::Width(at, times)),
        1 => (at(), 0..9_i64).prop_map(|(at, floor)| Change::Floor(at, floor)),
        1 => (at(), -3..4_i64).prop_map(|(at, adder)| Change::Adder(at, adder)),
        1 => (at(), 0..3_u8).prop_map(|(at, rank)| Change::Rank(at, rank)),
        1 => (at(), any_bids(Kind::Any))
            .prop_map(|(at, bids)| { bids.into_iter().next().map_or(Change::Nothing, |bid| Change::Instead(at, bid)) }),
        1 => at().prop_map(Change::Gone),
    ]
}

/// The same bid where every segment is so many of its steps wide: its shape and values stay.
fn widened(bid: &Bid, times: i64) -> Bid {
    let wide = |s: &Segment| Segment { watts: Watts::new(s.step.get().max(QUANTUM) * times), ..*s };
    let wide = Bid::new(bid.node(), bid.floor(), bid.segments().iter().map(wide).collect()).unwrap();
    wide.ranked(bid.rank()).with_adder(bid.adder())
}

impl Change {
    fn apply(&self, tree: &mut Tree, bids: &mut Vec<Bid>) {
        if let Self::Tree(other) = self {
            *tree = other.clone();
        }
        if let Self::All(others) = self {
            bids.clone_from(others);
        }
        if bids.is_empty() {
            return;
        }
        let of = |at: &prop::sample::Index| at.index(bids.len());
        let (at, bid) = match self {
            Self::Nothing | Self::Tree(_) | Self::All(_) => return,
            Self::Gone(at) => {
                bids.remove(of(at));
                return;
            }
            Self::Width(at, times) => (of(at), widened(&bids[of(at)], *times)),
            Self::Floor(at, floor) => (of(at), bids[of(at)].clone().raised_to(mega(*floor))),
            Self::Adder(at, adder) => (of(at), bids[of(at)].clone().with_adder(usd(*adder))),
            Self::Rank(at, rank) => (of(at), bids[of(at)].clone().ranked(*rank)),
            Self::Instead(at, bid) => (of(at), bid.clone()),
        };
        bids[at] = bid;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_clearer_that_is_kept_answers_as_a_new_one(
        ticks in prop::collection::vec((any_tree(), any_bids(Kind::Any), -4..28_i64, -4..28_i64, any::<bool>()), 1..6),
    ) {
        let mut kept = Clearer::new();
        let mut last: Vec<Bid> = Vec::new();
        for (tree, bids, price, again, same) in ticks {
            let bids = if same { last } else { bids };
            prop_assert_eq!(kept.clear(&tree, &bids, usd(price)), &clear(&tree, &bids, usd(price)));
            prop_assert_eq!(kept.at(usd(again)), &clear(&tree, &bids, usd(again)));
            last = bids;
        }
    }

    #[test]
    fn a_clearer_that_is_kept_answers_as_a_new_one_whatever_changes_between(
        start in (any_tree(), many_bids(), -4..28_i64),
        changes in prop::collection::vec((any_change(), -4..28_i64), 1..16),
    ) {
        let (mut tree, mut bids, price) = start;
        let mut kept = Clearer::new();
        prop_assert_eq!(kept.clear(&tree, &bids, usd(price)), &clear(&tree, &bids, usd(price)));
        for (change, price) in changes {
            change.apply(&mut tree, &mut bids);
            prop_assert_eq!(kept.clear(&tree, &bids, usd(price)), &clear(&tree, &bids, usd(price)), "{:?}", change);
        }
    }
}
