/* Stands for Zephyr's header: the example uses nothing of it but what its sys/printk.h has. */
