/* What runs before main: vectors, the floating-point unit, variables. Without interrupts, the
 * vectors that matter are reset and fault. */
#include <stddef.h>
#include <stdint.h>

extern unsigned char stack_top[];
extern unsigned char data_begin[], data_end[], bss_begin[], bss_end[];
extern const unsigned char data_values[];

int main(void);

__attribute__((noreturn)) void reset(void)
{
    /* Full access to coprocessors 10 and 11 in CPACR, before the first floating-point instruction. */
    *(volatile uint32_t *)0xe000ed88u |= 0xfu << 20;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    for (size_t i = 0; i < (size_t)(data_end - data_begin); i++)
        data_begin[i] = data_values[i];
    for (unsigned char *byte = bss_begin; byte < bss_end; byte++)
        *byte = 0;
    main();
    for (;;) {
    }
}

/* Ends the run by semihosting: exit status 1. */
__attribute__((noreturn, used)) static void fault(void)
{
    __asm__ volatile(
        "movs r0, #0x18\n\t"
        "ldr r1, =0x20023\n\t"
        "bkpt 0xab" ::: "r0", "r1", "memory");
    for (;;) {
    }
}

typedef void (*handler)(void);

__attribute__((section(".vectors"), used)) static const struct {
    void *stack;
    handler reset, nmi, hard_fault, memory_fault, bus_fault, usage_fault;
} vectors = {stack_top, reset, fault, fault, fault, fault, fault};
