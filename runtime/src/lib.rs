//! Descriptor ABI of emitted libraries.
#![no_std]
