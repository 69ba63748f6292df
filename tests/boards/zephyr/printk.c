/* Zephyr's printk on a debugger's console, by semihosting, for what the example prints: %s, %d and %u.
 * The program ends with its last line, since start.c has nothing to return to.
 */
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <zephyr/sys/printk.h>

enum { SYS_WRITE0 = 0x04, SYS_EXIT = 0x18 };
#define EXIT_SUCCESS_REASON 0x20026u /* ADP_Stopped_ApplicationExit */
#define EXIT_FAILURE_REASON 0x20023u /* ADP_Stopped_RunTimeErrorUnknown */

static void semihost(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static void print_number(uint32_t number)
{
    char text[12];
    char *at = text + sizeof text - 1;
    *at = 0;
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    semihost(SYS_WRITE0, at);
}

void printk(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    for (const char *at = format; *at != 0; at++) {
        char character[2] = {*at, 0};
        if (*at != '%')
            semihost(SYS_WRITE0, character);
        else if (*++at == 's')
            semihost(SYS_WRITE0, va_arg(arguments, const char *));
        else
            print_number(va_arg(arguments, uint32_t));
    }
    va_end(arguments);
    if (strcmp(format, "passed\n") == 0)
        semihost(SYS_EXIT, (const void *)EXIT_SUCCESS_REASON);
    if (strcmp(format, "failed\n") == 0)
        semihost(SYS_EXIT, (const void *)EXIT_FAILURE_REASON);
}
