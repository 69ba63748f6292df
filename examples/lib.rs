//! Example programs of condensec, and the networks that its tests and measurements use.

#![deny(missing_docs)]

pub mod model_zoo;
