#!/bin/sh
# The measured tables: networks of the model zoo at six densities beside other engines, on one thread and on two.
#
#     sh tests/bench/figures.sh [OPTION.. of compare_engines.py, such as --rounds 50]
#
# Raw results and tables go to tests/bench/runs/<date>-<machine>/; MACHINE gives it another name. Nothing else should
# run on the machine meanwhile. NETWORKS and FEATURES (of the compiler's build) may be set, too.
set -eu
cd "$(dirname "$0")/../.."

python="${PYTHON:-.venv/bin/python} -B"
if ! $python -c 'import numpy, onnx, onnxruntime' 2>/dev/null; then
	echo "skipped: figures (no ONNX Runtime in .venv; see tests/setup.sh)"
	exit 0
fi
# The LLVM back end makes the faster code.
if [ -z "${FEATURES+set}" ] && [ -e /usr/lib/llvm-22/lib/libMLIRIR.a ]; then
	FEATURES=condensec/llvm
fi
${CARGO:-cargo} build --release --quiet -p condensec -p condensec-examples ${FEATURES:+--features "$FEATURES"}

runs=tests/bench/runs/$(date +%F)-${MACHINE:-$($python tests/bench/machine.py)}
mkdir -p "$runs" build/figures
: >"$runs/table.txt"

compare() { # name of the results, options..
	results=$1
	shift
	# Not through a pipe, which would hide a failure.
	$python tests/bench/compare_engines.py --json "$runs/$results.json" "$@" >build/figures/table.txt
	echo >>build/figures/table.txt
	tee -a "$runs/table.txt" <build/figures/table.txt
}

case $(uname -m) in
x86_64) portable="--build=v3=--cpu x86-64-v3" ;;
*) portable="--build=generic=--cpu generic" ;;
esac
for network in ${NETWORKS:-resnet50 mobilenet-v2 resnet18 ds-cnn}; do
	name=$(echo "$network" | tr - _)
	case $network in
	resnet50) more="--masks 4x1,1x1 --footprint" ;;
	mobilenet-v2) more="--masks 4x1,1x1" ;;
	*) more="" ;;
	esac
	# shellcheck disable=SC2086
	compare "$name" "$network" --build native= "$portable" $more "$@"
	compare "${name}_2_threads" "$network" --threads 2 "$@"
done
