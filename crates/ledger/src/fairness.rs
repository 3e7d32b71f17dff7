//! Fairness between owners: whose turn it is, and what that means for a place in the queue.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// An owner with jobs that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnerQueue<O> {
    /// Who.
    pub owner: O,
    /// Jobs waiting.
    pub queued: u32,
    /// Jobs running.
    pub running: u32,
    /// When the last one was taken, as a count that grows; 0 for never.
    pub turn: i64,
}

impl<O: Ord + Clone> OwnerQueue<O> {
    /// The least comes first: who has the fewest running, then whose turn is longest ago.
    pub(crate) fn rank(&self) -> (u32, i64, O) {
        (self.running, self.turn, self.owner.clone())
    }
}

/// How many jobs are taken before the one that has `earlier` waiting jobs of the same `owner` before it, if none ends
/// and none is accepted until then. Found by doing it: the queue is bounded, and so is this.
pub(crate) fn jobs_ahead<O: Ord + Clone>(owners: &[OwnerQueue<O>], owner: &O, earlier: u32) -> u64 {
    let mut turn = owners.iter().map(|waiting| waiting.turn).max().unwrap_or(0);
    let ranked = |(i, waiting): (usize, &OwnerQueue<O>)| Reverse((waiting.rank(), waiting.queued, i));
    let mut line: BinaryHeap<_> =
        owners.iter().enumerate().filter(|(_, waiting)| waiting.queued > 0).map(ranked).collect();
    let (mut taken, mut own) = (0, earlier);
    while let Some(Reverse(((running, _, name), queued, i))) = line.pop() {
        if name == *owner {
            if own == 0 {
                break;
            }
            own -= 1;
        }
        (taken, turn) = (taken + 1, turn + 1);
        if queued > 1 {
            line.push(Reverse(((running + 1, turn, name), queued - 1, i)));
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(owner: &str, queued: u32, running: u32, turn: i64) -> OwnerQueue<&str> {
        OwnerQueue { owner, queued, running, turn }
    }

    #[test]
    fn owners_take_turns() {
        let owners = [waiting("many", 1_000, 0, 0), waiting("one", 1, 0, 0)];
        assert_eq!(jobs_ahead(&owners, &"one", 0), 1);
        assert_eq!(jobs_ahead(&owners, &"many", 0), 0);
        assert_eq!(jobs_ahead(&owners, &"many", 1), 2);
        assert_eq!(jobs_ahead(&owners, &"many", 999), 1_000);
    }

    #[test]
    fn who_runs_less_comes_first() {
        let owners = [waiting("a", 10, 3, 1), waiting("b", 2, 1, 9), waiting("c", 5, 1, 8)];
        assert_eq!(jobs_ahead(&owners, &"c", 0), 0);
        assert_eq!(jobs_ahead(&owners, &"b", 0), 1);
        // b and c have two more to take each, and c's third comes as b has none left, before a's turn is older.
        assert_eq!(jobs_ahead(&owners, &"a", 0), 4);
    }

    #[test]
    fn no_one_else_means_ones_own_order() {
        assert_eq!(jobs_ahead(&[waiting("a", 10, 4, 7)], &"a", 9), 9);
    }
}
