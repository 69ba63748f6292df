#!/bin/sh
# Compiles the digits supernet for a microcontroller, links it without an operating system, and runs
# it on a board of qemu.
#
#     sh examples/cortex_m/run.sh [cortex-m4|cortex-m7] [FOLDER]
#
# Needs a condensec with LLVM, arm-none-eabi-gcc and qemu-system-arm.
set -eu
cd "$(dirname "$0")/../.."
cpu=${1:-cortex-m4}
out=${2:-build/cortex_m/$cpu}
condensec=${CONDENSEC:-target/release/condensec}

case $cpu in
cortex-m4) board=mps2-an386 fpu=fpv4-sp-d16 ;;
cortex-m7) board=mps2-an500 fpu=fpv5-d16 ;;
*)
	echo "usage: sh examples/cortex_m/run.sh [cortex-m4|cortex-m7] [FOLDER]" >&2
	exit 2
	;;
esac

"$condensec" examples/digits/digits_supernet.onnx --name digits --input-shape image=1x1x32x32 \
	--target thumbv7em --cpu "$cpu" -o "$out"
arm-none-eabi-gcc -mcpu="$cpu" -mthumb -mfloat-abi=hard -mfpu=$fpu -std=c11 -O2 -Wall -Wextra -Werror \
	-I "$out" -I examples/c -nostartfiles -T examples/cortex_m/memory.ld \
	examples/cortex_m/start.c examples/cortex_m/digits.c "$out/libdigits.a" -o "$out/digits.elf"
# text is flash; data and bss are RAM.
arm-none-eabi-size "$out/digits.elf"
# qemu prints the program's text on its standard error.
qemu-system-arm -M $board -display none -monitor none -serial none -icount shift=0 \
	-semihosting-config enable=on,target=native -kernel "$out/digits.elf" 2>&1
