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

# Arguments passed on to cargo test, okra demo and okra-bench, for example: make test ARGS='-p okra-core'
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
setup: check-machine tools moto prometheus ## Get everything that the tests need ready (the first time: about 6 minutes)

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

.PHONY: prometheus
prometheus: ## Get Prometheus ready: the one on the PATH, or Debian's package, unpacked (once)
	@echo "prometheus: $$(testing/tools/prometheus.sh)"

.PHONY: build
build: check-build ## Build the release binaries okrad, okractl and okra
	cargo build --release --locked -p okrad -p okractl -p okra

# So many seeds are a part of make test.
TEST_SEEDS ?= 10000

.PHONY: test
test: setup ## Run every test, the simulator's seeds among them (ARGS is passed to cargo test, and leaves those out)
	cargo test --workspace --locked $(ARGS)
	$(if $(ARGS),,@$(MAKE) sim SEEDS=$(TEST_SEEDS))
	$(if $(ARGS),,@$(MAKE) mutants)

# As long as each fuzz target runs.
FUZZ_SECONDS ?= 60

.PHONY: fuzz
fuzz: check-build ## Fuzz conditions and JSONPaths for FUZZ_SECONDS (60) each; wants nightly Rust and cargo-fuzz
	for target in condition json_path; do \
	  mkdir -p "fuzz/corpus/$$target"; \
	  cargo +nightly fuzz run "$$target" "fuzz/corpus/$$target" "fuzz/seeds/$$target" -- \
	    -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -timeout=10 -rss_limit_mb=1024 $(ARGS); \
	done

SEEDS ?= 10000

.PHONY: sim
sim: check-build ## Simulate rollouts from SEEDS seeds (10000), with crashes, faults and people
	cargo run --quiet --profile sim --locked -p okra-sim -- --seeds $(SEEDS) $(ARGS)

.PHONY: mutants
mutants: SEEDS = 500
mutants: check-build ## Plant each known fault in turn: one of SEEDS seeds (500) must find it
	cargo run --quiet --profile sim --locked -p okra-sim -- --mutants --seeds $(SEEDS) $(ARGS)

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
bench: check-build tools ## Measure the planner and the whole system (FULL=1: 10 minutes at rest; ARGS='--only calls')
	cargo build --release --locked -p okrad -p okra-bench
	@# The planner alone; left out when single workloads are asked for.
	$(if $(ARGS),,cargo bench --locked -p okra-core --bench plan)
	cargo run --quiet --release --locked -p okra-bench -- run $(if $(FULL),--rest 600) $(ARGS)

.PHONY: bench-compare
bench-compare: check-build ## Set target/bench/report.json beside an older one (BASE=report.json)
	@test -n "$(BASE)" || { echo "name the older report: make bench-compare BASE=path/to/report.json"; exit 2; }
	cargo run --quiet --release --locked -p okra-bench -- compare "$(BASE)"

.PHONY: clean
clean: ## Remove what cargo built; OKRA_CACHE stays
	cargo clean
