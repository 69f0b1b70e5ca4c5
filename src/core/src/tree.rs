//! The limit tree: one node per breaker, transformer or grid connection.
//!
//! A limit counts everything below its node: the loads, what they lose on the way, the draw that nobody controls
//! (`auxiliary`), and a reserve that is never given out. The capacity left for loads is therefore one number per node,
//! and the set of loads below each node is laminar: that is what makes merit order exact (`clear`).

use crate::units::{Ppm, Watts};
use std::fmt;
use std::sync::Arc;

/// A node's place in its [`Tree`]. The site is 0 and every parent stands before its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl NodeId {
    /// The site: the root of every tree.
    pub const SITE: Self = Self(0);

    /// The position in tables that run parallel to the tree.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One breaker, transformer or grid connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// Unique in the tree; the site's own name at the root.
    pub name: String,
    /// The node above; none for the site alone.
    pub parent: Option<NodeId>,
    /// The most that may flow here, W.
    pub limit: Watts,
    /// Kept free below the limit, W: metering error, unmetered draw, the largest step that nobody controls.
    pub reserve: Watts,
    /// Drawn at this node itself by what is not a load, W: lighting, substation service, a hall that a tenant runs.
    pub auxiliary: Watts,
    /// What is lost between the loads below and this node's meter, as a fraction of their sum.
    pub loss: Ppm,
}

/// A checked limit tree.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tree {
    /// Shared by the copies that decisions and the guard make of it several times a second.
    nodes: Arc<Vec<Node>>,
    capacity: Vec<Watts>,
}

/// Why a list of nodes is no limit tree. Names the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeError {
    /// There is no node at all, or the first has a parent.
    NoSite,
    /// A node other than the first has no parent, or one that does not stand before it (missing, or a cycle).
    Parent(String),
    /// Two nodes carry this name.
    Duplicate(String),
    /// A quantity of this node is negative.
    Negative(String),
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSite => write!(f, "a limit tree starts with its site, which has no parent"),
            Self::Parent(name) => write!(f, "node {name:?}: its parent must stand before it"),
            Self::Duplicate(name) => write!(f, "node {name:?} stands in the tree twice"),
            Self::Negative(name) => write!(f, "node {name:?}: limit, reserve, auxiliary and loss must not be negative"),
        }
    }
}

impl std::error::Error for TreeError {}

impl Tree {
    /// Checks the nodes and derives each one's capacity.
    ///
    /// # Errors
    /// The first rule that does not hold, with the node's name.
    pub fn new(nodes: Vec<Node>) -> Result<Self, TreeError> {
        let mut names = std::collections::BTreeSet::new();
        for (position, node) in nodes.iter().enumerate() {
            match node.parent {
                None if position == 0 => {}
                Some(parent) if position > 0 && parent.index() < position => {}
                _ if position == 0 => return Err(TreeError::NoSite),
                _ => return Err(TreeError::Parent(node.name.clone())),
            }
            if !names.insert(node.name.as_str()) {
                return Err(TreeError::Duplicate(node.name.clone()));
            }
            let least = node.limit.min(node.reserve).min(node.auxiliary);
            if least < Watts::ZERO || node.loss < Ppm::ZERO {
                return Err(TreeError::Negative(node.name.clone()));
            }
        }
        if nodes.is_empty() {
            return Err(TreeError::NoSite);
        }
        let mut tree = Self { capacity: Vec::new(), nodes: Arc::new(nodes) };
        tree.capacity = tree.capacities();
        Ok(tree)
    }

    /// The same tree with some limits lowered. Limits are only ever tightened here, never raised.
    #[must_use]
    pub fn tightened(&self, limits: impl IntoIterator<Item = (NodeId, Watts)>) -> Self {
        let mut tree = self.clone();
        for (id, watts) in limits {
            let limit = watts.at_least_zero();
            if tree.nodes.get(id.index()).is_some_and(|node| limit < node.limit)
                && let Some(node) = Arc::make_mut(&mut tree.nodes).get_mut(id.index())
            {
                node.limit = limit;
            }
        }
        if !Arc::ptr_eq(&tree.nodes, &self.nodes) {
            tree.capacity = tree.capacities();
        }
        tree
    }

    /// Per node: (limit − reserve) without losses, less every auxiliary at or below it. May be negative.
    fn capacities(&self) -> Vec<Watts> {
        let mut auxiliary: Vec<Watts> = self.nodes.iter().map(|n| n.auxiliary).collect();
        for position in (1..self.nodes.len()).rev() {
            let own = auxiliary.get(position).copied().unwrap_or_default();
            let parent = self.nodes.get(position).and_then(|n| n.parent);
            if let Some(above) = parent.and_then(|p| auxiliary.get_mut(p.index())) {
                *above += own;
            }
        }
        let free = |node: &Node| (node.limit - node.reserve).without(node.loss);
        self.nodes.iter().zip(auxiliary).map(|(node, below)| free(node) - below).collect()
    }

    /// The nodes, the site first, parents before children.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.index())
    }

    /// The node of this name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|n| n.name == name).map(|p| NodeId(p as u32))
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never true: a tree has its site.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The most that all loads below `id` may draw together, W; negative where even the auxiliaries do not fit, and
    /// for a node that is not in the tree.
    pub fn capacity(&self, id: NodeId) -> Watts {
        self.capacity.get(id.index()).copied().unwrap_or(Watts::new(-1))
    }

    /// What a sum of loads below `id` shows at its meter: with losses and with the auxiliaries below, W.
    pub fn at_meter(&self, id: NodeId, loads: Watts) -> Watts {
        let Some(node) = self.node(id) else { return loads };
        let auxiliary = (node.limit - node.reserve).without(node.loss) - self.capacity(id);
        (loads + auxiliary).plus(node.loss)
    }

    /// `id`, its parent, and so on up to the site. Empty for a node that is not in the tree.
    pub fn path(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        let mut next = self.node(id).map(|_| id);
        std::iter::from_fn(move || {
            let here = next?;
            next = self.node(here).and_then(|n| n.parent);
            Some(here)
        })
    }

    /// Adds up, for every node, what stands below it: `leaves` are (node, watts) pairs.
    pub fn sums(&self, leaves: impl IntoIterator<Item = (NodeId, Watts)>) -> Vec<Watts> {
        let mut sums = vec![Watts::ZERO; self.nodes.len()];
        for (id, watts) in leaves {
            if let Some(sum) = sums.get_mut(id.index()) {
                *sum += watts;
            }
        }
        for position in (1..self.nodes.len()).rev() {
            let own = sums.get(position).copied().unwrap_or_default();
            if let Some(above) = self.nodes.get(position).and_then(|n| n.parent).and_then(|p| sums.get_mut(p.index())) {
                *above += own;
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, parent: Option<u32>, limit: i64) -> Node {
        Node {
            name: name.into(),
            parent: parent.map(NodeId),
            limit: Watts::new(limit),
            reserve: Watts::ZERO,
            auxiliary: Watts::ZERO,
            loss: Ppm::ZERO,
        }
    }

    #[test]
    fn a_node_whose_parent_does_not_stand_before_it_is_refused_by_name() {
        let nodes = vec![node("site", None, 10), node("a", Some(2), 5), node("b", Some(1), 5)];
        assert_eq!(Tree::new(nodes), Err(TreeError::Parent("a".into())));
    }

    #[test]
    fn capacity_leaves_out_reserve_losses_and_every_auxiliary_below() {
        let site = Node { reserve: Watts::new(100), loss: Ppm::percent(1), ..node("site", None, 10_200) };
        let hall = Node { auxiliary: Watts::new(500), ..node("hall", Some(0), 4_000) };
        let tree = Tree::new(vec![site, hall]).unwrap();
        assert_eq!([0, 1].map(|i| tree.capacity(NodeId(i))), [Watts::new(9_500), Watts::new(3_500)]);
        assert_eq!(tree.at_meter(NodeId::SITE, Watts::new(9_500)), Watts::new(10_100));
    }

    #[test]
    fn tightening_never_raises_a_limit() {
        let tree = Tree::new(vec![node("site", None, 10)]).unwrap();
        let tight = tree.tightened([(NodeId::SITE, Watts::new(7)), (NodeId::SITE, Watts::new(9))]);
        assert_eq!(tight.capacity(NodeId::SITE), Watts::new(7));
    }

    #[test]
    fn sums_rise_to_the_site() {
        let tree = Tree::new(vec![node("site", None, 9), node("a", Some(0), 9), node("b", Some(1), 9)]).unwrap();
        assert_eq!(tree.sums([(NodeId(2), Watts::new(3)), (NodeId(1), Watts::new(4))]), [7, 7, 3].map(Watts::new));
        assert_eq!(tree.path(NodeId(2)).collect::<Vec<_>>(), [2, 1, 0].map(NodeId));
    }
}
