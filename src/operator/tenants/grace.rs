//! Grace: a Job whose pods may go on for longer than its lease's notice does not run.
//!
//! The chart's policy ampacity-lease-grace refuses such a Job where the lease's terms stand; a Job may well be written
//! before they do, and is not looked at again by any policy.

use super::{JobFacts, LeaseRow};
use crate::api::ComputeLeaseStatus;
use crate::api::common::{Statement, Word as _, clear_condition, set_condition};
use crate::api::compute_lease::{ComputeLeaseCondition as Type, ComputeLeaseReason as Reason};
use crate::store::api_time;
use ampacity_core::lease::{Contract, LeaseState};
use ampacity_core::units::{Span, Time};
use std::sync::Arc;

type Lease = crate::api::ComputeLease;

/// Whether the pods of a Job may go on for longer than the notice. A notice of nothing promises nothing.
pub(super) fn overstays(job: &JobFacts, contract: Option<&Contract>) -> bool {
    contract.is_some_and(|contract| {
        let notice = contract.offer.terms.notice;
        notice > Span::ZERO && job.grace > notice
    })
}

/// What a lease is told of the first of its Jobs that overstays, if one does.
pub(super) fn trouble(row: &LeaseRow, jobs: &[Arc<JobFacts>]) -> Option<String> {
    let LeaseState::Accepted(contract) = &row.state else { return None };
    let late = |job: &&Arc<JobFacts>| !job.finished && !job.managed_elsewhere && overstays(job, Some(contract));
    jobs.iter().find(late).map(|job| {
        format!(
            "Job {} does not run: its terminationGracePeriodSeconds is {}: at most the {} s of notice; make another Job",
            job.name,
            job.grace.whole_seconds(),
            contract.offer.terms.notice.whole_seconds()
        )
    })
}

/// What a status says of it.
pub(super) fn told(status: &ComputeLeaseStatus) -> Option<&str> {
    let found = status.conditions.iter().find(|one| one.type_ == Type::GraceExceedsDeadline.as_str());
    found.map(|one| one.message.as_str())
}

/// Says it in a status, or takes it out.
pub(super) fn say(status: &mut ComputeLeaseStatus, trouble: Option<String>, generation: Option<i64>, now: Time) {
    let type_ = Type::GraceExceedsDeadline;
    let Some(message) = trouble else { return clear_condition::<Lease>(&mut status.conditions, type_) };
    let said = Statement::<Lease> { type_, status: Some(true), reason: Reason::GraceTooLong, message };
    set_condition(&mut status.conditions, said, generation, &api_time(now));
}
