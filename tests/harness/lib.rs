//! Test support shared by the runners.
