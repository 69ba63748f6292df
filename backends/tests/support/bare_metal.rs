//! What a C program for the boards mps2-an386 and mps2-an500 needs beside a C compiler: vectors, the
//! floating-point unit switched on, a memory map. Input and output go through semihosting.

use std::path::Path;

/// Code and constants in the first memory, which stands for flash; it is read-only to the program.
const MEMORY: &str = "
ENTRY(reset)
MEMORY
{
  flash (rx) : ORIGIN = 0x00000000, LENGTH = 4M
  ram (rw) : ORIGIN = 0x20000000, LENGTH = 4M
}
SECTIONS
{
  .text : {
    KEEP(*(.vectors)) KEEP(*(.init)) KEEP(*(.fini))
    *(.text .text.*) *(.rodata .rodata.*)
  } > flash
  .ARM.extab : { *(.ARM.extab*) } > flash
  .ARM.exidx : { __exidx_start = .; *(.ARM.exidx*) __exidx_end = .; } > flash
  .data : {
    *(.data .data.*)
    . = ALIGN(4);
    __preinit_array_start = .; *(.preinit_array*) __preinit_array_end = .;
    __init_array_start = .; *(.init_array*) __init_array_end = .;
    __fini_array_start = .; *(.fini_array*) __fini_array_end = .;
  } > ram
  .bss : { __bss_start__ = .; *(.bss .bss.* COMMON) __bss_end__ = .; } > ram
  end = .;
  __end__ = .;
  stack_top = ORIGIN(ram) + LENGTH(ram);
}
";

const START: &str = r#"
extern unsigned char stack_top[];

/* Switches the floating-point unit on (CPACR), then goes to newlib's own start. */
__attribute__((noreturn)) void reset(void)
{
    *(volatile unsigned *)0xe000ed88u |= 0xfu << 20;
    __asm__ volatile (
        "dsb\n"
        "isb\n"
        "b _start\n");
    __builtin_unreachable();
}

__attribute__((section(".vectors"), used))
const struct { void *stack; void (*reset)(void); } vectors = { stack_top, reset };
"#;

/// Writes what it takes into `folder`; the options that link it.
pub fn link_options(folder: &Path) -> Vec<String> {
    let [memory, start] = ["memory.ld", "start.c"].map(|name| folder.join(name));
    std::fs::write(&memory, MEMORY).unwrap();
    std::fs::write(&start, START).unwrap();
    vec![
        "--specs=rdimon.specs".into(),
        format!("-Wl,-T,{}", memory.display()),
        "-x".into(),
        "c".into(),
        start.display().to_string(),
        "-x".into(),
        "none".into(),
    ]
}
