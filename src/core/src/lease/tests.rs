mod booking;
mod offers;
mod property;
mod service;

use super::*;
use crate::units::{Ppm, Span, Time, Usd, UsdPerMwh, Watts};

/// Minutes after the beginning of the tests' time.
fn minute(minutes: i64) -> Time {
    Time::ZERO.after(Span::minutes(minutes))
}

/// Half an hour's notice; two hours of a day, in at most two curtailments of up to 90 minutes, an hour's run between.
fn flexible() -> Terms {
    Terms {
        firm: false,
        price: Usd::dollars(2),
        notice: Span::minutes(30),
        allowance: Allowance {
            curtailed: Span::minutes(120),
            per: Span::minutes(1440),
            events_per_day: 2,
            longest: Span::minutes(90),
            minimum_run: Span::minutes(60),
        },
        credit: UsdPerMwh::dollars(300),
        stop_cost: Usd::dollars(10),
        least_throughput: Ppm::percent(100),
        accepts_itself: true,
        longest_term: Span::minutes(90 * 1440),
    }
}

fn firm() -> Terms {
    Terms { firm: true, ..flexible() }
}

/// 64 GPUs at 500 W above their lowest caps: 32 kW, for three days from minute 0.
fn contract(terms: Terms) -> Contract {
    let delivery = Delivery::Jobs { pool: 0, gpus: 64 };
    let (start, end) = (minute(0), minute(3 * 1440));
    let offer = Offer { terms, delivery, start, end, hash: "h".into(), expires: minute(0) };
    Contract::new(offer, Level { watts: Watts::kilo(32), cap: Watts::new(700) }, minute(-60))
}

/// Nothing wanted, for `why`.
fn nothing(why: NoticeReason) -> Wanted {
    Wanted { level: Level::default(), why, by: None }
}
