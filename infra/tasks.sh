#!/usr/bin/env bash
# What the commands of the Makefile do, one function each. Tools are installed into .tools, pinned by infra/tools; nothing
# else is touched.
set -euo pipefail
cd "$(dirname "$0")/.."
export SAM_CLI_TELEMETRY=0
# On a terminal, cargo shows what it compiles and how much is left.
[ -t 2 ] || export CARGO_TERM_QUIET=true

build=$PWD/.tools/build/bin

help() {
  cat <<'TEXT'
make demo     see the connector at work on this machine (some minutes the first time, then seconds)
make test     run every check and test, up to the deployed stack on local AWS
make bench    measure on this machine
make watch    run the functions locally, rebuilt after every change
make deploy   deploy to your AWS account (asks before it changes anything)
make release  make the archive that sam deploy deploys without a compiler
TEXT
}

# A virtual environment for each list of pinned tools; a changed list makes a new one.
tools() {
  local list
  for list in "$@"; do
    if [ ".tools/$list/installed" -nt "infra/tools/$list.txt" ]; then
      continue
    fi
    python3 -c 'import sys; sys.exit("Python 3.11 or later is needed; this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
    echo "Installing the tools of infra/tools/$list.txt into .tools/$list (once)"
    rm -rf ".tools/$list"
    mkdir -p .tools
    if ! install "$list" >".tools/$list.log" 2>&1; then
      tail -5 ".tools/$list.log" >&2
      echo 'The tools could not be installed. Check the network (and, on Debian, that python3-venv is installed); then try again.' >&2
      exit 1
    fi
    touch ".tools/$list/installed"
  done
  export PATH="$build:$PATH"
}

# uv does in seconds what takes pip minutes. Where it cannot be had, or does not find what pip is configured to find, pip
# does it.
install() {
  python3 -m venv ".tools/$1" || return
  if [ ! -x .tools/uv/bin/uv ]; then
    python3 -m venv .tools/uv && .tools/uv/bin/pip install --quiet --disable-pip-version-check -r infra/tools/uv.txt
  fi
  .tools/uv/bin/uv pip install --quiet --python ".tools/$1/bin/python" -r "infra/tools/$1.txt" ||
    ".tools/$1/bin/pip" install --quiet --disable-pip-version-check -r "infra/tools/$1.txt"
}

demo() {
  tools build local-aws
  python infra/demo.py
}

watch() {
  tools build local-aws
  python infra/watch.py
}

deploy() {
  tools build
  use_region
  if ! python -c 'import boto3; boto3.client("sts").get_caller_identity()' 2>/dev/null; then
    echo 'There are no valid AWS credentials. Log in first, for example with "aws sso login" and AWS_PROFILE.' >&2
    exit 1
  fi
  add_targets aarch64-unknown-linux-gnu x86_64-unknown-linux-gnu
  echo 'Checking the connections of the template'
  cargo run --quiet -p protimectl -- check template.yaml
  python infra/deploy.py
}

# Some tools read one of the two variables, some the other, and some take a region of their own where they find none.
use_region() {
  local region=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(python -c 'import boto3; print(boto3.Session().region_name or "")')}}
  if [ -z "$region" ]; then
    echo 'Which region? Set AWS_REGION, for example to eu-west-1, or a region in your AWS profile.' >&2
    exit 1
  fi
  export AWS_REGION=$region AWS_DEFAULT_REGION=$region
}

add_targets() {
  rustup target add "$@" >/dev/null 2>&1 || echo "Without rustup, the targets $* must be installed already."
}

# Both architectures, into target/release-archive.
release() {
  tools build
  add_targets aarch64-unknown-linux-gnu x86_64-unknown-linux-gnu
  python infra/release.py
}

# As the functions are built that are deployed.
as_released() {
  RUSTFLAGS=$(PYTHONPATH=infra python -c 'import local_stack, os; print(local_stack.release_environment(os.environ)["RUSTFLAGS"])') "$@"
}

# For this machine: the functions and their peers as released, and the benchmark.
build_bench() {
  as_released cargo lambda build --release -p subscriber -p publisher -p peers
  cargo build --profile bench -p bench
}

# The functions are measured as they are deployed, packaged for both architectures.
bench() {
  tools build peers
  add_targets aarch64-unknown-linux-gnu x86_64-unknown-linux-gnu
  echo 'Building the functions, their packages, the peers and the benchmark (some minutes the first time)'
  local architecture
  for architecture in arm64 x86-64; do
    as_released cargo lambda build --release "--$architecture" -p subscriber -p publisher --output-format zip --lambda-dir "target/packages/${architecture/-/_}"
  done
  build_bench
  target/release/bench
}

# Whether the benchmark still works, not how fast anything is: nothing is optimised.
bench_short() {
  tools build peers
  echo '== Benchmark, in short'
  cargo build --workspace --bins
  local target=${CARGO_TARGET_DIR:-target} program
  for program in subscriber publisher floor minimal; do
    mkdir -p "target/lambda/$program"
    cp "$target/debug/$program" "target/lambda/$program/bootstrap"
  done
  "$target/debug/bench" --short
}

test() {
  check
  bench_short
  end_to_end
  archive
  echo 'All checks and tests passed.'
}

# Everything that needs no local AWS.
check() {
  tools build checkov
  echo '== Formatting'
  cargo fmt --check
  echo '== Lints'
  cargo clippy --workspace --lib --bins -- -D warnings
  # Tests may unwrap: that is how they fail.
  cargo clippy --workspace --features end_to_end/stack --tests --examples -- -D warnings -A clippy::unwrap_used -A clippy::expect_used -A clippy::panic -A clippy::print_stdout
  echo '== Documented facts'
  python tests/simulator/facts.py --check
  echo '== Templates'
  AWS_REGION=eu-west-1 sam validate --lint
  AWS_REGION=eu-west-1 sam validate --lint --template infra/outgoing.yaml
  AWS_REGION=eu-west-1 sam validate --lint --template infra/connections.yaml
  AWS_REGION=eu-west-1 sam validate --lint --template infra/doorbell.yaml
  AWS_REGION=eu-west-1 sam validate --lint --template infra/consumer/template.yaml
  python infra/translate.py
  cfn-lint --regions eu-west-1 eu-central-1 us-east-1 -- infra/operators.yaml .tools/translated/*.json
  .tools/checkov/bin/checkov --config-file infra/checkov.yaml --skip-download -f .tools/translated/template.json .tools/translated/outgoing.json .tools/translated/connections.json .tools/translated/doorbell.json
  echo '== Unit, property and documentation tests, and the storm in short'
  cargo test --workspace --no-run
  cargo test --quiet --workspace
  cargo test --quiet --workspace --test connections --test doorbell --test nested --test roles -- --ignored
  echo '== The example of a consumer'
  python -m unittest discover --quiet infra/consumer
  echo '== Connections of the templates'
  cargo build --workspace --bins
  "${CARGO_TARGET_DIR:-target}/debug/protimectl" check template.yaml infra/outgoing.yaml
  echo '== Documentation'
  RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps
  echo '== Unused dependencies'
  cargo shear
  echo '== Licences, sources and banned crates'
  cargo deny --log-level error check licenses sources bans
  echo '== Advisories'
  if cargo deny fetch db >.tools/advisories.log 2>&1; then
    cargo deny --log-level error check advisories
  else
    echo 'NOT CHECKED: the advisory database cannot be fetched from here (see .tools/advisories.log).'
  fi
}

# The tests of tests/end_to_end, on the stack deployed by sam deploy. Those that have the functions in their own process
# share nothing but local AWS, and run side by side.
end_to_end() {
  tools build local-aws
  axe
  echo '== End to end'
  cargo build --workspace --bins
  local it='cargo test --workspace --features end_to_end/stack --test it'
  $it --no-run
  local in_process='alarms:: answers:: crash:: delta:: earlier:: fields:: heal:: namesakes:: once:: overlap:: probe:: rings:: split:: unanswered:: watch:: writes::'
  # What these measure is the functions as they are deployed. Those compile while other tests mostly wait; what fails to
  # compile here fails once more below, where it is told.
  local released='many:: memory::'
  as_released nice -n 19 cargo lambda build --release -p subscriber -p publisher -p doorbell --lambda-dir .tools/ahead >.tools/ahead.log 2>&1 &
  local ahead=$!
  # shellcheck disable=SC2064 # its number now
  trap "kill $ahead 2>/dev/null" EXIT
  python infra/run.py bash -c "
    $it -- --test-threads=2 $in_process &&
    $it -- --test-threads=1 --skip ${in_process// / --skip } --skip ${released// / --skip } &&
    python tests/end_to_end/roles.py"
  wait "$ahead" || true
  trap - EXIT
  python infra/run.py --released $it -- --test-threads=1 $released
}

# What finds pages of the console that some people cannot use; only where there is a browser to show them.
axe() {
  if [ ! -x "${CHROMIUM:-/usr/bin/chromium}" ] || ! command -v npm >/dev/null; then
    return
  fi
  if [ .tools/axe/installed -nt infra/tools/axe/package-lock.json ]; then
    return
  fi
  mkdir -p .tools/axe
  cp infra/tools/axe/package.json infra/tools/axe/package-lock.json .tools/axe
  if npm ci --ignore-scripts --no-audit --no-fund --prefix .tools/axe >.tools/axe.log 2>&1; then
    touch .tools/axe/installed
  else
    echo 'axe-core cannot be installed from here (see .tools/axe.log).'
  fi
}

# The archive of a release, for this machine's processor.
archive() {
  tools build local-aws
  echo '== The archive of a release'
  case $(uname -m) in
    arm64 | aarch64) python infra/release.py --architecture arm64 --output .tools/release ;;
    *) python infra/release.py --architecture x86_64 --output .tools/release ;;
  esac
  check_archive .tools/release/*.zip
}

# Takes the path of the archive.
check_archive() {
  tools build local-aws
  python tests/end_to_end/archive.py "$1"
}

# Fails where the database of advisories cannot be had.
advisories() {
  tools build
  cargo deny --log-level error fetch db
  cargo deny --log-level error check advisories
}

# SEEDS=n: so many storms; SEED=n: that one, with its weather.
storm() {
  cargo test --profile storm --workspace --test storm -- --nocapture
}

# A hundred connections and five million records.
scale() {
  tools build local-aws
  cargo build --workspace --bins
  python infra/run.py --released cargo test --workspace --features end_to_end/stack --test it -- --ignored --nocapture scale::
}

# The picture of the dashboard in infra/OPERATIONS.md.
picture() {
  tools build local-aws
  python infra/run.py cargo run --quiet -p end_to_end --example dashboard
}

"${1//-/_}" "${@:2}"
