//! What `core` asks every program for, when the program is written in C.
//!
//! Nothing in this crate panics without `std`, so nothing leads here and linkers leave it out; but rustc makes no
//! static library without it.

use core::panic::PanicInfo;

#[panic_handler]
fn stop(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
