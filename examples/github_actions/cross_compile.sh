#!/bin/sh
# Compiles a model and a C program for three processors and runs the program on each, emulated where need be.
# What the workflow beside it does; runs anywhere with condensec, the cross compilers and qemu-user:
#
#   CONDENSEC=target/release/condensec sh examples/github_actions/cross_compile.sh
set -eu

condensec=${CONDENSEC:-condensec}
here=$(dirname "$0")/..
out=${OUT:-build/cross}

build_and_run() { # target, C compiler, emulator
	echo "== $1"
	"$condensec" "$here/digits/digits_supernet.onnx" --name digits --target "$1" -o "$out/$1" >/dev/null
	"$2" -std=c11 -O2 -static -I "$out/$1" "$here/c/digits.c" "$out/$1/libdigits.a" -lm -pthread -o "$out/$1/digits"
	# A few switches are enough: emulation is slow.
	$3 "$out/$1/digits" 10
}

build_and_run x86_64 "${CC_X86_64:-cc}" ""
build_and_run aarch64 aarch64-linux-gnu-gcc qemu-aarch64
build_and_run riscv64 riscv64-linux-gnu-gcc qemu-riscv64
