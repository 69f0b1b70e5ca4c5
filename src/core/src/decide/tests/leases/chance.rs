//! Notices and allowances over random prices.

use super::{granted, settled};
use crate::decide::tests::world::{contract, kw, minutes};
use crate::snapshot::Quote;
use crate::units::{Span, UsdPerMwh};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn over_random_price_days_no_notice_is_shorter_than_its_terms_and_no_allowance_overdrawn(
        prices in proptest::collection::vec((0_i64..3_000, 1_i64..90), 24),
        missing in proptest::collection::vec(0_u8..10, 24),
    ) {
        let mut world = settled(60);
        let mut before = granted(&world);
        for ((price, span), missing) in prices.into_iter().zip(missing) {
            world.price(price);
            if missing == 0 {
                world.snapshot.price = Quote::Missing;
            }
            for _ in 0..span * 6 {
                let noticed = contract(&world.snapshot.leases[0]).notice;
                world.run(Span::seconds(10), Span::seconds(10));
                let after = granted(&world);
                prop_assert_eq!(after[1], kw(8));
                if after[0] < before[0] {
                    let notice = noticed.expect("a grant falls by notice");
                    prop_assert!(notice.deadline.since(notice.given) >= minutes(10));
                    prop_assert!(world.snapshot.now >= notice.deadline);
                }
                before = after;
                let contract = contract(&world.snapshot.leases[0]);
                let account = contract.account_at(world.snapshot.now);
                prop_assert!(account.curtailed <= minutes(240), "{account:?}");
                prop_assert!(account.events <= 2 && account.emergency == Span::ZERO, "{account:?}");
                if let Some(running) = account.running {
                    prop_assert!(world.snapshot.now.since(running.since) <= minutes(180));
                }
            }
        }
    }

    #[test]
    fn a_price_that_wavers_calls_and_recalls_no_notice(
        centre in 1_000_i64..1_800,
        noise in proptest::collection::vec(-1_900_000_i64..1_900_000, 60),
    ) {
        let mut world = settled(60);
        world.price(centre);
        world.run(minutes(15), Span::seconds(1));
        let events = contract(&world.snapshot.leases[0]).account.events;
        let notice = contract(&world.snapshot.leases[0]).notice;
        for wave in noise {
            let value = UsdPerMwh::dollars(centre) + UsdPerMwh::new(wave);
            world.snapshot.price = Quote::Fresh { value, since: world.snapshot.now };
            world.run(Span::seconds(1), Span::seconds(1));
        }
        let after = contract(&world.snapshot.leases[0]);
        prop_assert!(after.account.events <= events + 1);
        prop_assert!(notice.is_none() || after.notice == notice);
    }
}
