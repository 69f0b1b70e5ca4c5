mod changes;

use super::oracle::{self, QUANTUM, Worth};
use super::*;
use crate::bid::{FIRM, RANK_WORTH, Segment};
use crate::tree::Node;
use crate::units::Ppm;
use proptest::prelude::*;

fn mega(quanta: i64) -> Watts {
    Watts::new(quanta * QUANTUM)
}

fn usd(raw: i64) -> UsdPerMwh {
    UsdPerMwh::new(raw)
}

fn node(name: String, parent: Option<u32>, limit: i64, auxiliary: i64) -> Node {
    Node {
        name,
        parent: parent.map(NodeId),
        limit: mega(limit),
        reserve: Watts::ZERO,
        auxiliary: mega(auxiliary),
        loss: Ppm::ZERO,
    }
}

/// The site, then halls below it.
fn site(limit: i64, halls: &[i64]) -> Tree {
    let halls = halls.iter().enumerate().map(|(at, limit)| node(format!("hall-{at}"), Some(0), *limit, 0));
    Tree::new(std::iter::once(node("site".into(), None, limit, 0)).chain(halls).collect()).unwrap()
}

fn bid(at: u32, floor: i64, segments: &[(i64, i64)]) -> Bid {
    let segments = segments.iter().map(|(watts, value)| Segment::new(mega(*watts), usd(*value)));
    Bid::new(NodeId(at), mega(floor), segments.collect()).unwrap()
}

fn award(watts: i64, reason: Reason) -> Award {
    Award { watts: mega(watts), reason }
}

fn cleared(load: i64, headroom: i64, shadow_price: i64) -> NodeClearing {
    NodeClearing { load: mega(load), headroom: mega(headroom), shadow_price: usd(shadow_price) }
}

#[test]
fn floors_that_pass_a_limit_are_a_deficit_there_and_nothing_below_it_gets_more() {
    let tree = site(20, &[3, 10]);
    let bids = [bid(1, 4, &[(1, 90)]), bid(2, 1, &[(2, 50)]), bid(0, 0, &[(1, 70)]), bid(1, 1, &[])];
    let got = clear(&tree, &bids, usd(10));
    let limit = Reason::Limit { node: NodeId(1), shadow_price: usd(80) };
    let awards = vec![award(4, limit), award(3, Reason::Full), award(1, Reason::Full), award(1, Reason::Full)];
    let nodes = vec![cleared(9, 11, 0), cleared(5, -2, 80), cleared(3, 7, 0)];
    assert_eq!(got, Clearing { awards, nodes, loss_bound: Usd::ZERO });
    assert_eq!(got.deficits().collect::<Vec<_>>(), [(NodeId(1), mega(2))]);
}

#[test]
fn a_bid_at_a_node_that_is_not_in_the_tree_gets_its_floor_and_says_so() {
    let got = clear(&site(9, &[]), &[bid(7, 2, &[(1, 90)])], usd(10));
    assert_eq!(got.awards, [award(2, Reason::Unplaced)]);
    assert_eq!(got.nodes, [cleared(0, 9, 0)]);
}

#[test]
fn a_segment_worth_exactly_the_price_does_not_run() {
    let got = clear(&site(9, &[]), &[bid(0, 1, &[(2, 40), (3, 39)]), bid(0, 0, &[(1, 41)])], usd(40));
    assert_eq!(got.awards, [award(1, Reason::BelowPrice { value: usd(40) }), award(1, Reason::Full)]);
}

#[test]
fn an_adder_is_paid_on_top_of_the_price() {
    let bids = [bid(0, 0, &[(2, 40)]).with_adder(usd(5)), bid(0, 0, &[(2, 40)]).with_adder(usd(4))];
    let got = clear(&site(9, &[]), &bids, usd(35));
    assert_eq!(got.awards, [award(0, Reason::BelowPrice { value: usd(35) }), award(2, Reason::Full)]);
}

#[test]
fn each_limit_that_binds_has_the_price_of_its_own_next_watt() {
    // Hall 0 turns away at 60, the site at 40, both over a price of 10: the hall's own share is 20 and the site's 30.
    let bids = [bid(1, 0, &[(4, 80), (2, 60)]), bid(2, 0, &[(2, 70), (9, 40)]), bid(2, 0, &[(1, 40), (1, 5)])];
    let got = clear(&site(8, &[4, 20]), &bids, usd(10));
    let at_site = Reason::Limit { node: NodeId::SITE, shadow_price: usd(30) };
    assert_eq!(got.awards, [award(4, at_site), award(4, at_site), award(0, at_site)]);
    assert_eq!(got.nodes, [cleared(8, 0, 30), cleared(4, 0, 20), cleared(4, 16, 0)]);
}

#[test]
fn a_firm_lease_runs_at_any_price_and_before_any_value() {
    let bids = [bid(0, 0, &[(4, 900)]), bid(0, 0, &[(3, -50)]).ranked(FIRM)];
    let got = clear(&site(4, &[]), &bids, usd(100));
    let limit = Reason::Limit { node: NodeId::SITE, shadow_price: usd(800) };
    assert_eq!(got.awards, [award(1, limit), award(3, Reason::Full)]);
    let dear = clear(&site(4, &[]), &bids, UsdPerMwh::MAX);
    assert_eq!(dear.awards[1], award(3, Reason::Full));
    let cut = clear(&site(2, &[]), &bids, usd(100));
    let limit = Reason::Limit { node: NodeId::SITE, shadow_price: RANK_WORTH + usd(-150) };
    assert_eq!(cut.awards, [award(0, limit), award(2, limit)]);
}

#[test]
fn of_equal_bids_the_first_in_the_list_is_served_first() {
    let bids = [bid(0, 0, &[(2, 50)]), bid(0, 0, &[(2, 50)]), bid(0, 0, &[(2, 50)])];
    let limit = Reason::Limit { node: NodeId::SITE, shadow_price: usd(50) };
    let got = clear(&site(3, &[]), &bids, usd(0));
    assert_eq!(got.awards, [award(2, Reason::Full), award(1, limit), award(0, limit)]);
}

#[test]
fn a_block_without_room_is_passed_over_and_says_what_it_needs() {
    let bids = [bid(1, 0, &[(2, 90)]), bid(1, 0, &[(3, 80), (1, 70)]).with_minimum(mega(3)), bid(1, 0, &[(1, 20)])];
    let got = clear(&site(9, &[4]), &bids, usd(10));
    let short = Reason::Indivisible { node: NodeId(1), room: mega(2), needs: mega(3) };
    // The block's second segment would fit but may not run without the first.
    assert_eq!(got.awards, [award(2, Reason::Full), award(0, short), award(1, Reason::Full)]);
    assert_eq!((got.nodes[1], got.loss_bound), (cleared(3, 1, 70), Usd::new(140)));
}

#[test]
fn a_step_takes_whole_multiples_and_leaves_the_rest_to_others() {
    let bids = [bid(0, 1, &[(6, 90)]).with_step(mega(2)), bid(0, 0, &[(3, 20)])];
    let got = clear(&site(6, &[]), &bids, usd(0));
    let short = Reason::Indivisible { node: NodeId::SITE, room: mega(1), needs: mega(2) };
    let limit = Reason::Limit { node: NodeId::SITE, shadow_price: usd(90) };
    assert_eq!(got.awards, [award(5, short), award(1, limit)]);
}

#[test]
fn a_clearer_that_is_kept_allocates_nothing_new() {
    let (tree, bids) = (site(8, &[4, 20]), [bid(1, 0, &[(4, 80), (2, 60)]), bid(2, 0, &[(2, 70), (9, 40)])]);
    let mut clearer = Clearer::new();
    let place = |got: &Clearing| (got.awards.as_ptr(), got.nodes.as_ptr(), got.awards.capacity());
    let first = place(clearer.clear(&tree, &bids, usd(10)));
    let second = place(clearer.clear(&tree, &bids[..1], usd(90)));
    assert_eq!((first, first), (second, place(clearer.clear(&tree, &bids, usd(20)))));
}

/// A tree of up to seven nodes, limits of up to 12 quanta, some draw of its own at any node.
fn any_tree() -> impl Strategy<Value = Tree> {
    let nodes = prop::collection::vec((any::<prop::sample::Index>(), 0..13_i64, 0..12_i64), 1..8);
    nodes.prop_map(|nodes| {
        let build = |(at, (above, limit, draw)): (usize, &(prop::sample::Index, i64, i64))| {
            let parent = (at > 0).then(|| above.index(at) as u32);
            node(format!("n{at}"), parent, *limit, (draw - 10).max(0))
        };
        Tree::new(nodes.iter().enumerate().map(build).collect()).unwrap()
    })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Divisible,
    Any,
}

/// Up to seven bids; values are few, so that ties are common.
fn any_bids(kind: Kind) -> impl Strategy<Value = Vec<Bid>> {
    let shape = (0..8_u32, 0..6_u8, 0..8_i64, -3..4_i64, 0..6_u8, 1..4_i64);
    let segments = prop::collection::vec((1..5_i64, 0..8_i64), 0..4);
    let one = (shape, segments).prop_map(move |((at, rank, floor, adder, form, grain), segments)| {
        let mut value = 24;
        let segments = segments.iter().map(|(watts, drop)| {
            value -= drop * 2;
            Segment::new(mega(*watts), usd(value))
        });
        let bid = Bid::new(NodeId(at), mega((floor - 5).max(0)), segments.collect()).unwrap();
        let bid = bid.ranked(rank.saturating_sub(3)).with_adder(usd(adder));
        match form {
            _ if kind == Kind::Divisible => bid,
            0 | 1 => bid.with_step(mega(grain)),
            2 => bid.in_one_piece(),
            3 => bid.with_minimum(mega(grain + 1)),
            4 => bid.with_step(mega(grain)).with_minimum(mega(grain + 1)),
            _ => bid,
        }
    });
    prop::collection::vec(one, 0..8)
}

/// Bids whose node is in the tree.
fn placed(tree: &Tree, bids: Vec<Bid>) -> Vec<Bid> {
    bids.into_iter().filter(|b| b.node().index() < tree.len()).collect()
}

/// What each segment of a bid got, in quanta. Panics where an award breaks a bid's order, step or block.
fn filled(bid: &Bid, award: &Award) -> Vec<i64> {
    let mut left = award.watts - bid.floor();
    assert!(left >= Watts::ZERO, "below its floor");
    let mut filled = Vec::new();
    for segment in bid.segments() {
        let taken = left.min(segment.watts);
        assert_eq!(taken.floor_to(segment.step), taken, "not a whole step");
        left -= taken;
        filled.push(taken.get() / QUANTUM);
    }
    assert_eq!(left, Watts::ZERO, "more than it asked for");
    filled
}

fn total(bids: &[Bid], got: &Clearing, worth: impl Fn(&Bid, &Segment) -> Worth) -> Worth {
    let mut sum = Worth::default();
    for (bid, award) in bids.iter().zip(&got.awards) {
        for (segment, taken) in bid.segments().iter().zip(filled(bid, award)) {
            let one = worth(bid, segment);
            sum = [0, 1, 2].map(|at| sum[at] + one[at] * i128::from(taken));
        }
    }
    sum
}

/// Each rank in a league of its own, any watt of a higher rank worth having.
fn by_rank(price: i64) -> impl Fn(&Bid, &Segment) -> Worth {
    move |bid, segment| {
        let net = i128::from((segment.value - bid.adder()).get());
        match bid.rank() {
            0 => [0, 0, net - i128::from(price)],
            1 => [0, net + 1_000, 0],
            _ => [net + 1_000, 0, 0],
        }
    }
}

/// One number, as the bound on the loss counts it.
fn by_merit(price: i64) -> impl Fn(&Bid, &Segment) -> Worth {
    move |bid, segment| [0, 0, i128::from(bid.merit(segment.value).get() - price)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn divisible_bids_are_worth_what_the_exact_oracle_finds(
        tree in any_tree(), bids in any_bids(Kind::Divisible), price in -4..28_i64,
    ) {
        let bids = placed(&tree, bids);
        let got = clear(&tree, &bids, usd(price));
        prop_assert_eq!(total(&bids, &got, by_rank(price)), oracle::best(&tree, &bids, by_rank(price)));
        prop_assert_eq!(got.loss_bound, Usd::ZERO);
    }

    #[test]
    fn the_shadow_prices_prove_a_divisible_clearing_optimal(
        tree in any_tree(), bids in any_bids(Kind::Divisible), price in -4..28_i64,
    ) {
        let bids = placed(&tree, bids);
        let got = clear(&tree, &bids, usd(price));
        for node in &got.nodes {
            prop_assert!(node.shadow_price >= UsdPerMwh::ZERO);
            prop_assert!(node.shadow_price == UsdPerMwh::ZERO || node.headroom <= Watts::ZERO, "a slack limit is free");
        }
        for (bid, award) in bids.iter().zip(&got.awards) {
            let path = got.price_of_room(&tree, bid.node());
            for (segment, taken) in bid.segments().iter().zip(filled(bid, award)) {
                let gain = bid.merit(segment.value) - usd(price);
                prop_assert!(taken == 0 || gain >= path && gain > UsdPerMwh::ZERO, "what runs pays for its room");
                prop_assert!(mega(taken) == segment.watts || gain <= path, "what would pay for its room runs");
            }
        }
    }

    #[test]
    fn no_capacity_is_passed_but_by_floors_and_every_figure_adds_up(
        tree in any_tree(), bids in any_bids(Kind::Any), price in -4..28_i64,
    ) {
        let bids = placed(&tree, bids);
        let got = clear(&tree, &bids, usd(price));
        let loads = tree.sums(bids.iter().zip(&got.awards).map(|(b, a)| (b.node(), a.watts)));
        let floors = tree.sums(bids.iter().map(|b| (b.node(), b.floor())));
        for (at, node) in got.nodes.iter().enumerate() {
            let capacity = tree.capacity(NodeId(at as u32));
            prop_assert_eq!((node.load, node.headroom), (loads[at], capacity - loads[at]));
            prop_assert!(node.load <= capacity.max(floors[at]));
            prop_assert_eq!(node.deficit(), (floors[at] - capacity).at_least_zero());
        }
        let deficits: Vec<NodeId> = got.deficits().map(|(node, _)| node).collect();
        for (bid, award) in bids.iter().zip(&got.awards) {
            let short = tree.path(bid.node()).any(|n| deficits.contains(&n));
            prop_assert!(!short || award.watts == bid.floor());
        }
    }

    #[test]
    fn a_higher_price_raises_no_award(
        tree in any_tree(), bids in any_bids(Kind::Any), price in -4..28_i64, more in 0..9_i64,
    ) {
        let low = clear(&tree, &bids, usd(price));
        let high = clear(&tree, &bids, usd(price + more));
        for ((bid, low), high) in bids.iter().zip(&low.awards).zip(&high.awards) {
            prop_assert!(high.watts <= low.watts && (bid.rank() == 0 || high.watts == low.watts));
        }
    }

    #[test]
    fn blocks_and_steps_lose_no_more_than_the_bound_says(
        tree in any_tree(), bids in any_bids(Kind::Any), price in -4..28_i64,
    ) {
        let bids = placed(&tree, bids);
        let got = clear(&tree, &bids, usd(price));
        let loss = oracle::best(&tree, &bids, by_merit(price))[2] - total(&bids, &got, by_merit(price))[2];
        prop_assert!(loss >= 0, "no split beats the oracle");
        prop_assert!(loss <= i128::from(got.loss_bound.get()), "lost {loss}, bound {:?}", got.loss_bound);
        let grain = bids.iter().flat_map(Bid::segments).map(|s| s.step).max().unwrap_or_default();
        let coarse: i64 = got.nodes.iter().map(|n| n.shadow_price.get() * (grain.get() / QUANTUM)).sum();
        prop_assert!(got.loss_bound.get() <= coarse);
    }

    #[test]
    fn every_reason_is_true(tree in any_tree(), bids in any_bids(Kind::Any), price in -4..28_i64) {
        let got = clear(&tree, &bids, usd(price));
        for (bid, award) in bids.iter().zip(&got.awards) {
            let on_path = |node: NodeId| tree.path(bid.node()).any(|n| n == node);
            let next = filled(bid, award)
                .iter()
                .zip(bid.segments())
                .find(|(taken, s)| mega(**taken) < s.watts)
                .map(|(_, segment)| *segment);
            match (award.reason, next) {
                (Reason::Full, next) => prop_assert_eq!(next, None),
                (Reason::BelowPrice { value }, Some(next)) => {
                    prop_assert_eq!((value, bid.rank()), (next.value - bid.adder(), 0));
                    prop_assert!(value <= usd(price));
                }
                (Reason::Limit { node, shadow_price }, Some(next)) => {
                    prop_assert!(on_path(node) && shadow_price > UsdPerMwh::ZERO);
                    prop_assert_eq!(shadow_price, got.nodes[node.index()].shadow_price);
                    prop_assert!(bid.merit(next.value) > usd(price));
                }
                (Reason::Indivisible { node, room, needs }, Some(next)) => {
                    prop_assert!(on_path(node) && Watts::ZERO < room && room < needs && needs == next.step);
                    prop_assert!(got.nodes[node.index()].headroom <= room);
                }
                (Reason::Unplaced, _) => prop_assert!(bid.node().index() >= tree.len()),
                (reason, None) => prop_assert!(false, "{reason:?}, yet all was given"),
            }
        }
    }
}
