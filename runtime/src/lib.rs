//! Runtime side of the libraries that condensec emits: `no_std`, no allocation, no dependencies.
//!
//! The generated library carries its own switching code, emitted by the compiler for the target;
//! this crate holds the tables that describe it, so that generic code can drive any model.

#![no_std]
#![deny(missing_docs)]

pub mod abi;
