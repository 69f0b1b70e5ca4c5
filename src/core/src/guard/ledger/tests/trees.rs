//! Another tree is put in place: what hung on a node hangs on the node of that name.

use super::*;

/// The tree of [`tree`] with its halls the other way round.
fn turned(site: i64, a: i64, b: i64) -> Tree {
    Tree::new(vec![node("site", None, site), node("b", Some(0), b), node("a", Some(0), a)]).unwrap()
}

#[test]
fn loads_tombstones_limits_and_meters_move_with_the_name_of_their_node() {
    let mut ledger = proved(1_000, [30, 40]);
    ledger.learn(Seen::Tombstone(NodeId(1), w(250)), T).unwrap();
    ledger.set_limits(vec![(NodeId(1), w(700))]);
    let sample = |watts, time| Seen::Meter { node: NodeId(2), watts: w(watts), error: w(0), time };
    ledger.learn(sample(45, at(1)), at(1)).unwrap();
    assert_eq!(ledger.sums(at(1)), [220, 180, 40].map(w));
    assert_eq!(ledger.steps(&[want(1, 10)], at(2)), [lower(1, 1, 10)]);
    see(&mut ledger, 1, view(10, 10, order(EPOCH, 1), 2), at(3));
    ledger.set_tree(turned(1_000, 900, 800)).unwrap();
    assert_eq!(ledger.sums(at(3)), [190, 10, 180].map(w));
    assert_eq!(ledger.capacities(), [1_000, 800, 700].map(w));
    assert_eq!([1, 2].map(|node| ledger.unexplained(NodeId(node))), [5, 0].map(w));
    let late = Seen::Meter { node: NodeId(1), watts: w(40), error: w(0), time: at(2) };
    ledger.learn(late, at(4)).unwrap();
    assert_eq!(ledger.unexplained(NodeId(1)), w(0), "it drew 40 W then");
}

#[test]
fn a_second_tree_before_the_first_is_accepted_leaves_the_lowest_of_all_three() {
    let mut ledger = proved(100, [40, 40]);
    ledger.set_tree(tree(90, 1_500, 1_000)).unwrap();
    ledger.set_tree(tree(300, 1_800, 800)).unwrap();
    assert_eq!(ledger.capacities(), [90, 1_000, 800].map(w));
    assert!(ledger.tree_pending());
    ledger.accept_tree();
    assert_eq!((ledger.capacities().to_vec(), ledger.tree_pending()), ([300, 1_800, 800].map(w).to_vec(), false));
}

#[test]
fn a_tree_without_a_node_of_which_the_budget_remembers_nameplate_is_refused_by_name() {
    let mut ledger = Ledger::new(EPOCH, tree(100, 50, 50), [], T);
    ledger.learn(Seen::Tombstone(NodeId(1), w(-5)), T).unwrap();
    assert_eq!(ledger.sums(T), [0, 0, 0].map(w), "less than nothing frees nothing");
    ledger.learn(Seen::Tombstone(NodeId(2), w(5)), T).unwrap();
    let without = Tree::new(vec![node("site", None, 100), node("a", Some(0), 50)]).unwrap();
    assert_eq!(ledger.set_tree(without), Err(MissingNode("b".into())));
}
