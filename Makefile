# The single entry for people and CI. Everything that is built and downloaded lies outside the repository, in
# OKRA_CACHE (keyed by version) and in the target folder of cargo.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

export OKRA_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/okra

MOTO_VERSION := 5.2.5
MOTO_HOME := $(OKRA_CACHE)/moto-$(MOTO_VERSION)

# Arguments passed on to cargo test, okra demo and cargo bench, for example: make test ARGS='-p okra-core'
ARGS ?=

.PHONY: help
help: ## List the targets
	@echo "Usage: make TARGET [ARGS='...']"
	@echo
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) \
	  | while IFS=$$'\t' read -r target text; do printf '  %-15s %s\n' "$$target" "$$text"; done
	@echo
	@echo "Tools and emulators are kept in $(OKRA_CACHE) (OKRA_CACHE)."

.PHONY: setup
setup: check-machine tools moto ## Get everything that the tests need ready (the first time: about 6 minutes)

.PHONY: check-machine
check-machine: ## Say what this machine lacks, and the package that has it
	@testing/tools/check-machine.sh build test

.PHONY: check-build
check-build:
	@testing/tools/check-machine.sh build

.PHONY: tools
tools: ## Build etcd, kube-apiserver, kube-controller-manager and kubectl (once per version)
	@for tool in etcd kube-apiserver kubectl kube-controller-manager; do \
	  folder=$$(testing/tools/build.sh "$$tool"); echo "$$tool: $$folder/$$tool"; \
	done

.PHONY: moto
moto: ## Install moto, the AWS emulator, into a Python environment of its own (once per version)
	@testing/tools/moto.sh "$(MOTO_VERSION)" "$(MOTO_HOME)"

.PHONY: build
build: check-build ## Build the release binaries okrad, okractl and okra
	cargo build --release --locked -p okrad -p okractl -p okra

.PHONY: test
test: setup ## Run every test (ARGS is passed to cargo test)
	cargo test --workspace --locked $(ARGS)

.PHONY: demo
demo: check-build ## Swap four small clusters behind a load balancer on this machine (ARGS is passed to okra demo)
	cargo run --locked -p okra -- demo $(ARGS)

.PHONY: lint
lint: check-build ## Check format, lints, generated files, scripts, licences
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo run --quiet --locked -p xtask -- check
	@testing/tools/lint-scripts.sh
	@if command -v cargo-deny >/dev/null; then cargo deny --locked check bans licenses sources; \
	else echo "SKIPPED: licence and source checks: cargo-deny is not installed (cargo install cargo-deny)"; fi

.PHONY: manifests
manifests: check-build ## Write the generated CRDs into config/crd
	cargo run --quiet --locked -p xtask -- crds

.PHONY: docs
docs: check-build ## Write docs/reference and the Rust documentation
	cargo run --quiet --locked -p xtask -- reference
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

.PHONY: bench
bench: check-build ## Run the benchmarks (ARGS is passed to cargo bench)
	cargo bench --workspace --locked $(ARGS)

.PHONY: clean
clean: ## Remove what cargo built; OKRA_CACHE stays
	cargo clean
