#!/bin/sh
# The measured tables: ResNet-50 and MobileNetV2 at five densities against ONNX Runtime, one thread.
#
#     sh tests/bench/figures.sh [OPTION.. of compare_onnxruntime.py, such as --rounds 50]
#
# Raw results go to build/figures/<network>.json. Nothing else should run on the machine meanwhile.
set -eu
cd "$(dirname "$0")/../.."
out=build/figures
densities=0.1,0.2,0.3,0.5,1.0

if ! .venv/bin/python -c 'import numpy, onnx, onnxruntime' 2>/dev/null; then
	echo "skipped: figures (no ONNX Runtime in .venv; see tests/setup.sh)"
	exit 0
fi
${CARGO:-cargo} build --release --quiet -p condensec -p condensec-examples
mkdir -p $out
for network in resnet50 mobilenet-v2; do
	name=$(echo $network | tr - _)
	target/release/model-zoo $network --densities $densities --block 4x1 -o $out/$name.onnx >/dev/null
	target/release/model-zoo $network --dense -o $out/${name}_dense.onnx >/dev/null
	.venv/bin/python -B tests/bench/compare_onnxruntime.py --name $name --json $out/$name.json \
		$out/$name.onnx $out/${name}_dense.onnx $out/$name "$@"
done
