//! How the work of a step is cut into tasks.
//!
//! A task is what one thread does at a time: long enough to be worth handing over, and of about the
//! same cost as the others, since a caller may deal them in equal numbers. Plain loops give every
//! task equally many pieces. Lists differ in length from group to group and from level to level, so
//! each level gets ranges of groups of its own, cut where its entries are.

/// Work that one task should have at least, in elements copied or cycles: 1 to 2 us, where handing
/// over costs 0.3 us.
const MIN_TASK_WORK: usize = 4096;

/// More tasks than this do not balance any better.
const MAX_TASKS: usize = 64;

/// Tasks that `work` is worth; at least one.
pub(super) fn n_tasks(work: usize) -> usize {
    (work / MIN_TASK_WORK).clamp(1, MAX_TASKS)
}

/// Equal pieces per task, so that `n_pieces` become about as many tasks as `work` is worth.
pub(super) fn pieces_per_task(n_pieces: usize, work: usize) -> usize {
    n_pieces.div_ceil(n_tasks(work)).max(1)
}

/// Cuts pieces of these `costs` into `n` ranges of about equal cost: where each begins, and the end.
/// Ranges may be empty.
pub(super) fn balanced_ranges(costs: &[u64], n: usize) -> Vec<u32> {
    let total: u128 = costs.iter().map(|&c| u128::from(c)).sum();
    let mut edges = vec![0];
    let (mut at, mut before) = (0, 0u128);
    for i in 1..n as u128 {
        // A piece belongs to the range in which its middle lies; compared in units of 1/2n.
        let edge = 2 * i * total;
        while at < costs.len() && (2 * before + u128::from(costs[at])) * (n as u128) < edge {
            before += u128::from(costs[at]);
            at += 1;
        }
        edges.push(at as u32);
    }
    edges.push(costs.len() as u32);
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_work_is_one_task() {
        assert_eq!([0, 4096, 8191].map(n_tasks), [1; 3]);
        assert_eq!(n_tasks(8192), 2);
        assert_eq!(n_tasks(usize::MAX), MAX_TASKS);
        assert_eq!(pieces_per_task(512, 100), 512);
        assert_eq!(pieces_per_task(512, 3 * 4096), 171);
        assert_eq!(pieces_per_task(5, 1 << 30), 1);
        assert_eq!(pieces_per_task(0, 0), 1);
    }

    #[test]
    fn equal_costs_give_equal_ranges() {
        assert_eq!(balanced_ranges(&[7; 8], 4), [0, 2, 4, 6, 8]);
        assert_eq!(balanced_ranges(&[7; 8], 1), [0, 8]);
        assert_eq!(balanced_ranges(&[1; 10], 4), [0, 2, 5, 7, 10]);
        assert_eq!(balanced_ranges(&[], 3), [0, 0, 0, 0]);
        assert_eq!(balanced_ranges(&[1, 1], 4), [0, 0, 1, 1, 2]);
    }

    #[test]
    fn unequal_costs_move_the_edges() {
        assert_eq!(balanced_ranges(&[1, 1, 1, 1, 4], 2), [0, 4, 5]);
        assert_eq!(balanced_ranges(&[9, 1, 1, 1], 2), [0, 1, 4]);
        assert_eq!(balanced_ranges(&[0, 0, 5, 0, 5], 2), [0, 3, 5]);
        assert_eq!(balanced_ranges(&[u64::MAX; 4], 2), [0, 2, 4]);
    }

    /// No range costs more than its share and one piece.
    #[test]
    fn ranges_are_as_equal_as_pieces_allow() {
        let costs: Vec<u64> = (0..97).map(|i| 20 + i * i % 37).collect();
        let total: u64 = costs.iter().sum();
        let largest = costs.iter().max().unwrap();
        for n in 1..20 {
            let edges = balanced_ranges(&costs, n);
            assert!(edges.len() == n + 1 && edges.is_sorted());
            for range in edges.windows(2) {
                let cost: u64 = costs[range[0] as usize..range[1] as usize].iter().sum();
                assert!(cost <= total / n as u64 + largest, "{n} ranges: {cost}");
            }
        }
    }
}
