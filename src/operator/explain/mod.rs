//! Explain: why somebody has what they have, and what the controller would do if something were applied.
//!
//! A decision is pure, so nothing is kept for this but the snapshot that the last one was made from. Whoever asks gets
//! a copy of what the operator knows ([`Desk`]) and works on that, off the loop: a turn pays for one copy at most, and
//! nothing here can write.
//!
//! Answers hold numbers and words at once: the words for a person, the numbers for a program.

mod answer;
mod desk;
mod figures;
mod holds;
mod http;
mod lease;
mod load;
mod place;
mod subject;
#[cfg(test)]
mod tests;
mod text;
mod view;
mod whatif;

pub use answer::{
    Admission, Amount, Bid, Explanation, Figure, Limit, LoadChange, Member, Money, Stands, Trouble, WhatIf,
};
pub use desk::Desk;
pub use http::{BODY_MAX, serve};
pub use subject::{Subject, SubjectError};
pub use text::{explanation as explanation_text, what_if as what_if_text};
pub use view::View;

use ampacity_core::units::Time;

/// The answer about one subject.
///
/// # Errors
/// This operator does not lead, or knows no such thing.
pub fn explain(view: &View, subject: &Subject) -> Result<Explanation, Trouble> {
    view.leads()?;
    match subject {
        Subject::Load(name) => load::explain(view, name),
        Subject::Lease { namespace, name } => lease::explain(view, namespace, name),
        Subject::Place { budget, feeder } => place::explain(view, budget, feeder.as_deref()),
        Subject::Fleet(name) | Subject::Pool(name) => load::of_owner(view, subject, name),
        Subject::Event(name) => holds::event(view, name),
        Subject::Lockout(name) => holds::lockout(view, name),
    }
}

/// What would be decided now if these objects were applied.
///
/// # Errors
/// This operator does not lead, or an object cannot be applied.
pub fn what_if(view: &View, objects: Vec<serde_json::Value>) -> Result<WhatIf, Trouble> {
    view.leads()?;
    whatif::what_if(view, objects)
}

/// A moment as an object holds it.
fn rfc3339(at: Time) -> String {
    crate::store::api_time(Time::seconds(at.get().div_euclid(1_000))).0.to_string()
}
