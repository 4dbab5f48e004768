# The same flags everywhere, so that no crate is compiled twice for the same purpose.
CARGO_FLAGS := --workspace --all-features

.DEFAULT_GOAL := help
.PHONY: help tools test faults soak bench bench-functions fmt fmt-check lint lint-template doc check-licences demo invoke build release ci

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# What is not Rust and not Python's own comes from PyPI, pinned, into environments of its own below target/.
TOOLS := target/aws
$(TOOLS)/%/.ready: infra/tools/%.txt
	python3 -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet --no-compile --disable-pip-version-check --requirement $<
	touch $@

tools: $(TOOLS)/sam/.ready $(TOOLS)/ministack/.ready ## Prepare what the tests need besides Rust, in target/aws

test: tools ## Run the tests of every package
# Some tests run the real binaries: vesper, and the functions of AWS; one deploys them to ministack, with sam.
	cargo build $(CARGO_FLAGS) --bins
	cargo test $(CARGO_FLAGS) -- --skip faulty::

# Which calls of the faulty table are struck follows from a seed, and a little from how the tasks interleave, so a run does not
# repeat itself exactly, and a seed takes a minute: it is a command of its own.
SEEDS ?= 1 2 3
faults: ## Run the scenarios on the faulty table (SEEDS="1 2 3")
	for seed in $(SEEDS); do VESPER_FAULTS_SEED=$$seed cargo test $(CARGO_FLAGS) --test it -- faulty:: || exit 1; done

soak: ## Tell random stories on the real store and handlers; VESPER_SOAK_SEEDS says how many
	VESPER_SOAK_SEEDS=$${VESPER_SOAK_SEEDS:-200} cargo test -p vesper-tests --all-features --test it -- soak:: --nocapture

fmt: ## Format all code
	cargo fmt --all

fmt-check: ## Tell what is not formatted, and change nothing
	cargo fmt --all --check

lint: ## Run clippy; a warning is an error
	cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings

# cargo-lambda and zig are looked for on the path: they go into the environment of sam.
$(TOOLS)/sam/.build-ready: infra/tools/build.txt $(TOOLS)/sam/.ready
	$(@D)/bin/pip install --quiet --no-compile --disable-pip-version-check --requirement $<
	touch $@

# They work without a network and without an account. A check that is left out says in the template why.
lint-template: $(TOOLS)/sam/.ready $(TOOLS)/checkov/.ready ## Check infra/template.yaml and what is written about it
	SAM_CLI_TELEMETRY=0 $(TOOLS)/sam/bin/sam validate --lint --template infra/template.yaml --region us-east-1
	$(TOOLS)/sam/bin/cfn-lint --regions us-east-1 -- infra/template.yaml
	$(TOOLS)/checkov/bin/checkov --file infra/template.yaml --framework cloudformation --compact --quiet --skip-download
	$(TOOLS)/sam/bin/python scripts/check_stack.py
	$(TOOLS)/sam/bin/python scripts/cost.py --check

# Private items are documented, so a link to one is no broken link.
doc: ## Build the documentation of the code, private items too; a broken link is an error
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --no-deps $(CARGO_FLAGS) --document-private-items

check-licences: ## Check every dependency: its licence, where it comes from, no second TLS stack
	python3 scripts/check_dependencies.py

bench: ## Measure speed and memory; prints medians
	cargo bench -p vesper-tests --all-features --bench intake --bench backtest --bench payout --bench drain

# The functions as they are deployed, but for this machine: slow to build. The bench itself only drives them.
bench-functions: ## Measure the functions of AWS next to an empty one: start, first event, warm event, memory
	cargo build --profile deployed -p vesper-functions -p vesper-yardsticks --bins
	cargo bench $(CARGO_FLAGS) --profile dev --bench functions

demo: ## Show everything on a made-up practice, then serve the review page
	cargo run --release -- demo

# The function runs as it was built, on the emulator of sam, against AWS on loopback: no Docker, no account.
FUNCTION ?= intake
EVENT ?= infra/events/$(FUNCTION).json
invoke: $(TOOLS)/sam/.ready $(TOOLS)/ministack/.ready ## Run one function: make invoke FUNCTION=intake EVENT=infra/events/intake.json
	cargo build $(CARGO_FLAGS) --bin $(FUNCTION)
	$(TOOLS)/sam/bin/python scripts/invoke.py $(FUNCTION) $(EVENT)

build: ## Build target/release/vesper
	cargo build --release --bin vesper

# For size, the whole program at once (functions/.cargo/config.toml). Slow: ten minutes and more.
release: $(TOOLS)/sam/.build-ready ## Build the functions as they are deployed, for arm64, into .aws-sam/build
	rustup target add aarch64-unknown-linux-gnu
	PATH="$(abspath $(TOOLS)/sam/bin):$$PATH" SAM_CLI_TELEMETRY=0 sam build --beta-features --region us-east-1
	python3 scripts/zip_sizes.py

ci: ## Run what .ci/run runs
	.ci/run
