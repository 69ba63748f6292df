# Two commands do everything: `make demo` and `make test`. Both install what they lack where they
# may (see tests/setup.sh), and say what they go without where they may not.

CARGO ?= cargo

.PHONY: demo test build setup lint figures

build:
	$(CARGO) build --release -p condensec

# The main job on a real supernet: compile, run at every level, cross-compile.
demo: build
	sh examples/demo.sh

# Everything that can be checked on this machine; what cannot be is listed as "skipped: <name>".
test: setup lint
	$(CARGO) build --release --workspace
	CONDENSEC=$(CURDIR)/target/release/condensec $(CARGO) test --release --workspace

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings

setup:
	sh tests/setup.sh

# The figures of the README, beside the engines that setup_peers.sh can install.
figures: setup
	sh tests/bench/setup_peers.sh
	sh tests/bench/figures.sh
