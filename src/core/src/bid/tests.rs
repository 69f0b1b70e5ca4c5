use super::*;
use crate::curve::{CapCurve, CapPoint, MinerCurve, Preset};
use crate::units::{GigahashPerSecond, Ppm, Usd, UsdPerPhDay};
use proptest::prelude::*;

const AT: NodeId = NodeId(3);

fn segment(watts: i64, value: i64) -> Segment {
    Segment::new(Watts::new(watts), UsdPerMwh::new(value))
}

fn stepped(watts: i64, value: i64, step: i64) -> Segment {
    Segment { step: Watts::new(step), ..segment(watts, value) }
}

fn bid(floor: i64, segments: &[Segment]) -> Bid {
    Bid::new(AT, Watts::new(floor), segments.to_vec()).unwrap()
}

fn s19j_pro() -> MinerCurve {
    let ladder = [(1850, 76), (2500, 92), (2970, 100)]
        .map(|(watts, tera)| Preset { watts: Watts::new(watts), hashrate: GigahashPerSecond::tera(tera) });
    MinerCurve::new(Watts::new(25), &ladder).unwrap()
}

fn container(curve: &MinerCurve) -> Container<'_> {
    Container {
        node: AT,
        miners: 100,
        curve,
        standby: Watts::new(1_000),
        overhead: Watts::new(9_000),
        thermal_floor: Watts::ZERO,
        minimum: Watts::ZERO,
        step: Watts::ZERO,
        one_piece: false,
    }
}

fn own(pool_fee: Ppm, wear: UsdPerMwh) -> MiningValue {
    MiningValue::Own { hashprice: UsdPerPhDay::new(28_680_000), pool_fee, wear }
}

fn caps() -> CapCurve {
    let points = [(300, 58), (400, 76), (500, 88), (700, 100)];
    let points = points.map(|(cap, percent)| CapPoint { cap: Watts::new(cap), throughput: Ppm::percent(percent) });
    CapCurve::new(&points).unwrap()
}

fn lease<'a>(draw: LeaseDraw<'a>) -> LeaseOffer<'a> {
    LeaseOffer {
        node: AT,
        floor: Watts::new(2_800),
        draw,
        rent_per_hour: Usd::dollars(16),
        credit_per_hour: Usd::dollars(4),
        stop: UsdPerMwh::dollars(50),
    }
}

#[test]
fn a_bad_offer_is_refused_and_named() {
    let error =
        |floor, segments: &[Segment]| Bid::new(AT, Watts::new(floor), segments.to_vec()).unwrap_err().to_string();
    assert_eq!(error(-1, &[]), "floor_watts is -1, it must not be negative");
    assert_eq!(error(0, &[segment(-5, 1)]), "watts is -5, it must not be negative");
    assert_eq!(error(0, &[stepped(4, 1, -2)]), "step_watts is -2, it must not be negative");
    assert_eq!(
        error(0, &[segment(5, 1_000_000), segment(5, 1_000_001)]),
        "segment 1: worth 1.000001 USD/MWh, at most the 1.00 before it is right"
    );
    assert_eq!(error(0, &[stepped(7, 1, 2)]), "segment 0: 7W must be a whole multiple of its step 2W");
}

#[test]
fn a_container_with_a_negative_quantity_is_refused_and_named() {
    let curve = s19j_pro();
    let bad = Watts::new(-1);
    let named = |container: Container<'_>| {
        Bid::miners(&container, MiningValue::Hosted(UsdPerMwh::ZERO)).unwrap_err().to_string()
    };
    let good = container(&curve);
    assert_eq!(named(Container { standby: bad, ..good }), "standby_watts is -1, it must not be negative");
    assert_eq!(named(Container { overhead: bad, ..good }), "overhead_watts is -1, it must not be negative");
    assert_eq!(named(Container { thermal_floor: bad, ..good }), "thermal_floor_watts is -1, it must not be negative");
    assert_eq!(named(Container { minimum: bad, ..good }), "minimum_watts is -1, it must not be negative");
    assert_eq!(named(Container { step: bad, ..good }), "step_watts is -1, it must not be negative");
}

#[test]
fn a_lease_with_a_negative_quantity_or_a_curve_below_the_lowest_cap_is_refused() {
    let curve = caps();
    let named = |offer: LeaseOffer<'_>| Bid::flexible(&offer).unwrap_err().to_string();
    let whole = lease(LeaseDraw::Whole(Watts::new(9)));
    let bad = Usd::new(-1);
    assert_eq!(named(LeaseOffer { rent_per_hour: bad, ..whole }), "rent_per_hour is -1, it must not be negative");
    assert_eq!(named(LeaseOffer { credit_per_hour: bad, ..whole }), "credit_per_hour is -1, it must not be negative");
    let stop = UsdPerMwh::new(-1);
    assert_eq!(named(LeaseOffer { stop, ..whole }), "stop_usd_per_mwh is -1, it must not be negative");
    assert_eq!(named(lease(LeaseDraw::Whole(Watts::new(-9)))), "watts is -9, it must not be negative");
    assert_eq!(
        named(lease(LeaseDraw::Caps { gpus: 8, lowest_cap: Watts::new(400), curve: &curve })),
        "the curve starts at a cap of 300W, it must start at the lowest cap 400W or above"
    );
}

#[test]
fn a_container_bids_its_marginal_values_and_its_first_watts_bear_the_pumps() {
    // 28.68 USD/PH/day is 1.195 USD per PH and hour. First step: 7.6 PH for 182.5 kW of miners and 9 kW of pumps.
    let curve = s19j_pro();
    let got = Bid::miners(&container(&curve), own(Ppm::ZERO, UsdPerMwh::ZERO)).unwrap();
    let want = [segment(191_500, 47_425_587), segment(65_000, 29_415_384), segment(47_000, 20_340_425)];
    assert_eq!(got, bid(3_500, &want));
    let without =
        Bid::miners(&Container { overhead: Watts::ZERO, ..container(&curve) }, own(Ppm::ZERO, UsdPerMwh::ZERO));
    assert_eq!(without.unwrap().segments()[0], segment(182_500, 49_764_383));
}

#[test]
fn pool_fee_and_wear_come_off_and_round_down() {
    let curve = s19j_pro();
    let got = Bid::miners(&container(&curve), own(Ppm::percent(2), UsdPerMwh::dollars(30))).unwrap();
    let values: Vec<i64> = got.segments().iter().map(|s| s.value.get()).collect();
    // 0.98 × 47.425587 = 46.47707526; the last two are below what they wear out.
    assert_eq!(values, [16_477_075, -1_172_924, -10_066_384]);
}

#[test]
fn a_hosted_container_bids_what_its_contract_pays() {
    let curve = s19j_pro();
    let got = Bid::miners(&container(&curve), MiningValue::Hosted(UsdPerMwh::dollars(75))).unwrap();
    assert_eq!(got.segments().iter().map(|s| s.value).collect::<Vec<_>>(), [UsdPerMwh::dollars(75); 3]);
}

#[test]
fn a_thermal_floor_is_never_sold() {
    let curve = s19j_pro();
    let warm = Container { thermal_floor: Watts::new(100_000), ..container(&curve) };
    let got = Bid::miners(&warm, own(Ppm::ZERO, UsdPerMwh::ZERO)).unwrap();
    let want = [segment(95_000, 47_425_587), segment(65_000, 29_415_384), segment(47_000, 20_340_425)];
    assert_eq!(got, bid(100_000, &want));
    let hot = Container { thermal_floor: Watts::mega(1), ..container(&curve) };
    assert_eq!(Bid::miners(&hot, own(Ppm::ZERO, UsdPerMwh::ZERO)).unwrap(), bid(1_000_000, &[]));
}

#[test]
fn a_container_behind_one_breaker_is_one_block_at_its_mean_value() {
    let curve = s19j_pro();
    let switched = Container { one_piece: true, ..container(&curve) };
    let got = Bid::miners(&switched, own(Ppm::ZERO, UsdPerMwh::ZERO)).unwrap();
    // 10 PH × 1.195 USD over 303.5 kW is 39.373970 USD/MWh; the steps' own rounding took a millionth.
    assert_eq!(got, bid(3_500, &[stepped(303_500, 39_373_969, 303_500)]));
}

#[test]
fn a_container_without_miners_draws_its_standby() {
    let curve = s19j_pro();
    let empty = Container { miners: 0, ..container(&curve) };
    assert_eq!(Bid::miners(&empty, own(Ppm::ZERO, UsdPerMwh::ZERO)).unwrap(), bid(1_000, &[]));
}

#[test]
fn a_lease_without_caps_is_all_or_nothing_at_rent_credit_and_stop() {
    // 20 USD an hour over 4 kW are 5 000 USD/MWh, and 50 for the stop.
    let got = Bid::flexible(&lease(LeaseDraw::Whole(Watts::new(4_000)))).unwrap();
    assert_eq!(got, bid(2_800, &[stepped(4_000, 5_050_000_000, 4_000)]));
}

#[test]
fn a_lease_with_caps_gives_up_the_least_useful_watts_first_and_stops_last() {
    let curve = caps();
    let got = Bid::flexible(&lease(LeaseDraw::Caps { gpus: 8, lowest_cap: Watts::new(200), curve: &curve })).unwrap();
    let want = [
        // 58 % of 20 USD over 800 W, and the stop; then 18 %, 12 % and 12 % of it.
        stepped(800, 14_550_000_000, 800),
        segment(800, 4_500_000_000),
        segment(800, 3_000_000_000),
        segment(1_600, 1_500_000_000),
    ];
    assert_eq!(got, bid(2_800, &want));
}

#[test]
fn a_lease_that_may_run_at_the_must_run_cap_has_no_stop_to_offer() {
    let curve = caps();
    let got = Bid::flexible(&lease(LeaseDraw::Caps { gpus: 8, lowest_cap: Watts::new(300), curve: &curve })).unwrap();
    assert_eq!(
        got,
        bid(2_800, &[segment(800, 4_500_000_000), segment(800, 3_000_000_000), segment(1_600, 1_500_000_000)])
    );
    let none = Bid::flexible(&lease(LeaseDraw::Caps { gpus: 0, lowest_cap: Watts::new(300), curve: &curve })).unwrap();
    assert_eq!(none, bid(2_800, &[]));
}

#[test]
fn a_firm_lease_stands_a_rank_above() {
    let got = Bid::firm(&lease(LeaseDraw::Whole(Watts::new(4_000)))).unwrap();
    assert_eq!(got, bid(2_800, &[stepped(4_000, 5_050_000_000, 4_000)]).ranked(FIRM));
    let merit = got.merit(UsdPerMwh::dollars(-900_000));
    assert_eq!(merit, UsdPerMwh::dollars(750_000), "no value falls into the rank below");
    assert!(merit > bid(0, &[]).merit(UsdPerMwh::MAX));
}

#[test]
fn a_step_that_straddles_segments_is_worth_their_mean() {
    let got = bid(1, &[segment(5, 90), segment(2, 81), segment(4, 60), segment(3, 9)]).with_step(Watts::new(4));
    // 4 at 90; then 1 × 90, 2 × 81 and 1 × 60 are 78 each; then 3 × 60 and 1 × 9 are 47.25; 2 of 9 are left over.
    assert_eq!(got, bid(1, &[stepped(4, 90, 4), stepped(4, 78, 4), stepped(4, 47, 4)]));
}

#[test]
fn a_minimum_joins_the_first_watts_into_a_block() {
    let base = bid(1, &[segment(5, 90), segment(2, 80), segment(4, 60)]);
    let got = base.clone().with_minimum(Watts::new(6));
    assert_eq!(got, bid(1, &[stepped(6, 88, 6), segment(1, 80), segment(4, 60)]));
    let got = base.clone().with_step(Watts::new(2)).with_minimum(Watts::new(5));
    // 2 × 90, 2 × 90 and (90 + 80) ÷ 2 twice.
    assert_eq!(got, bid(1, &[stepped(6, 88, 6), stepped(2, 70, 2), stepped(2, 60, 2)]));
    assert_eq!(base.clone().with_minimum(Watts::new(99)), base.in_one_piece());
}

#[test]
fn a_stuck_device_raises_the_floor_to_a_whole_step_and_never_lowers_it() {
    let base = bid(1, &[segment(5, 90), segment(4, 60)]);
    assert_eq!(base.clone().raised_to(Watts::new(7)), bid(7, &[segment(3, 60)]));
    assert_eq!(base.clone().raised_to(Watts::new(20)), bid(20, &[]));
    assert_eq!(base.clone().raised_to(Watts::ZERO), base);
    let coarse = bid(1, &[stepped(4, 90, 2), stepped(4, 60, 4)]);
    assert_eq!(coarse.clone().raised_to(Watts::new(2)), bid(3, &[stepped(2, 90, 2), stepped(4, 60, 4)]));
    assert_eq!(coarse.raised_to(Watts::new(6)), bid(9, &[]));
}

#[test]
fn a_cap_on_the_award_cuts_to_a_whole_step_and_leaves_the_floor() {
    let base = bid(3, &[segment(5, 90), segment(4, 60)]);
    assert_eq!(base.clone().capped_at(Watts::new(9)), bid(3, &[segment(5, 90), segment(1, 60)]));
    assert_eq!(base.clone().capped_at(Watts::ZERO), bid(3, &[]));
    assert_eq!(base.capped_at(Watts::new(20)).most(), Watts::new(12));
    let coarse = bid(0, &[stepped(4, 90, 4), stepped(4, 60, 2), segment(1, 50)]);
    assert_eq!(coarse.clone().capped_at(Watts::new(7)), bid(0, &[stepped(4, 90, 4), stepped(2, 60, 2)]));
    assert_eq!(coarse.capped_at(Watts::new(3)), bid(0, &[]));
}

/// What the first `watts` above the floor are worth together, in millionths of a millionth of a dollar an hour.
fn worth(bid: &Bid, watts: i64) -> i64 {
    let mut left = watts;
    let mut sum = 0;
    for segment in bid.segments() {
        let taken = left.min(segment.watts.get());
        sum += taken * segment.value.get();
        left -= taken;
    }
    sum
}

proptest! {
    #[test]
    fn steps_and_minima_change_no_worth_but_by_rounding_down(
        segments in prop::collection::vec((1_i64..30, 0_i64..20), 1..6), step in 1_i64..9, minimum in 0_i64..40,
    ) {
        let mut value = 60;
        let segments: Vec<Segment> = segments
            .iter()
            .map(|(watts, drop)| {
                value -= drop;
                segment(*watts, value)
            })
            .collect();
        let base = bid(0, &segments);
        let got = base.clone().with_step(Watts::new(step)).with_minimum(Watts::new(minimum));
        prop_assert_eq!(got.most(), base.most().floor_to(Watts::new(step)));
        let mut at = 0;
        for segment in got.segments() {
            at += segment.watts.get();
            let lost = worth(&base, at) - worth(&got, at);
            prop_assert!((0..=2 * at).contains(&lost), "less than two millionths a watt, never a gain: {lost}");
        }
        // Still a bid: falling, and whole multiples of its steps.
        prop_assert_eq!(Bid::new(AT, Watts::ZERO, got.segments().to_vec()), Ok(got));
    }
}
