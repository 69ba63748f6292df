#!/bin/sh
# Installs what the tests use beyond Rust: emulators and cross compilers for foreign architectures,
# valgrind, and a Python environment with ONNX Runtime as the reference. Everything is optional:
# what cannot be had is named, and the tests that need it report themselves as skipped.
set -u
cd "$(dirname "$0")/.."

packages=""
need() { # command package
	command -v "$1" >/dev/null 2>&1 || packages="$packages $2"
}
need cc gcc
need qemu-aarch64 qemu-user
need aarch64-linux-gnu-gcc "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
need riscv64-linux-gnu-gcc "gcc-riscv64-linux-gnu libc6-dev-riscv64-cross"
need valgrind valgrind
python3 -c 'import venv, ensurepip' 2>/dev/null || packages="$packages python3-venv"

if [ -n "$packages" ]; then
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
		echo "setup: installing$packages"
		# shellcheck disable=SC2086
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages; } >/dev/null 2>&1 ||
			echo "setup: apt-get could not install$packages; the tests that need them will be skipped"
	else
		echo "setup: going without$packages (install them, or run as root on Debian or Ubuntu)"
	fi
fi

if ! .venv/bin/python -c 'import onnx, onnxruntime, numpy' 2>/dev/null; then
	echo "setup: making a Python environment with ONNX Runtime in .venv"
	{ python3 -m venv .venv && .venv/bin/pip install -q -r tests/python/requirements.txt; } ||
		echo "setup: no ONNX Runtime; the tests that compare with it will be skipped"
fi
