# What a developer types is what CI runs. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

LAB_SCRIPT := fixtures/lab/lab
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
export TANDEM_BIN := $(TARGET)/debug/tandem

help: ## What there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: build ## Three real nodes on this machine, an app deployed, its page fetched through each node (as root)
	@fixtures/demo

# Labs mostly wait; what computes takes what they leave of the processors. More labs side by side would be faster, until
# requests that are to wait for an app's hand-over wait for a processor.
test: fmt test-scripts deps ## Everything that has to pass (as root: it starts labs)
	@MAKE=$(MAKE) fixtures/side-by-side test-builds lab-cache
	@MAKE=$(MAKE) fixtures/side-by-side test-lab test-host
	@MAKE=$(MAKE) fixtures/side-by-side test-matrix test-lab-quick test-proxies

test-host: # What computes, one after the other
	@nice -n 19 $(MAKE) --no-print-directory test-unit test-sim test-docs test-fuzz

test-all: test ## `make test`, then more of each: the lab's own test, fuzzing, 100,000 seeds, a twelfth of the matrix (hours, as root)
	$(MAKE) test-lab-itself fuzz
	$(MAKE) sim SEEDS=100000
	$(MAKE) matrix-part

deps: ## Install what building takes (Debian packages; says which)
	@fixtures/build-deps

build: deps ## The binary
	cargo build --bin tandem

fmt: ## Formatting, checked
	cargo fmt --all --check

# With the same features everywhere, what it depends on is compiled once. Lints and tests of the code are those of all
# crates in src/; what is run is the one at the top.
FEATURES := --features lab
lint: deps ## Clippy, warnings denied
	cargo clippy --workspace --all-targets $(FEATURES) -- -D warnings

# Before what runs side by side, which so waits for no build.
test-builds: lint
	cargo test --no-run --workspace $(FEATURES) --lib --bins --tests
	cargo build $(FEATURES) --bin tandem --example matrix

test-unit: deps ## Unit, property and scenario tests
	cargo test --workspace $(FEATURES) --lib --bins --test scenarios --test plans --test tidy

FUZZ_SECONDS ?= 20
test-fuzz: deps ## The fuzz targets, 20 s each, on what apps may write (FUZZ_SECONDS=20)
	@fixtures/fuzz $(FUZZ_SECONDS)

fuzz: FUZZ_SECONDS := $(if $(filter command% environment%,$(origin FUZZ_SECONDS)),$(FUZZ_SECONDS),600)
fuzz: deps ## The same for longer, 600 s each; what was found is kept in fuzz/corpus (FUZZ_SECONDS=3600)
	@fixtures/fuzz $(FUZZ_SECONDS)

SEEDS ?= 2000
SIM_ARGS = $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))
test-sim: deps ## Simulated clusters under faults drawn from seeds, by what the other tests built (SEEDS=2000)
	cargo test $(FEATURES) --test sim -- $(SIM_ARGS)

sim: deps ## The same with all optimisations, for many seeds (SEEDS=2000; SEED=n tells one seed's story)
	cargo test --release --test sim -- $(SIM_ARGS)

test-docs: deps ## The documentation builds and its examples run; the binary compiles without what tests add
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --lib
	cargo check --bin tandem
	cargo test --workspace --doc $(FEATURES)

test-scripts: ## Shell scripts, checked
	@fixtures/check-scripts

test-proxies: deps ## What is rendered, given to the real HAProxy and Caddy (as root: it fetches them)
	@fixtures/with-proxies cargo test $(FEATURES) --test proxies -- --test-threads=1

test-lab-itself: ## The lab's own test: every part and every fault, without Tandem (as root)
	env -u TANDEM_BIN fixtures/lab/selftest

test-lab-quick: ## The lab's own test in short; in full if the lab has changed since it last passed here (as root)
	env -u TANDEM_BIN fixtures/lab/selftest --if-changed

lab-cache: ## What the labs need and is made once: packages, images (as root)
	@$(LAB_SCRIPT) cache blog

LABS ?= 2
MATRIX_LABS ?= 2
test-lab: export LABS := $(LABS)
test-lab: export LAB_TIMES := $(TARGET)/test/lab-times
test-lab: deps ## The tests on real clusters of three nodes, two clusters side by side (LABS=2; as root)
	@mkdir -p $(dir $(LAB_TIMES)) && rm -f $(LAB_TIMES)
	cargo test --no-run $(FEATURES) --test lab
	@fixtures/with-lab cargo test $(FEATURES) --test lab -- --test-threads=$(LABS)

test-matrix matrix matrix-part: export LAB := tandem-matrix
test-matrix matrix matrix-part: MATRIX = $(TARGET)/debug/examples/matrix --labs $(MATRIX_LABS)
test-matrix: deps ## The fixed part of the matrix (MATRIX_LABS=2; as root)
	cargo build $(FEATURES) --bin tandem --example matrix
	@$(MATRIX) --sample --evidence $(TARGET)/matrix/sample

matrix: deps ## Every case under every fault at every step, for hours; goes on where it was broken off (as root; ARGS=--help)
	cargo build $(FEATURES) --bin tandem --example matrix
	@$(MATRIX) --resume docs/matrix.jsonl --output docs/matrix.md --evidence $(TARGET)/matrix $(ARGS)

PART ?= 1/12
matrix-part: deps ## A part of the matrix, results kept nowhere (MATRIX_LABS=2 PART=1/12; as root)
	cargo build $(FEATURES) --bin tandem --example matrix
	@$(MATRIX) --shard $(PART) --evidence $(TARGET)/matrix/part

bench: PROFILE := debug
bench: export LAB := tandem-bench
bench: export TANDEM_BIN = $(TARGET)/$(PROFILE)/tandem
bench: deps ## Figures, taken in one run on a real cluster (as root; PROFILE=release, ARGS=--json)
	@cargo build --bin tandem --profile $(PROFILE:debug=dev)
	@cargo build --features lab --example bench
	@fixtures/with-lab $(TARGET)/debug/examples/bench $(ARGS)

deny: deps ## Licences, bans and sources of the dependencies (compiles cargo-deny the first time)
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check licenses bans sources

clean-lab: ## End the demo's and the tests' labs and remove what they left
	@for lab in tandem tandem-test tandem-test-2 tandem-test-3 tandem-bench tandem-matrix tandem-matrix-2; do LAB=$$lab $(LAB_SCRIPT) down; done

.PHONY: help demo test test-all test-builds lab-cache test-host deps build fmt lint sim fuzz test-fuzz test-sim test-unit test-docs test-scripts \
	test-proxies test-lab-itself test-lab-quick test-lab test-matrix matrix matrix-part bench deny clean-lab
