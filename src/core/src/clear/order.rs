//! Merit order: a radix sort, since the keys are integers and ties must fall in list order.

/// Bits sorted by at a time, at most: a table of counters that stays in the nearest cache.
const DIGIT_MAX: u32 = 11;
/// So few are sorted by comparing: clearing the counters would take longer.
const FEW: usize = 200;

/// Sorts by falling merit, equal ones by place in the list. Keeps its tables between sorts.
#[derive(Debug, Default)]
pub(super) struct Order {
    entries: Vec<Entry>,
    spare: Vec<Entry>,
    counters: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// How far its merit lies below the highest.
    below: u64,
    place: u32,
}

impl Order {
    /// The places of `merits` in merit order.
    pub(super) fn sort(&mut self, merits: impl Iterator<Item = i64> + Clone) -> impl Iterator<Item = u32> {
        let highest = merits.clone().max().unwrap_or_default();
        self.entries.clear();
        self.entries.extend(merits.zip(0..).map(|(merit, place)| Entry { below: highest.abs_diff(merit), place }));
        let furthest = self.entries.iter().map(|e| e.below).max().unwrap_or_default();
        if self.entries.len() <= FEW {
            self.entries.sort_unstable_by_key(|e| (e.below, e.place));
        } else {
            self.spare.clear();
            self.spare.resize(self.entries.len(), Entry::default());
            // As few passes as it takes, of digits as even as they come: short tables are cleared sooner.
            let bits = u64::BITS - furthest.leading_zeros();
            let passes = bits.div_ceil(DIGIT_MAX);
            let digit = bits.div_ceil(passes.max(1));
            (0..passes).for_each(|pass| self.pass(pass * digit, digit));
        }
        self.entries.iter().map(|e| e.place)
    }

    /// Sorts by one digit and leaves entries that are equal in it as they stand.
    fn pass(&mut self, shift: u32, bits: u32) {
        let digit = |entry: &Entry| ((entry.below >> shift) & ((1 << bits) - 1)) as usize;
        self.counters.clear();
        self.counters.resize(1 << bits, 0);
        for entry in &self.entries {
            if let Some(counter) = self.counters.get_mut(digit(entry)) {
                *counter += 1;
            }
        }
        let mut start = 0;
        for counter in &mut self.counters {
            start += std::mem::replace(counter, start);
        }
        for entry in &self.entries {
            let Some(counter) = self.counters.get_mut(digit(entry)) else { continue };
            if let Some(spare) = self.spare.get_mut(*counter as usize) {
                *spare = *entry;
            }
            *counter += 1;
        }
        std::mem::swap(&mut self.entries, &mut self.spare);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_order_is_that_of_a_plain_stable_sort(
            runs in prop::collection::vec(prop::collection::vec(
                prop_oneof![-3..3_i64, any::<i32>().prop_map(i64::from), any::<i64>()], 0..200), 1..3),
        ) {
            let mut order = Order::default();
            for merits in runs {
                let mut want: Vec<u32> = (0..merits.len() as u32).collect();
                want.sort_by_key(|place| std::cmp::Reverse(merits[*place as usize]));
                prop_assert_eq!(order.sort(merits.iter().copied()).collect::<Vec<_>>(), want);
            }
        }
    }
}
