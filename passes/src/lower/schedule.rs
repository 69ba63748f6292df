//! How a convolution over lists runs at one level, beyond what all levels share.
//!
//! Layouts, lists and tile widths are common to all levels; the order of the work is not. How it goes through the
//! blocks of lists follows from what the level keeps (`list_blocks`); for the rest the cost
//! model picks the best of a few candidates per layer and level, unless a [`Schedules`] table, from
//! measurements on the device, says otherwise. Text form: `stored/1`, `stored+prefetch/8`,
//! `by-column/4`: the order of entries, whether lists are asked for ahead, and into how many parts the
//! rows are cut.

use condensec_ir::LevelId;
use indexmap::IndexMap;
use std::fmt;
use std::str::FromStr;

/// How a kernel finds the weights of an input channel (and tap).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryOrder {
    /// Row groups of the lists are the kernel's; entries run in the order in which they are stored.
    Stored,
    /// The lists have single rows, all of which keep every column: the kernel takes the columns in
    /// order and looks up where each of its rows stores the value. So an unstructured weight runs at
    /// the speed of a blocked one at a level that prunes nothing.
    ByColumn,
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Schedule {
    /// Order of a list's entries.
    pub order: EntryOrder,
    /// Whether a list asks the caches for the next ones: for weights that come from afar. Sparse
    /// levels jump from prefix to prefix, which hardware does not foresee.
    pub prefetches: bool,
    /// Parts of the rows: tasks for threads, where there are few tiles.
    pub n_parts: usize,
}

/// Schedules that replace the cost model's choice, by node and level.
#[derive(Debug, Clone, Default)]
pub struct Schedules {
    by_node: IndexMap<String, Vec<Option<Schedule>>>,
    all: Option<Schedule>,
}

impl Schedules {
    /// The same for every layer that can run so.
    pub fn uniform(schedule: Schedule) -> Self {
        Self {
            by_node: IndexMap::new(),
            all: Some(schedule),
        }
    }

    /// Sets the schedules of a node, L0 first.
    pub fn set(&mut self, node: &str, by_level: Vec<Option<Schedule>>) {
        self.by_node.insert(node.to_string(), by_level);
    }

    /// What the table says of a node at a level.
    pub fn get(&self, node: &str, level: LevelId) -> Option<Schedule> {
        let own = self.by_node.get(node);
        let own = own.and_then(|levels| *levels.get(level.0 as usize)?);
        own.or(self.all)
    }

    /// Nodes with schedules of their own.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &[Option<Schedule>])> {
        self.by_node
            .iter()
            .map(|(node, levels)| (node.as_str(), levels.as_slice()))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match (self.order, self.prefetches) {
            (EntryOrder::Stored, false) => "stored",
            (EntryOrder::Stored, true) => "stored+prefetch",
            // It always looks ahead.
            (EntryOrder::ByColumn, _) => "by-column",
        };
        write!(f, "{order}/{}", self.n_parts)
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("\"{text}\" is no schedule; one is stored/N, stored+prefetch/N or by-column/N")
        };
        let (order, n_parts) = text.split_once('/').ok_or_else(wrong)?;
        let (order, prefetches) = match order {
            "stored" => (EntryOrder::Stored, false),
            "stored+prefetch" => (EntryOrder::Stored, true),
            "by-column" => (EntryOrder::ByColumn, true),
            _ => return Err(wrong()),
        };
        match n_parts.parse() {
            Ok(n_parts) if n_parts > 0 => Ok(Self {
                order,
                prefetches,
                n_parts,
            }),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_comes_back() {
        for text in ["stored/1", "stored+prefetch/16", "by-column/3"] {
            assert_eq!(text.parse::<Schedule>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "stored",
            "stored/0",
            "stored/x",
            "packed/1",
            "by-column/-1",
        ] {
            assert!(wrong.parse::<Schedule>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_node_of_its_own_goes_before_all() {
        let all = "stored/1".parse().unwrap();
        let own = "stored+prefetch/2".parse().unwrap();
        let mut schedules = Schedules::uniform(all);
        schedules.set("conv", vec![None, Some(own)]);
        assert_eq!(schedules.get("conv", LevelId(0)), Some(all));
        assert_eq!(schedules.get("conv", LevelId(1)), Some(own));
        assert_eq!(schedules.get("conv", LevelId(2)), Some(all));
        assert_eq!(Schedules::default().get("conv", LevelId(0)), None);
    }
}
