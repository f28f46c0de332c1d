"""Local AWS, the simulator and the deployed stack, started for as long as something needs them.

Everything listens on loopback, on ports that are free at the time, so several checkouts can run at once. No
process outlives the one that started it, and the user's own AWS configuration is neither read nor changed.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zipfile
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FUNCTIONS = ("subscriber", "publisher", "doorbell")
# With the features that the whole workspace needs: for some packages alone, cargo would choose others, and compile what
# they share once more.
BUILD = ["cargo", "build", "--workspace"]
# What cargo writes of its progress: "Building [===>    ] 123/456: tokio, hyper(build)".
PROGRESS = re.compile(r"Building \[.*\] (\d+)/(\d+)(?:: (.*))?")
# Seconds between two lines of progress that are not on a terminal.
PROGRESS_INTERVAL = 30
TOOLS = ROOT / ".tools"
BUILT_FUNCTIONS = TOOLS / "built" / "functions"
LOGS = TOOLS / "logs"
REGION = "eu-west-1"
SECRET = "protime/acme"
# Local AWS lets the owner of this key do everything; functions have the rights of their roles.
ACCOUNT_KEY = "test"


class Failure(Exception):
    """Something the user can act on; the message says how."""


def say(text: str = "") -> None:
    print(text, flush=True)


@contextmanager
def step(text: str):
    """One line of progress, with the time it took."""
    print(f"  {text} ... ", end="", flush=True)
    started = time.monotonic()
    try:
        yield
    except BaseException:
        print("failed", flush=True)
        raise
    say(time_since(started))


def time_since(started: float) -> str:
    minutes, seconds = divmod(time.monotonic() - started, 60)
    return f"{int(minutes)} min {int(seconds)} s" if minutes else f"{seconds:.1f} s"


class Compilation:
    """Programs that cargo compiles in the background."""

    def __init__(self, stack: Stack, programs: tuple[str, ...]):
        # Cargo shows its progress only on a terminal, unless it is told how wide the line may be.
        environment = stack.environment() | {
            "CARGO_TERM_QUIET": "false",
            "CARGO_TERM_PROGRESS_WHEN": "always",
            "CARGO_TERM_PROGRESS_WIDTH": "120",
        }
        command = BUILD + [argument for program in programs for argument in ("--bin", program)]
        try:
            self.process = stack.start(command, "build", environment, stderr=subprocess.PIPE)
        except FileNotFoundError:
            raise Failure("cargo is not installed. Rust is needed: https://rustup.rs") from None
        self.programs = programs
        self.progress: tuple[str, str, str] | None = None
        self.printed: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        # Cargo ends a line that it writes again by a carriage return, which counts as the end of a line here.
        for line in io.TextIOWrapper(self.process.stderr, errors="replace"):
            if found := PROGRESS.search(line):
                self.progress = found.groups(default="")
            else:
                self.printed.append(line)

    def wait(self) -> None:
        """Shows how many crates are done: on a terminal in one line that changes, else in a line now and then."""
        what = f"  Compiling {', '.join(self.programs)} ... "
        terminal = sys.stdout.isatty()
        started = shown = time.monotonic()
        while self.reader.is_alive():
            self.reader.join(0.2)
            if self.progress:
                done, crates, current = self.progress
                text = f"{what}{done} of {crates} crates"
                if terminal:
                    line = f"{text}: {current}"[: shutil.get_terminal_size().columns - 1]
                    print(f"\r{line}\033[K", end="", flush=True)
                elif time.monotonic() - shown > PROGRESS_INTERVAL:
                    shown = time.monotonic()
                    say(text)
        text = what + time_since(started)
        say(f"\r{text}\033[K" if terminal else text)
        if self.process.wait() != 0:
            printed = "".join(self.printed[-15:])
            raise Failure(f"cargo build failed. If a crate cannot be downloaded, check the network and try again.\n{printed}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(what: str, ready, seconds: float = 60, log: Path | None = None):
    """Asks again and again; the result is the first that is neither None nor False."""
    end = time.monotonic() + seconds
    while True:
        result = ready()
        if result is not None and result is not False:
            return result
        if time.monotonic() > end:
            hint = f"; its log is {log}" if log else ""
            raise Failure(f"{what} did not happen within {seconds:.0f} seconds{hint}")
        time.sleep(0.1)


def die_with_parent() -> None:
    """Asks Linux to end this process with its parent, however the parent ends."""
    if sys.platform == "linux":
        parent_death_signal = 1
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGTERM)


def with_local_actions(template: Path) -> Path:
    """A copy whose roles have what local AWS asks for besides: AWS covers sqs:SendMessageBatch by sqs:SendMessage."""
    text = template.read_text()
    local = template.with_name("template-local.yaml")
    text = text.replace("Action: sqs:SendMessage\n", "Action: [sqs:SendMessage, sqs:SendMessageBatch]\n")
    text = text.replace("[sqs:SendMessage,", "[sqs:SendMessage, sqs:SendMessageBatch,")
    local.write_text(re.sub(r"^( *)- sqs:SendMessage$", r"\g<0>\n\1- sqs:SendMessageBatch", text, flags=re.MULTILINE))
    return local


def release_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What cargo gets to build functions that are deployed: the paths of this machine stay out of them, so that every
    machine builds the same bytes."""
    cargo_home = environment.get("CARGO_HOME") or Path.home() / ".cargo"
    return {**environment, "RUSTFLAGS": f"--remap-path-prefix={cargo_home}=/cargo"}


def target_folder() -> Path:
    """Where cargo puts what it builds."""
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def architecture() -> str:
    return "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"


class Stack:
    """Use as a context: everything it started is stopped at its end."""

    def __init__(self, name: str):
        self.name = name
        self.directory = Path(tempfile.mkdtemp(prefix="protime-local-"))
        self.processes: list[subprocess.Popen] = []
        self.endpoint = ""
        self.simulator = ""
        self.outputs: dict[str, str] = {}
        # Incoming connections besides those of the templates: the arguments of protimectl new connection.
        self.connections: list[list[str]] = []
        LOGS.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "Stack":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return self

    def __exit__(self, *_) -> None:
        for process in reversed(self.processes):
            self._signal(process, signal.SIGTERM)
        for process in self.processes:
            try:
                # Local AWS takes longer, to keep a state that nobody needs.
                process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                pass
            # Also what the process itself has started: its group ends as a whole.
            self._signal(process, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    @staticmethod
    def _signal(process: subprocess.Popen, number: int) -> None:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass

    def environment(self) -> dict[str, str]:
        """The user's environment, but pointing at local AWS and at no account."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        nothing = self.directory / "empty"
        nothing.touch()
        return kept | {
            "PATH": f"{TOOLS / 'build' / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCOUNT_KEY,
            "AWS_SECRET_ACCESS_KEY": ACCOUNT_KEY,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": str(nothing),
            "AWS_SHARED_CREDENTIALS_FILE": str(nothing),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
            "SAM_CLI_TELEMETRY": "0",
        }

    def run(self, command: list[str], log_name: str, advice: str, environment: dict[str, str] | None = None) -> None:
        """Runs a tool; what it prints goes to a log that a failure names."""
        log = LOGS / f"{log_name}.log"
        with log.open("wb") as output:
            try:
                code = subprocess.call(command, cwd=ROOT, env=environment or self.environment(), stdout=output, stderr=output)
            except FileNotFoundError:
                raise Failure(f"{command[0]} is not installed. {advice}") from None
        if code != 0:
            last = "\n".join(log.read_text(errors="replace").strip().splitlines()[-15:])
            raise Failure(f"{' '.join(command[:2])} failed. {advice}\nThe end of {log}:\n{last}")

    def start(self, command: list[str], log_name: str, environment: dict[str, str], **options) -> subprocess.Popen:
        log = (LOGS / f"{log_name}.log").open("wb")
        options = {"stdout": log, "stderr": log, "stdin": subprocess.DEVNULL} | options
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, start_new_session=True, preexec_fn=die_with_parent, **options
        )
        self.processes.append(process)
        return process

    def start_local_aws(self) -> None:
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        state = self.directory / "aws"
        state.mkdir()
        environment = self.environment() | {
            "GATEWAY_PORT": str(port),
            "BIND_HOST": "127.0.0.1",
            "AUTH": "true",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "MINISTACK_REGION": REGION,
            "TMPDIR": str(state),
            "STATE_DIR": str(state),
            "LOG_LEVEL": "INFO",
        }
        self.rights = LOGS / "rights.jsonl"
        self.rights.write_text("")
        python = TOOLS / "local-aws" / "bin" / "python"
        command = [str(python), str(ROOT / "infra" / "local_aws.py"), str(self.rights)]
        process = self.start(command, "local-aws", environment)
        log = LOGS / "local-aws.log"

        def answers() -> bool:
            if process.poll() is not None:
                raise Failure(f"local AWS ended at once; its log is {log}")
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1):
                    self.client("sqs").list_queues()
                    return True
            except Exception:  # noqa: BLE001 - not yet, whatever the reason
                return False

        wait_until("the start of local AWS", answers, log=log)

    def start_simulator(self, arguments: list[str]) -> None:
        """Starts the simulator, which is compiled already, and stores the secret that it prints."""
        process = self.start(
            [str(target_folder() / "debug" / "simulator"), "--listen", "127.0.0.1:0", "--exit-with-stdin", *arguments],
            "simulator",
            self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout
        line = process.stdout.readline().decode()
        if not line:
            raise Failure(f"the simulator did not start; its log is {LOGS / 'simulator.log'}")
        self.simulator = json.loads(line)["base_uri"]
        self.client("secretsmanager").create_secret(Name=SECRET, SecretString=line.strip())

    def build(self, template: str = "template.yaml") -> Path:
        """The template with the functions as cargo has compiled them for tests."""
        built = TOOLS / "built" / Path(template).stem
        built.mkdir(parents=True, exist_ok=True)
        text = re.sub(
            r"CodeUri: (?:\.\./)?functions/(\w+)",
            lambda found: f"CodeUri: {self.zipped(found[1])}",
            (ROOT / template).read_text(),
        )
        (built / "template.yaml").write_text(text)
        self.nest_connections(built)
        return built / "template.yaml"

    def zipped(self, function: str) -> Path:
        """The package of a function, made again where the function was compiled again."""
        compiled = target_folder() / "debug" / function
        folder = BUILT_FUNCTIONS / function
        package = folder.with_suffix(".zip")
        if package.exists() and package.stat().st_mtime > compiled.stat().st_mtime:
            return package
        folder.mkdir(parents=True, exist_ok=True)
        # What is there for debuggers takes longer to deploy than to compile.
        self.run(["strip", "-o", str(folder / "bootstrap"), str(compiled)], "strip", "The C compiler's package has it.")
        # Of the best compression, a third is lost, and nine tenths of the time are saved.
        whole = folder / "package.zip"
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped:
            zipped.write(folder / "bootstrap", "bootstrap")
        # At once, so that whoever stops this leaves no half of a package.
        return whole.replace(package)

    def nest_connections(self, built: Path) -> None:
        """The templates of further incoming connections, beside the one that nests them."""
        connections = built / "infra" / "connections.yaml"
        connections.parent.mkdir(exist_ok=True)
        for template in (ROOT / "infra").glob("connections*.yaml"):
            shutil.copy(template, connections.parent)
        for arguments in self.connections:
            program = str(target_folder() / "debug" / "protimectl")
            new = [program, "new", "connection", *arguments, "--file", str(connections), "--yes"]
            self.run(new, "new-connection", "What it printed says what is wrong.")

    def build_released(self, template: str = "template.yaml") -> Path:
        """The template that sam build makes, with the functions as they are deployed."""
        options = ["--template", template, "--parameter-overrides", f"Architecture={architecture()}"]
        advice = "If a crate cannot be downloaded, check the network and try again."
        built = TOOLS / "released" / Path(template).stem
        self.run(["sam", "build", "--build-dir", str(built), *options], "sam-build", advice, release_environment(self.environment()))
        return built / "template.yaml"

    def unpack(self, archive: Path) -> Path:
        """The template of a released archive for this machine's processor."""
        zipfile.ZipFile(archive).extractall(self.directory / "archive")
        [folder] = (self.directory / "archive").iterdir()
        own = folder / f"template-{architecture()}.yaml"
        return own if own.exists() else folder / "template.yaml"

    def deploy(self, template: Path, parameters: dict[str, str], suffix: str = "") -> None:
        """Deploys a template without anything that could compile. Outputs of further stacks begin with the suffix:
        PublishQueueUrl of `-outgoing` is OutgoingPublishQueueUrl."""
        quoted = {key: '"' + value.replace('"', '\\"') + '"' for key, value in parameters.items()}
        overrides = [f"{key}={value}" for key, value in ({"Architecture": architecture()} | quoted).items()]
        name = self.name + suffix
        bucket = f"deploy-{name.lower()}"
        self.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        only_sam = self.directory / "only-sam"
        if not only_sam.exists():
            only_sam.mkdir()
            (only_sam / "sam").symlink_to(TOOLS / "build" / "bin" / "sam")
        self.run(
            ["sam", "deploy", "--template-file", str(with_local_actions(template)), "--stack-name", name, "--s3-bucket", bucket,
             "--no-resolve-s3", "--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND",
             "--no-confirm-changeset", "--region", REGION, "--parameter-overrides", *overrides],
            f"sam-deploy{suffix}",
            "If you have changed the template, look there first.",
            # Seconds between two questions whether local AWS is done.
            self.environment() | {"PATH": str(only_sam), "SAM_CLI_POLL_DELAY": "0.1"},
        )
        stack = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        prefix = suffix.strip("-").capitalize()
        self.outputs |= {prefix + output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def client(self, service: str):
        import boto3
        from botocore.config import Config

        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=ACCOUNT_KEY,
            aws_secret_access_key=ACCOUNT_KEY,
            config=Config(retries={"max_attempts": 0}),
        )

    def variables(self) -> dict[str, str]:
        """What a command needs to use the stack: PagesQueueUrl is PAGES_QUEUE_URL."""
        screaming = {re.sub(r"(?<!^)(?=[A-Z])", "_", key).upper(): value for key, value in self.outputs.items()}
        return self.environment() | screaming | {
            "STACK_NAME": self.name,
            "SIMULATOR_URL": self.simulator,
            "LOCAL_AWS_LOG": str(LOGS / "local-aws.log"),
            "LOCAL_AWS_RIGHTS": str(self.rights),
            "SUBSCRIBER_BINARY": str(BUILT_FUNCTIONS / "subscriber" / "bootstrap"),
        }

    def copy_secret(self, name: str) -> None:
        """The simulator's secret under a further name, unless there is one of that name."""
        secrets = self.client("secretsmanager")
        value = secrets.get_secret_value(SecretId=SECRET)["SecretString"]
        try:
            secrets.create_secret(Name=name, SecretString=value)
        except secrets.exceptions.ResourceExistsException:
            pass

    def log_lines(self) -> list[str]:
        """What the functions have logged so far."""
        logs = self.client("logs")
        lines = []
        for group in logs.describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{self.name}-")["logGroups"]:
            for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"]):
                lines += [event["message"] for event in page["events"]]
        return lines

    def keep_logs(self) -> Path:
        """Keeps what the functions have logged beyond the end of local AWS."""
        kept = LOGS / "functions.log"
        kept.write_text("\n".join(line.rstrip() for line in self.log_lines()) + "\n")
        return kept

    def asked(self) -> list[dict]:
        """The requests that the simulator got, without those for tokens."""
        with urllib.request.urlopen(f"{self.simulator}/_simulator/requests") as answer:
            return [request for request in json.load(answer) if "/connect/token" not in request["target"]]


def prepare(stack: Stack, simulator: list[str], parameters: dict[str, str], archive: Path | None = None, released: bool = False) -> None:
    """Everything up and deployed, with a line for each step: the functions as cargo has compiled them, as sam build does, or
    from a released archive."""
    with step("Starting local AWS and the Protime simulator"):
        stack.start_local_aws()
        stack.start_simulator(simulator)
    if archive:
        with step(f"Unpacking {archive.name}"):
            template = stack.unpack(archive)
    elif released:
        with step("Building the Lambda functions with sam build (the first time: several minutes)"):
            template = stack.build_released()
    else:
        template = stack.build()
    with step(f"Deploying {template.name} with sam deploy"):
        stack.deploy(template, parameters)


def main(body) -> None:
    """Runs `body` so that failures are sentences and Ctrl-C is no failure."""
    try:
        sys.exit(body())
    except Failure as failure:
        print(f"\n{failure}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\nStopped.")
        sys.exit(130)
