#!/bin/sh
# Installs what condensec and its tests use beyond Rust.
#
#     sh tests/setup.sh build    LLVM 22, for the back end that makes the faster code and has all targets
#     sh tests/setup.sh          that, and emulators and cross compilers for foreign architectures, valgrind, and a
#                                Python environment with ONNX Runtime as the reference
#
# Everything is optional: without LLVM the build has the Cranelift back end alone; what else cannot be had is named,
# and the tests that need it report themselves as skipped.
set -u
cd "$(dirname "$0")/.."

packages=""
need() { # command package
	command -v "$1" >/dev/null 2>&1 || packages="$packages $2"
}
# Installs $packages for what $1 says.
install() {
	[ -n "$packages" ] || return 0
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
		echo "setup: going without$packages (install them, or run as root on Debian or Ubuntu); $1"
		return 0
	fi
	echo "setup: installing$packages"
	# shellcheck disable=SC2086
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages; } >/dev/null 2>&1 ||
		echo "setup: apt-get could not install$packages; $1"
}

need cc gcc
need c++ g++
if [ ! -e /usr/lib/llvm-22/lib/libMLIRIR.a ]; then
	packages="$packages llvm-22-dev libmlir-22-dev mlir-22-tools libclang-22-dev libpolly-22-dev libzstd-dev zlib1g-dev"
fi
install "without LLVM the build has the Cranelift back end: 64-bit targets, 128-bit vectors"
[ "${1:-all}" = build ] && exit 0

packages=""
need qemu-aarch64 qemu-user
need aarch64-linux-gnu-gcc "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
need arm-linux-gnueabihf-gcc "gcc-arm-linux-gnueabihf libc6-dev-armhf-cross"
need riscv64-linux-gnu-gcc "gcc-riscv64-linux-gnu libc6-dev-riscv64-cross"
need arm-none-eabi-gcc "gcc-arm-none-eabi libnewlib-arm-none-eabi"
need qemu-system-arm qemu-system-arm
# Not installed, since they take a gigabyte: wine64, wine and gcc-mingw-w64-x86-64, for x86_64-windows.
need valgrind valgrind
need cmake "cmake make"
need pkg-config pkg-config
python3 -c 'import venv, ensurepip' 2>/dev/null || packages="$packages python3-venv"
install "the tests that need them will be skipped"

if ! .venv/bin/python -c 'import onnx, onnxruntime, numpy' 2>/dev/null; then
	echo "setup: making a Python environment with ONNX Runtime in .venv"
	{ python3 -m venv .venv && .venv/bin/pip install -q -r tests/python/requirements.txt; } ||
		echo "setup: no ONNX Runtime; the tests that compare with it will be skipped"
fi
