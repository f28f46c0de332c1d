# The commands of the README. Tools are installed into .tools, pinned by infra/tools; nothing else is touched.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.DEFAULT_GOAL := help
.PHONY: help demo test watch deploy bench bench-short check end-to-end picture

BUILD := .tools/build/bin
IN_BUILD := PATH="$(CURDIR)/$(BUILD):$$PATH"
# For this machine: the functions and their peers as released, and the benchmark.
BENCH_BUILD = cargo lambda build --quiet --release -p subscriber -p publisher -p peers && cargo build --quiet --profile bench -p bench
export SAM_CLI_TELEMETRY := 0

help:
	cat <<'TEXT'
	make demo     see the connector at work on this machine (10 minutes the first time, then one)
	make test     run every check and test, up to the deployed stack on local AWS
	make bench    measure on this machine
	make watch    run the functions locally, rebuilt after every change
	make deploy   deploy to your AWS account (asks before it changes anything)
	TEXT

demo: .tools/build/installed .tools/local-aws/installed
	$(BUILD)/python infra/demo.py

watch: .tools/build/installed .tools/local-aws/installed
	$(BUILD)/python infra/watch.py

deploy: .tools/build/installed
	if ! $(BUILD)/python -c 'import boto3; boto3.client("sts").get_caller_identity()' 2>/dev/null; then
	  echo 'There are no valid AWS credentials. Log in first, for example with "aws sso login" and AWS_PROFILE, and set AWS_REGION.' >&2
	  exit 1
	fi
	# The functions are built for arm64 unless --guided is told otherwise.
	rustup target add aarch64-unknown-linux-gnu >/dev/null 2>&1 || echo 'Without rustup, the target aarch64-unknown-linux-gnu must be installed already.'
	$(IN_BUILD) sam build
	$(IN_BUILD) sam deploy --guided

# The functions are measured as they are deployed, packaged for both architectures.
bench: .tools/build/installed .tools/peers/installed
	rustup target add aarch64-unknown-linux-gnu x86_64-unknown-linux-gnu >/dev/null 2>&1 || echo 'Without rustup, the targets aarch64-unknown-linux-gnu and x86_64-unknown-linux-gnu must be installed already.'
	echo 'Building the functions, their packages, the peers and the benchmark (some minutes the first time)'
	$(IN_BUILD)
	for architecture in arm64 x86_64; do
	  cargo lambda build --quiet --release "--$${architecture/_/-}" -p subscriber -p publisher --output-format zip --lambda-dir target/packages/$$architecture
	done
	$(BENCH_BUILD)
	target/release/bench

# Whether the benchmark still works, not how fast anything is.
bench-short: .tools/build/installed .tools/peers/installed
	echo '== Benchmark, in short'
	$(IN_BUILD)
	$(BENCH_BUILD)
	target/release/bench --short

test: check bench-short end-to-end
	echo 'All checks and tests passed.'

# Everything that needs no local AWS.
check: .tools/build/installed
	echo '== Formatting'
	cargo fmt --check
	echo '== Lints'
	cargo clippy --quiet --workspace --lib --bins -- -D warnings
	# Tests may unwrap: that is how they fail.
	cargo clippy --quiet --workspace --tests --examples -- -D warnings -A clippy::unwrap_used -A clippy::expect_used -A clippy::panic -A clippy::print_stdout
	echo '== Unit, property and documentation tests'
	cargo test --quiet --workspace --exclude end_to_end
	echo '== Documentation'
	RUSTDOCFLAGS='-D warnings' cargo doc --quiet --workspace --no-deps
	echo '== Template'
	$(IN_BUILD) AWS_REGION=eu-west-1 sam validate --lint
	echo '== Unused dependencies'
	$(IN_BUILD) cargo shear
	echo '== Licences, sources and banned crates'
	$(IN_BUILD) cargo deny --log-level error check licenses sources bans
	echo '== Advisories'
	if $(IN_BUILD) cargo deny fetch db >.tools/advisories.log 2>&1; then
	  $(IN_BUILD) cargo deny --log-level error check advisories
	else
	  echo 'NOT CHECKED: the advisory database cannot be fetched from here (see .tools/advisories.log).'
	fi

# The tests of tests/end_to_end, on the stack deployed by sam deploy.
end-to-end: .tools/build/installed .tools/local-aws/installed
	echo '== End to end'
	cargo test --quiet -p end_to_end --no-run
	$(BUILD)/python infra/run.py cargo test -p end_to_end -- --test-threads=1

# README's picture of the dashboard.
picture: .tools/build/installed .tools/local-aws/installed
	$(BUILD)/python infra/run.py cargo run --quiet -p end_to_end --example dashboard

# A virtual environment for each list of pinned tools; a changed list makes a new one.
.tools/%/installed: infra/tools/%.txt
	python3 -c 'import sys; sys.exit("Python 3.10 or later is needed; this is " + sys.version.split()[0] if sys.version_info < (3, 10) else 0)'
	echo 'Installing the tools of infra/tools/$*.txt into .tools/$* (once, about a minute)'
	rm -rf .tools/$*
	mkdir -p .tools
	if ! { python3 -m venv .tools/$* && .tools/$*/bin/pip install --quiet --disable-pip-version-check -r $<; } >.tools/$*.log 2>&1; then
	  tail -5 .tools/$*.log >&2
	  echo 'The tools could not be installed. Check the network (and, on Debian, that python3-venv is installed); then try again.' >&2
	  exit 1
	fi
	touch $@
