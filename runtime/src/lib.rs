//! Runtime side of the libraries that condensec emits: `no_std`, no allocation, no dependencies.
//!
//! The generated library carries its own switching code, emitted by the compiler for the target; this crate
//! holds the tables that describe it, so that generic code can drive any model, the governor that chooses
//! levels for it, and the policy of runs that must end in time. The library itself starts no threads: it
//! hands tasks to whatever the caller brings. For callers with an operating system and nothing of
//! their own, the feature `std` adds a thread pool, and what Linux says of clock frequencies.

#![no_std]
#![deny(missing_docs)]

#[cfg(feature = "std")]
extern crate std;

pub mod abi;
#[cfg(all(feature = "std", target_os = "linux"))]
pub mod cpufreq;
pub mod deadline;
pub mod governor;
#[cfg(all(feature = "panic-handler", not(feature = "std"), not(test)))]
mod panic_handler;
#[cfg(all(feature = "std", target_has_atomic = "64"))]
pub mod pool;
