//! What the tests of this crate share: small programs, and running them as machine code.

#![allow(dead_code)]

pub mod agreement;
pub mod bare_metal;
pub mod c_code;
pub mod compilers;
pub mod loaded;
pub mod loops;
pub mod micro_kernel;
pub mod programs;
pub mod run_on;
pub mod scale;
