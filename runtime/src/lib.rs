//! Runtime side of the libraries that condensec emits: `no_std`, no allocation, no dependencies.
//!
//! The generated library carries its own switching code, emitted by the compiler for the target; this crate
//! holds the tables that describe it, so that generic code can drive any model, and the policy of runs that must
//! end in time. The library itself starts no threads: it hands tasks to whatever the caller brings. For
//! callers with an operating system and nothing of their own, the feature `std` adds a thread pool.

#![no_std]
#![deny(missing_docs)]

#[cfg(feature = "std")]
extern crate std;

pub mod abi;
pub mod deadline;
#[cfg(all(feature = "std", target_has_atomic = "64"))]
pub mod pool;
