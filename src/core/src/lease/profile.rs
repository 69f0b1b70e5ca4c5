//! One promised amount over time, as [`super::book`] keeps it.

use crate::units::Time;

/// An amount over time: a segment tree with range addition and range maximum. Leaf 0 is all time before the first
/// moment; leaf i lasts from moment i − 1 to moment i.
#[derive(Clone, Debug, Default)]
pub(super) struct Profile {
    moments: Vec<Time>,
    leaves: usize,
    /// By tree node (1 is the root): the most below it, its own addition included.
    most: Vec<i64>,
    /// By tree node: what was added to all below it.
    added: Vec<i64>,
}

impl Profile {
    /// `steps`: changes of the amount, by time.
    pub(super) fn new(steps: &[(Time, i64)]) -> Self {
        let mut moments: Vec<Time> = Vec::with_capacity(steps.len());
        let mut levels = vec![0_i64];
        for (time, change) in steps {
            let level = levels.last().copied().unwrap_or_default();
            if moments.last() != Some(time) {
                moments.push(*time);
                levels.push(level);
            }
            if let Some(last) = levels.last_mut() {
                *last = last.saturating_add(*change);
            }
        }
        let leaves = levels.len().next_power_of_two();
        let mut most = vec![0; leaves];
        levels.resize(leaves, 0);
        most.append(&mut levels);
        for place in (1..leaves).rev() {
            let above = get(&most, 2 * place).max(get(&most, 2 * place + 1));
            if let Some(slot) = most.get_mut(place) {
                *slot = above;
            }
        }
        Self { moments, leaves, added: vec![0; 2 * leaves], most }
    }

    /// The leaves that [from, to) touches.
    fn range(&self, from: Time, to: Time) -> (usize, usize) {
        (self.moments.partition_point(|at| *at <= from), self.moments.partition_point(|at| *at < to) + 1)
    }

    pub(super) fn most(&self, from: Time, to: Time) -> i64 {
        if from >= to {
            return 0;
        }
        self.most_in((1, 0, self.leaves), self.range(from, to)).unwrap_or_default()
    }

    fn most_in(&self, (place, low, high): (usize, usize, usize), range: (usize, usize)) -> Option<i64> {
        if range.1 <= low || high <= range.0 {
            return None;
        }
        if range.0 <= low && high <= range.1 {
            return Some(get(&self.most, place));
        }
        let middle = usize::midpoint(low, high);
        let left = self.most_in((2 * place, low, middle), range);
        let right = self.most_in((2 * place + 1, middle, high), range);
        left.max(right).map(|most| most.saturating_add(get(&self.added, place)))
    }

    pub(super) fn add(&mut self, from: Time, to: Time, amount: i64) {
        if from < to {
            self.add_in((1, 0, self.leaves), self.range(from, to), amount);
        }
    }

    fn add_in(&mut self, (place, low, high): (usize, usize, usize), range: (usize, usize), amount: i64) {
        if range.1 <= low || high <= range.0 {
            return;
        }
        if range.0 <= low && high <= range.1 {
            for list in [&mut self.most, &mut self.added] {
                if let Some(slot) = list.get_mut(place) {
                    *slot = slot.saturating_add(amount);
                }
            }
            return;
        }
        let middle = usize::midpoint(low, high);
        self.add_in((2 * place, low, middle), range, amount);
        self.add_in((2 * place + 1, middle, high), range, amount);
        let below = get(&self.most, 2 * place).max(get(&self.most, 2 * place + 1));
        let most = below.saturating_add(get(&self.added, place));
        if let Some(slot) = self.most.get_mut(place) {
            *slot = most;
        }
    }

    /// The end of the last stretch in [from, to) in which the amount is above `limit`.
    pub(super) fn last_over(&self, from: Time, to: Time, limit: i64) -> Option<Time> {
        let leaf = self.last_in((1, 0, self.leaves), self.range(from, to), limit)?;
        Some(self.moments.get(leaf).copied().unwrap_or(Time::MAX))
    }

    fn last_in(&self, (place, low, high): (usize, usize, usize), range: (usize, usize), limit: i64) -> Option<usize> {
        if range.1 <= low || high <= range.0 || get(&self.most, place) <= limit {
            return None;
        }
        if high - low == 1 {
            return Some(low);
        }
        let (middle, limit) = (usize::midpoint(low, high), limit.saturating_sub(get(&self.added, place)));
        self.last_in((2 * place + 1, middle, high), range, limit)
            .or_else(|| self.last_in((2 * place, low, middle), range, limit))
    }
}

fn get(list: &[i64], place: usize) -> i64 {
    list.get(place).copied().unwrap_or_default()
}
