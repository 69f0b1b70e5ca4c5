//! From the API to the core: what an accepted object means in watts.

use super::PowerBudget;
use super::common::Rating;
use super::quantity::WattsQuantity;
use ampacity_core::tree::{Node, NodeId, Tree, TreeError};
use ampacity_core::units::Watts;
use kube::ResourceExt;

/// Why a `PowerBudget` makes no limit tree. Names the field, the value and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// Neither or both of limit and rating.
    #[error("{0}: exactly one of limitWatts and rating must be set")]
    Limit(String),
    /// A parent that does not stand before its child.
    #[error(
        "spec.feeders: feeder {feeder:?} has the parent {parent:?}, which must be another feeder that stands before it"
    )]
    Parent {
        /// The feeder.
        feeder: String,
        /// The parent that it names.
        parent: String,
    },
    /// What the tree itself refuses.
    #[error("spec.feeders: {0}")]
    Tree(#[from] TreeError),
}

/// The limit of a node from the one of its two fields that is set.
fn limit(place: &str, watts: Option<WattsQuantity>, rating: Option<&Rating>) -> Result<Watts, BudgetError> {
    match (watts, rating) {
        (Some(watts), None) => Ok(watts.watts()),
        (None, Some(rating)) => Ok(rating.watts()),
        _ => Err(BudgetError::Limit(place.into())),
    }
}

impl TryFrom<&PowerBudget> for Tree {
    type Error = BudgetError;

    /// The limit tree of a site: the budget's own name at the root, then the feeders in their order.
    fn try_from(budget: &PowerBudget) -> Result<Self, BudgetError> {
        let spec = &budget.spec;
        let mut nodes = vec![Node {
            name: budget.name_any(),
            parent: None,
            limit: limit("spec", spec.limit_watts, spec.rating.as_ref())?,
            reserve: spec.reserve_watts.watts(),
            auxiliary: spec.auxiliary_watts.watts(),
            loss: spec.loss_percent.ppm(),
        }];
        for (index, feeder) in spec.feeders.iter().enumerate() {
            let parent = match &feeder.parent {
                None => NodeId::SITE,
                Some(parent) => place_of(&nodes, parent)
                    .ok_or_else(|| BudgetError::Parent { feeder: feeder.name.clone(), parent: parent.clone() })?,
            };
            let place = format!("spec.feeders[{index}]");
            nodes.push(Node {
                name: feeder.name.clone(),
                parent: Some(parent),
                limit: limit(&place, feeder.limit_watts, feeder.rating.as_ref())?,
                reserve: feeder.reserve_watts.watts(),
                auxiliary: feeder.auxiliary_watts.watts(),
                loss: feeder.loss_percent.ppm(),
            });
        }
        Ok(Tree::new(nodes)?)
    }
}

/// The place of a feeder among the nodes so far; the site is no feeder.
fn place_of(nodes: &[Node], name: &str) -> Option<NodeId> {
    let position = nodes.iter().skip(1).position(|n| n.name == name)?;
    u32::try_from(position + 1).ok().map(NodeId)
}
