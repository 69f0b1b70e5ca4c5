//! Merit order: a radix sort, since the keys are integers and ties must fall in list order.

/// Bits sorted by at a time, at most: a table of counters that stays in the nearest cache.
const DIGIT_MAX: u32 = 11;
/// So few are sorted by comparing: clearing the counters would take longer.
const FEW: usize = 200;

/// Sorts by falling merit, equal ones by place in the list. Keeps its tables between sorts.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// How far a merit lies below the highest, and in the low bits its place in the list.
    keys: Vec<u64>,
    spare: Vec<u64>,
    /// How often each digit occurs, pass by pass.
    counters: Vec<u32>,
    /// Where keys and places do not fit in one word together.
    wide: Vec<(u64, u32)>,
}

impl Order {
    /// The places of `merits` in merit order.
    pub(super) fn sort(&mut self, merits: impl Iterator<Item = i64> + Clone) -> impl Iterator<Item = u32> {
        let (mut count, mut highest, mut lowest) = (0_usize, i64::MIN, i64::MAX);
        for merit in merits.clone() {
            (count, highest, lowest) = (count + 1, highest.max(merit), lowest.min(merit));
        }
        let for_places = width(count as u64);
        let for_merits = if count == 0 { 0 } else { width(highest.abs_diff(lowest)) };
        let entries = merits.zip(0_u32..).map(|(merit, place)| (highest.abs_diff(merit), place));
        self.keys.clear();
        let mut mask = u64::MAX;
        if for_places + for_merits > u64::BITS {
            self.wide.clear();
            self.wide.extend(entries);
            self.wide.sort_unstable();
            self.keys.extend(self.wide.iter().map(|(_, place)| u64::from(*place)));
        } else {
            mask = (1 << for_places) - 1;
            self.keys.extend(entries.map(|(below, place)| below << for_places | u64::from(place)));
            if count <= FEW {
                self.keys.sort_unstable();
            } else {
                self.by_digits(for_places, for_merits);
            }
        }
        self.keys.iter().map(move |key| (key & mask) as u32)
    }

    /// Sorts the keys by the `bits` above `shift`. As few passes as it takes, of digits as even as they come: short
    /// tables are cleared sooner.
    fn by_digits(&mut self, shift: u32, bits: u32) {
        let passes = bits.div_ceil(DIGIT_MAX);
        let digit = bits.div_ceil(passes.max(1));
        let size = 1_usize << digit;
        self.spare.resize(self.keys.len(), 0);
        self.counters.clear();
        self.counters.resize(size * passes as usize, 0);
        for (table, pass) in self.counters.chunks_exact_mut(size).zip(0..) {
            let shift = shift + pass * digit;
            for key in &self.keys {
                if let Some(counter) = table.get_mut((key >> shift) as usize & (size - 1)) {
                    *counter += 1;
                }
            }
            // All alike in this digit, as between ranks: nothing would move.
            if table.iter().any(|count| *count as usize == self.keys.len()) {
                continue;
            }
            distribute(&self.keys, &mut self.spare, table, shift);
            std::mem::swap(&mut self.keys, &mut self.spare);
        }
    }
}

/// Moves `keys` to `into` in order of the digit at `shift`; those equal in it stay as they stand.
fn distribute(keys: &[u64], into: &mut [u64], counters: &mut [u32], shift: u32) {
    let mut start = 0;
    for counter in counters.iter_mut() {
        start += std::mem::replace(counter, start);
    }
    let mask = counters.len().saturating_sub(1);
    for key in keys {
        let Some(counter) = counters.get_mut((key >> shift) as usize & mask) else { continue };
        if let Some(free) = into.get_mut(*counter as usize) {
            *free = *key;
        }
        *counter += 1;
    }
}

/// The bits that it takes to write `number`.
fn width(number: u64) -> u32 {
    u64::BITS - number.leading_zeros()
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
