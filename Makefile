# Two commands do everything: `make demo` and `make test`. Both install what they lack where they
# may (see tests/setup.sh), and say what they go without where they may not.

CARGO ?= cargo
# Looked up when a recipe runs, after setup: LLVM is used where it is.
LLVM = $(shell test -e /usr/lib/llvm-22/lib/libMLIRIR.a && echo --features condensec/llvm)

.PHONY: demo test build setup lint figures instruction-counts steadiness

build:
	sh tests/setup.sh build
	$(MAKE) --no-print-directory compiler

.PHONY: compiler
compiler:
	$(CARGO) build --release -p condensec $(LLVM)

# The main job on a real supernet: compile, run at every level, cross-compile.
demo: build
	sh examples/demo.sh

# Everything that can be checked on this machine; what cannot be is listed as "skipped: <name>".
test: setup lint
	$(CARGO) build --release --workspace $(LLVM)
	CONDENSEC=$(CURDIR)/target/release/condensec $(CARGO) test --release --workspace $(LLVM)

# Once as it is used here, once as pure Rust.
lint: setup
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets $(LLVM) -- -D warnings
	$(CARGO) clippy --release -p condensec -- -D warnings
	$(CARGO) clippy --release -p condensec-runtime --no-default-features -- -D warnings

setup:
	sh tests/setup.sh

# The figures of the README and of closing notes.
figures: setup compiler
	sh tests/bench/figures.sh

# Instructions per multiply-add on machines that are not here, by emulators; takes a few minutes.
instruction-counts: setup
	$(CARGO) build --release -p condensec -p condensec-examples $(LLVM)
	python3 -B tests/bench/instruction_counts.py

# How steady the governor keeps run times, on all built-in traces; takes a few minutes.
steadiness: setup
	$(CARGO) build --release -p condensec -p condensec-examples $(LLVM)
	python3 -B tests/bench/steadiness.py
