//! The real Kubernetes that the cluster suite runs against, and what its tests share.
//!
//! A test says what it needs and gets a namespace of its own:
//!
//! ```no_run
//! use ampacity_e2e::{cluster_test, Needs, Test};
//!
//! fn a_rule_of_the_api_server_holds() -> anyhow::Result<()> {
//!     cluster_test(Needs::AnyCluster, async |test: &Test| {
//!         let client = test.client(ampacity_e2e::identity::TENANT_A).await?;
//!         // …
//!         Ok(())
//!     })
//! }
//! ```
//!
//! [`binaries`] builds etcd, the parts of Kubernetes and Helm from pinned Go modules, once, outside the work
//! tree; [`plain`] starts them, [`node`] puts a real node beside them, [`helm`] runs Helm; [`proxy`] puts faults between a client and the API server; [`wait`] is the
//! only way to wait. `e2e/run` does all of it with one command.

pub mod bench;
pub mod binaries;
pub mod binary;
pub mod definitions;
pub mod helm;
pub mod identity;
pub mod node;
pub mod plain;
pub mod process;
pub mod proxy;
pub mod suite;
pub mod trainer;
pub mod wait;

pub use plain::Plain;
pub use proxy::{FaultProxy, Mode};
pub use suite::{Needs, Test, cluster_test, cluster_test_within, figure};
pub use wait::until;
