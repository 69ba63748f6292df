//! Storage formats of sparse weights.

pub mod prefix_lists;
