//! Merit order: a radix sort, since the keys are integers and ties must fall in list order.

/// Bits sorted by at a time, at most: a table of counters that stays in the nearest cache.
const DIGIT_MAX: u32 = 11;
/// So few are sorted by comparing: clearing the counters would take longer.
const FEW: usize = 200;
/// Bits more than it takes to count the keys, by which about one in a hundred falls together with another.
const TELLING: u32 = 6;
/// Bits at the low end of a merit that may be left to the last: below 2 US cents.
const NEAR: u32 = 14;

/// Sorts by falling merit, equal ones by place in the list. Keeps its tables between sorts.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// How far a merit lies below the highest, and in the low bits its place in the list.
    keys: Vec<u64>,
    spare: Vec<u64>,
    highest: i64,
    /// The low bits of a key that are its place; all where merits are left out.
    for_places: u32,
    /// How often each digit occurs, pass by pass.
    counters: Vec<u32>,
    /// Where keys and places do not fit in one word together.
    wide: Vec<(u64, u32)>,
}

impl Order {
    /// Sorts the places of `merits` in merit order.
    pub(super) fn sort(&mut self, merits: &[i64]) {
        let (highest, lowest) = merits.iter().fold((i64::MIN, i64::MAX), |(h, l), m| (h.max(*m), l.min(*m)));
        let for_merits = if merits.is_empty() { 0 } else { width(highest.abs_diff(lowest)) };
        let mut for_places = width(merits.len() as u64);
        let entries = merits.iter().zip(0_u32..).map(|(merit, place)| (highest.abs_diff(*merit), place));
        self.keys.clear();
        if for_places + for_merits > u64::BITS {
            for_places = u64::BITS;
            self.wide.clear();
            self.wide.extend(entries);
            self.wide.sort_unstable();
            self.keys.extend(self.wide.iter().map(|(_, place)| u64::from(*place)));
        } else {
            self.keys.extend(entries.map(|(below, place)| below << for_places | u64::from(place)));
            if merits.len() <= FEW {
                self.keys.sort_unstable();
            } else {
                self.by_digits(for_places, for_merits);
            }
        }
        (self.highest, self.for_places) = (highest, for_places);
    }

    /// What was sorted, from the one at `first` on: places in `merits`, each with its merit.
    pub(super) fn from(&self, first: usize, merits: &[i64]) -> impl ExactSizeIterator<Item = (u32, i64)> {
        let (highest, for_places) = (self.highest, self.for_places);
        let mask = u64::MAX.checked_shr(u64::BITS - for_places).unwrap_or(0);
        self.keys.get(first..).unwrap_or_default().iter().map(move |key| {
            let place = (key & mask) as u32;
            let there = || merits.get(place as usize).copied().unwrap_or_default();
            (place, key.checked_shr(for_places).map_or_else(there, |below| highest.wrapping_sub_unsigned(below)))
        })
    }

    /// Sorts the keys by the `bits` above `shift`.
    ///
    /// Few keys of merits that spread are told apart by fewer bits, and the others need not be looked at: what is left
    /// to do is little. Where it is not, merits lie so close that it takes all.
    fn by_digits(&mut self, shift: u32, bits: u32) {
        let telling = bits.min(width(self.keys.len() as u64) + TELLING);
        let rest = bits - telling;
        if rest <= NEAR && telling.div_ceil(DIGIT_MAX) < bits.div_ceil(DIGIT_MAX) {
            self.pass_by_pass(shift + rest, telling);
            if settle(&mut self.keys) {
                return;
            }
        }
        self.pass_by_pass(shift, bits);
    }

    /// As few passes as it takes, of digits as even as they come: short tables are cleared sooner. Keys that are alike
    /// in these bits stay as they stand.
    fn pass_by_pass(&mut self, shift: u32, bits: u32) {
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

/// Sorts keys that are nearly in order; answers whether it was few moves. If not, leaves them as they came to stand.
fn settle(keys: &mut [u64]) -> bool {
    let mut moves = keys.len() / 4;
    for last in 1..keys.len() {
        let mut at = last;
        while let Some([before, after]) = keys.get_mut(at.saturating_sub(1)..=at).filter(|_| moves > 0) {
            if *before <= *after {
                break;
            }
            std::mem::swap(before, after);
            (at, moves) = (at - 1, moves - 1);
        }
    }
    moves > 0
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
                let mut want: Vec<(u32, i64)> = (0..).zip(merits.iter().copied()).collect();
                want.sort_by_key(|(_, merit)| std::cmp::Reverse(*merit));
                order.sort(&merits);
                prop_assert_eq!(order.from(0, &merits).collect::<Vec<_>>(), want);
            }
        }
    }
}
