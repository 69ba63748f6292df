#!/bin/sh
# The main job on a real supernet: handwritten digits, six levels from 95 % sparse to dense.
set -eu
cd "$(dirname "$0")/.."
condensec=target/release/condensec
out=build/demo

say() {
	printf '\n$ %s\n' "$*"
	"$@"
}

say $condensec examples/digits/digits_supernet.onnx -o $out/host
for target in aarch64 riscv64; do
	say $condensec examples/digits/digits_supernet.onnx --target $target -o $out/$target
done
printf '\nThe same library, run on the test split (500 images) at every level:\n'
say $condensec eval $out/host --data examples/digits/digits_test.npz
