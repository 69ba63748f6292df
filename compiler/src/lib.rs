//! The compiler as a library: front end, driver and command line.

pub mod frontend;
