# What a developer types is what CI runs. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

LAB := fixtures/lab/lab
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
export TANDEM_BIN := $(TARGET)/debug/tandem

help: ## What there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: build ## Three real nodes on this machine, an app deployed, its page fetched through each node (as root)
	@fixtures/demo

test: fmt lint test-unit test-fuzz test-docs test-scripts test-proxies sim test-lab-itself test-lab test-matrix ## Everything that has to pass (as root: it starts a lab)

deps: ## Install what building takes (Debian packages; says which)
	@fixtures/build-deps

build: deps ## The binary
	cargo build --bin tandem

fmt: ## Formatting, checked
	cargo fmt --check

lint: deps ## Clippy, warnings denied
	cargo clippy --all-targets --features lab -- -D warnings

test-unit: deps ## Unit, property and scenario tests
	cargo test --lib --bins --test scenarios --test plans

FUZZ_SECONDS ?= 20
test-fuzz: deps ## The fuzz targets, 20 s each, on what apps may write (FUZZ_SECONDS=20)
	@fixtures/fuzz $(FUZZ_SECONDS)

fuzz: FUZZ_SECONDS := $(if $(filter command% environment%,$(origin FUZZ_SECONDS)),$(FUZZ_SECONDS),600)
fuzz: deps ## The same for longer, 600 s each; what was found is kept in fuzz/corpus (FUZZ_SECONDS=3600)
	@fixtures/fuzz $(FUZZ_SECONDS)

SEEDS ?= 2000
sim: deps ## Simulated clusters under faults drawn from seeds (SEEDS=2000; SEED=n tells one seed's story)
	cargo test --release --test sim -- $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

test-docs: deps ## The documentation builds and its examples run
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --lib
	cargo test --doc

test-scripts: ## Shell scripts, checked
	@fixtures/check-scripts

test-proxies: deps ## What is rendered, given to the real HAProxy and Caddy of two generations (as root: it fetches them)
	@fixtures/with-proxies cargo test --features lab --test proxies -- --test-threads=1

test-lab-itself: ## The lab's own test: every part and every fault, without Tandem (as root)
	env -u TANDEM_BIN fixtures/lab/selftest

test-lab: build ## The tests on a real cluster of three nodes (as root)
	@fixtures/with-lab cargo test --features lab --test lab -- --test-threads=1

test-matrix matrix: export LAB := tandem-matrix
test-matrix: build ## The fixed part of the matrix, under 20 minutes (as root)
	cargo build --features lab --example matrix
	@$(TARGET)/debug/examples/matrix --sample --evidence $(TARGET)/matrix/sample

matrix: build ## Every case under every fault at every step, for hours; goes on where it was broken off (as root; ARGS=--help)
	cargo build --features lab --example matrix
	@$(TARGET)/debug/examples/matrix --resume docs/matrix.jsonl --output docs/matrix.md --evidence $(TARGET)/matrix $(ARGS)

bench: PROFILE := debug
bench: export LAB := tandem-bench
bench: export TANDEM_BIN = $(TARGET)/$(PROFILE)/tandem
bench: deps ## Figures, taken in one run on a real cluster (as root; PROFILE=release, ARGS=--json)
	@cargo build --bin tandem --profile $(PROFILE:debug=dev)
	@cargo build --features lab --example bench
	@fixtures/with-lab $(TARGET)/debug/examples/bench $(ARGS)

deny: ## Licences, bans and sources of the dependencies (compiles cargo-deny the first time)
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check licenses bans sources

clean-lab: ## End the demo's and the tests' labs and remove what they left
	@$(LAB) down; LAB=tandem-test $(LAB) down; LAB=tandem-bench $(LAB) down; LAB=tandem-matrix $(LAB) down

.PHONY: help demo test deps build fmt lint sim fuzz test-fuzz test-unit test-docs test-scripts test-proxies test-lab-itself test-lab test-matrix matrix bench deny clean-lab
