//! Fair scheduling between owners: which owner's job is claimed next, and the queue position that results.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The queue of one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerQueue<O> {
    /// The owner.
    pub owner: O,
    /// The number of queued jobs.
    pub queued: u32,
    /// The number of running jobs.
    pub running: u32,
    /// The value of a counter of claims when one of this owner's jobs was last claimed; 0 for never.
    pub turn: i64,
}

impl<O: Ord + Clone> OwnerQueue<O> {
    /// The sort key, lowest first: the fewest running jobs, then the oldest turn.
    pub fn rank(&self) -> (u32, i64, O) {
        (self.running, self.turn, self.owner.clone())
    }
}

/// The number of jobs that are claimed before a job with `earlier` older queued jobs of the same `owner`, if
/// no job ends and no job is accepted in the meantime. This simulates the claims; the length of the queue
/// bounds the effort.
pub fn jobs_ahead<O: Ord + Clone>(owners: &[OwnerQueue<O>], owner: &O, earlier: u32) -> u64 {
    let mut turn = owners.iter().map(|queue| queue.turn).max().unwrap_or(0);
    let ranked = |(i, queue): (usize, &OwnerQueue<O>)| Reverse((queue.rank(), queue.queued, i));
    let mut heap: BinaryHeap<_> =
        owners.iter().enumerate().filter(|(_, queue)| queue.queued > 0).map(ranked).collect();
    let (mut claimed, mut earlier_left) = (0, earlier);
    while let Some(Reverse(((running, _, name), queued, i))) = heap.pop() {
        if name == *owner {
            if earlier_left == 0 {
                break;
            }
            earlier_left -= 1;
        }
        (claimed, turn) = (claimed + 1, turn + 1);
        if queued > 1 {
            heap.push(Reverse(((running + 1, turn, name), queued - 1, i)));
        }
    }
    claimed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(owner: &str, queued: u32, running: u32, turn: i64) -> OwnerQueue<&str> {
        OwnerQueue { owner, queued, running, turn }
    }

    #[test]
    fn owners_take_turns() {
        let owners = [queue("many", 1_000, 0, 0), queue("one", 1, 0, 0)];
        assert_eq!(jobs_ahead(&owners, &"one", 0), 1);
        assert_eq!(jobs_ahead(&owners, &"many", 0), 0);
        assert_eq!(jobs_ahead(&owners, &"many", 1), 2);
        assert_eq!(jobs_ahead(&owners, &"many", 999), 1_000);
    }

    #[test]
    fn the_owner_with_fewer_running_jobs_comes_first() {
        let owners = [queue("a", 10, 3, 1), queue("b", 2, 1, 9), queue("c", 5, 1, 8)];
        assert_eq!(jobs_ahead(&owners, &"c", 0), 0);
        assert_eq!(jobs_ahead(&owners, &"b", 0), 1);
        // b and c are claimed twice each. Then b has no jobs left, and c has as many running jobs as a, but
        // its turn is newer.
        assert_eq!(jobs_ahead(&owners, &"a", 0), 4);
    }

    #[test]
    fn a_single_owner_keeps_its_order() {
        assert_eq!(jobs_ahead(&[queue("a", 10, 4, 7)], &"a", 9), 9);
    }
}
