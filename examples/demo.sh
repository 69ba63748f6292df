#!/bin/sh
# The main job on a real supernet: handwritten digits, five levels from 95 % sparse to dense.
set -eu
cd "$(dirname "$0")/.."
condensec=target/release/condensec
out=build/demo

say() {
	printf '\n$ %s\n' "$*"
	"$@"
}

model="examples/digits/digits_supernet.onnx --input-shape image=1x1x32x32"

printf '\nOne supernet, three static libraries:\n'
for target in host aarch64 riscv64; do
	# shellcheck disable=SC2086 # the model's two options are two words
	say $condensec $model --target $target -o $out/$target
done
printf '\nThe library of this machine on the test split, at every level:\n'
say $condensec eval $out/host --data examples/digits/digits_test.npz
cat <<'END'

All levels share one copy of the weights; "weights" is what a run of the level reads of it, "min ms" the
fastest run of one image on one thread. An application switches level by one store:

    digits_supernet_set_level(model, 0);

What to link is in build/demo/host; start with digits_supernet.h.
END
