//! Merit order: a radix sort, since the keys are integers and ties must fall in list order.

/// Bits sorted by at a time: a table of counters that stays in the nearest cache.
const DIGIT: u32 = 11;

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
        self.spare.clear();
        self.spare.resize(self.entries.len(), Entry::default());
        let mut shift = 0;
        while shift < u64::BITS && furthest >> shift > 0 {
            self.pass(shift);
            shift += DIGIT;
        }
        self.entries.iter().map(|e| e.place)
    }

    /// Sorts by one digit and leaves entries that are equal in it as they stand.
    fn pass(&mut self, shift: u32) {
        let digit = |entry: &Entry| ((entry.below >> shift) & ((1 << DIGIT) - 1)) as usize;
        self.counters.clear();
        self.counters.resize(1 << DIGIT, 0);
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
