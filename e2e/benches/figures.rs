//! The figures on a real API server, beside what is to be reached: `cargo bench -p ampacity-e2e --bench figures`.
//!
//! etcd, the API server, the controllers, kwok, the operator (a process of its own) and the agents of all loads (one
//! process: this one; each agent whole, with a TLS link of its own, over simulated devices) share this machine's cores.
//! A table is printed: what was measured, what is to be reached (issue and `DESIGN.md`), the figure, what others reach,
//! and the load average by then. Reaches are stated for an idle machine of two cores.
//!
//! - nothing more: 1,000 containers, 125 GPU nodes, 1,000 leases, 1,000 Jobs; about 15 minutes
//! - `-- --large`: 10,000 loads and 10,000 leases as well, then 10,000 Jobs; about half an hour more
//! - `-- --only-large`: that alone
//! - `-- --without-prices`: without the steady state and the price ticks
//! - `-- --small`: two minutes that only show that all of it works
//!
//! Operator and agents are let in as the chart's accounts, with its RBAC and its queues; its policies are not there,
//! since twenty clients write for all agents.
//!
//! Clients' limits: the operator has 32 requests under way and none a second; the suite's job controller and its
//! garbage collector 200 a second (ten times their default), kwok its own.

#[path = "figures/crowd.rs"]
mod crowd;
#[path = "figures/large.rs"]
mod large;
#[path = "figures/metrics.rs"]
mod metrics;
#[path = "figures/site.rs"]
mod site;
#[path = "figures/table.rs"]
mod table;
#[path = "figures/usual.rs"]
mod usual;

use anyhow::Result;

use site::Size;
use table::Row;

const USUAL: Size = Size { containers: 1_000, nodes: 125, jobs: 1_000 };
/// Whether all of it works, in a few minutes and without a figure that says anything.
const SMALL: Size = Size { containers: 20, nodes: 4, jobs: 24 };

async fn measure(rows: &mut Vec<Row>) -> Result<()> {
    let is_asked = |flag: &str| std::env::args().any(|argument| argument == flag);
    if !is_asked("--only-large") {
        let size = if is_asked("--small") { SMALL } else { USUAL };
        usual::measure(size, !is_asked("--without-prices"), rows).await?;
    }
    if is_asked("--large") || is_asked("--only-large") {
        large::loads_and_leases(rows).await?;
        large::jobs(rows).await?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut rows = Vec::new();
    let outcome = runtime.block_on(measure(&mut rows));
    // Also what was measured before it failed.
    table::print(&rows)?;
    outcome
}
