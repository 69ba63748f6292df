#!/bin/sh
# Installs the engines that the benchmarks compare with, each in a Python environment of its own below .venv-peers/,
# since they disagree about NumPy and ONNX. No test needs them; what cannot be had is skipped by the benchmarks.
#
#     sh tests/bench/setup_peers.sh [ENGINE..]
set -u
cd "$(dirname "$0")/../.."

install() { # engine, module that proves it is there, packages..
	environment=.venv-peers/$1
	find="from importlib.util import find_spec; assert find_spec('$2')"
	shift 2
	"$environment/bin/python" -c "$find" 2>/dev/null && return
	echo "setup: making $environment"
	{ python3 -m venv "$environment" && "$environment/bin/pip" install -q "$@"; } ||
		{ rm -rf "$environment" && echo "setup: no $1; the benchmarks will go without it"; }
}

for engine in ${*:-deepsparse litert mnn}; do
	case $engine in
	# The last release; it needs NumPy 1 and Python up to 3.11.
	deepsparse) install deepsparse deepsparse deepsparse==1.8.0 'numpy<2' ;;
	litert) install litert ai_edge_litert ai-edge-litert==2.3.0 onnx==1.23.2 numpy ;;
	mnn) install mnn MNN MNN==3.6.1 numpy ;;
	*) echo "setup: no engine $engine" && exit 2 ;;
	esac
done
