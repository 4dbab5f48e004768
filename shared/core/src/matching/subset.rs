//! Which candidates sum to the amount: proves that one explanation is the only one, and stops at the second.

use crate::money::Minor;

/// A group of candidates that explain the same thing: equal open amounts of the same client (rule 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// The open amount of each, positive.
    pub open: Minor,
    /// How many there are.
    pub count: usize,
}

/// How many of each group are taken, in the order of the groups.
pub type Explanation = Vec<usize>;

/// The explanations of `amount`, at most `most` of them: each a different number taken from some group.
///
/// Meet in the middle: with 24 candidates no half has more than 4,096 sums, so the proof that there is none is as fast as any.
#[must_use]
pub fn explanations(groups: &[Group], amount: Minor, most: usize) -> Vec<Explanation> {
    let (left, right) = halves(groups);
    let left_sums = sums(&left, amount);
    let mut right_sums = sums(&right, amount);
    right_sums.sort_by_key(|(sum, _)| *sum);
    let mut found = Vec::new();
    for (sum, taken) in &left_sums {
        let rest = amount.minus(*sum);
        let first = right_sums.partition_point(|(s, _)| *s < rest);
        for (_, others) in right_sums.iter().skip(first).take_while(|(s, _)| *s == rest) {
            found.push(merge(groups.len(), (&left, taken), (&right, others)));
            if found.len() >= most {
                return found;
            }
        }
    }
    found
}

/// Groups with their places.
type Placed = Vec<(usize, Group)>;

/// The groups with their places, dealt into two halves with about equally many sums each.
fn halves(groups: &[Group]) -> (Placed, Placed) {
    let mut order: Placed = groups.iter().copied().enumerate().collect();
    order.sort_by_key(|(_, g)| std::cmp::Reverse(g.count));
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let (mut left_size, mut right_size) = (1_usize, 1_usize);
    for (place, group) in order {
        let ways = group.count.saturating_add(1);
        if left_size <= right_size {
            left_size = left_size.saturating_mul(ways);
            left.push((place, group));
        } else {
            right_size = right_size.saturating_mul(ways);
            right.push((place, group));
        }
    }
    (left, right)
}

/// Every sum of a half that does not exceed the amount, with how many of each group make it.
fn sums(half: &[(usize, Group)], amount: Minor) -> Vec<(Minor, Vec<u8>)> {
    let mut all: Vec<(Minor, Vec<u8>)> = vec![(Minor::ZERO, Vec::new())];
    for (_, group) in half {
        let mut next = Vec::with_capacity(all.len().saturating_mul(2));
        for (sum, taken) in &all {
            let mut total = *sum;
            for n in 0..=u8::try_from(group.count).unwrap_or(u8::MAX) {
                if n > 0 {
                    total = total.plus(group.open);
                }
                if total > amount {
                    break;
                }
                let mut with = taken.clone();
                with.push(n);
                next.push((total, with));
            }
        }
        all = next;
    }
    all
}

type Half<'a> = (&'a [(usize, Group)], &'a [u8]);

fn merge(groups: usize, a: Half<'_>, b: Half<'_>) -> Explanation {
    let mut out = vec![0; groups];
    for (half, taken) in [a, b] {
        for ((place, _), n) in half.iter().zip(taken) {
            if let Some(slot) = out.get_mut(*place) {
                *slot = usize::from(*n);
            }
        }
    }
    out
}
