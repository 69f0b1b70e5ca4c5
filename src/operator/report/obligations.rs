//! What is said of obligations: what draws of the reserve that was sold, what is missing of it, and why.

use super::seen::{over_due, phase};
use super::{Conditions, Scene, whole};
use crate::api::grid_event::{GridEventCondition as EventIs, GridEventReason as Word};
use crate::api::quantity::WattsQuantity;
use crate::api::{GridEvent, GridEventStatus};
use crate::operator::reason::{price, sentence};
use crate::store::time;
use ampacity_core::plan::{ObligationAward, Reason};
use ampacity_core::snapshot::Obligation;
use ampacity_core::units::{Time, UsdPerMwh, Watts};

/// How an obligation in force stands.
pub(super) struct Standing<'a> {
    pub(super) award: &'a ObligationAward,
    /// What it asks for and does not draw, W.
    pub(super) missing: Watts,
}

impl Standing<'_> {
    /// As much draws as is asked for.
    pub(super) fn met(&self) -> bool {
        self.missing == Watts::ZERO
    }

    /// Something other than time keeps watts from it.
    pub(super) fn is_short(&self) -> bool {
        !self.met() && self.award.short.as_ref().is_some_and(|why| *why != Reason::Ramp)
    }

    /// It, in one sentence.
    pub(super) fn words(&self, scene: &Scene<'_>, obligation: &Obligation) -> String {
        let (drawn, minimum) = (self.award.drawn, obligation.minimum);
        if self.met() {
            let cost = self.award.price;
            let cost = if cost > UsdPerMwh::ZERO {
                format!(", at {} USD/MWh above what they are worth", price(cost))
            } else {
                String::new()
            };
            return format!("{drawn} draw and can be shed, {minimum} are to{cost}");
        }
        let why = match &self.award.short {
            Some(Reason::Full) => "nothing more there can be shed in time".into(),
            Some(why) => sentence(why, &scene.names()),
            None => "as much was told to draw, and is not seen to yet".into(),
        };
        format!("{} of {minimum} missing: {why}", self.missing)
    }
}

/// How an obligation stands now; none outside its time.
pub(super) fn standing<'a>(scene: &'a Scene<'_>, obligation: &Obligation) -> Option<Standing<'a>> {
    if scene.now < obligation.from || scene.now >= obligation.until {
        return None;
    }
    let at = scene.tables.obligations.iter().position(|own| own.name == obligation.name)?;
    let award = scene.turn.plan.obligations.get(at)?;
    Some(Standing { award, missing: (obligation.minimum - award.drawn).at_least_zero() })
}

/// When as much has to draw as is asked for.
pub(super) fn due(obligation: &Obligation) -> Time {
    obligation.from.max(obligation.seen).after(obligation.response)
}

/// The status of an event that obliges.
pub(super) fn status(
    scene: &Scene<'_>,
    event: &GridEvent,
    obligation: &Obligation,
    mut status: GridEventStatus,
) -> GridEventStatus {
    let stands = standing(scene, obligation);
    let quantity = |watts: Watts| WattsQuantity::new(watts.get());
    status.drawn_watts = stands.as_ref().map(|stands| quantity(stands.award.drawn));
    status.missing_watts = stands.as_ref().map(|stands| quantity(stands.missing));
    if stands.as_ref().is_some_and(Standing::met) && status.met_time.is_none() {
        status.met_time = Some(whole(scene.now));
    }
    let met_at = status.met_time.as_ref().map(time);
    let generation = event.metadata.generation;
    let mut say = Conditions { list: &mut status.conditions, generation, now: scene.now };
    say.say::<GridEvent>(EventIs::Accepted, Some((true, Word::Valid, "the target exists".into())));
    say.say::<GridEvent>(EventIs::Active, Some(phase(scene, obligation.from, obligation.until)));
    let Some(stands) = stands else { return status };
    let word = match (stands.met(), stands.is_short()) {
        (true, _) => Word::Held,
        (false, true) => Word::Short,
        (false, false) => Word::Raising,
    };
    say.say::<GridEvent>(EventIs::Met, Some((stands.met(), word, stands.words(scene, obligation))));
    let by = due(obligation);
    let message = format!("{} were to draw by {} UTC", obligation.minimum, scene.names().time(by));
    say.say::<GridEvent>(
        EventIs::Late,
        over_due(met_at, by, scene.now).then_some((true, Word::ResponseOverrun, message)),
    );
    status
}
