"""Makes the archive of this version, which sam deploy deploys without a compiler: make release.

    release.py [--architecture arm64|x86_64]... [--output DIRECTORY]

The same commit makes the same bytes, wherever it is built with the pinned tools.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

from linked_crates import bill_of_materials, licences, linked, run, rust_licences
from local_stack import ROOT, Failure, main, release_environment, say, step

# The first one has the templates of the usual names.
TARGETS = {"arm64": "aarch64-unknown-linux-gnu", "x86_64": "x86_64-unknown-linux-gnu"}
FUNCTIONS = ("subscriber", "publisher", "doorbell")
TEMPLATES = ("template.yaml", "infra/outgoing.yaml", "infra/doorbell.yaml")
# What those read who deploy and use the connector.
DOCUMENTS = (
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "functions/*/README.md",
    "infra/OPERATIONS.md",
    "infra/cli/README.md",
    "shared/protime/README.md",
)
# What these documents have the reader use or look at.
COPIED = (*DOCUMENTS, "samconfig.toml", "infra/connections.yaml", "infra/dashboard.svg", "infra/events/*.json")


def zipped(files: dict[str, bytes], mode: int) -> bytes:
    """A zip file whose bytes depend on nothing but these."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = (0o100000 | mode) << 16
            out.writestr(entry, content, zipfile.ZIP_DEFLATED, 9)
    return archive.getvalue()


def functions(architecture: str) -> dict[str, bytes]:
    """The packages of the functions, as released."""
    packages = [part for name in FUNCTIONS for part in ("-p", name)]
    with tempfile.TemporaryDirectory() as folder, step(f"Building the functions for {architecture} (some minutes the first time)"):
        option = f"--{architecture.replace('_', '-')}"
        command = ["cargo", "lambda", "build", "--quiet", "--locked", "--release", option, *packages, "--lambda-dir", folder]
        built = subprocess.run(command, cwd=ROOT, env=release_environment(os.environ), capture_output=True, text=True)
        if built.returncode != 0:
            raise Failure(f"cargo lambda build failed:\n{built.stderr[-3000:]}")
        binaries = {name: (Path(folder) / name / "bootstrap").read_bytes() for name in FUNCTIONS}
    return {f"functions/{name}-{architecture}.zip": zipped({"bootstrap": binary}, 0o755) for name, binary in binaries.items()}


def replaced(text: str, pattern: str, replacement: str, path: str) -> str:
    changed, count = re.subn(pattern, replacement, text)
    if count == 0:
        raise Failure(f"{path}: nothing in it looks like {pattern}, which the release replaces; correct infra/release.py.")
    return changed


def template(path: str, architecture: str) -> str:
    """A template whose functions are packages, not sources."""
    text = (ROOT / path).read_text()
    text = replaced(text, r" +Metadata:\n +BuildMethod: rust-cargolambda\n", "", path)
    text = replaced(text, r"(CodeUri: \S*functions/\w+)\n", rf"\1-{architecture}.zip\n", path)
    return replaced(
        text,
        r"(  Architecture:\n    Type: String\n)    Default: arm64\n    AllowedValues: \[arm64, x86_64\]\n",
        rf"\1    Default: {architecture}\n    AllowedValues: [{architecture}]\n",
        path,
    )


def release(architectures: list[str], output: Path) -> Path:
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    moment = int(os.environ.get("SOURCE_DATE_EPOCH") or run("git", "log", "-1", "--format=%ct"))
    files = {str(file.relative_to(ROOT)): file.read_bytes() for pattern in COPIED for file in ROOT.glob(pattern)}
    crates = set()
    for architecture in architectures:
        suffix = "" if architecture == next(iter(TARGETS)) else f"-{architecture}"
        for path in TEMPLATES:
            files[path.replace(".yaml", f"{suffix}.yaml")] = template(path, architecture).encode()
        files |= functions(architecture)
        crates |= set(linked(FUNCTIONS, TARGETS[architecture]))
    with step("Collecting the bill of materials and the licences"):
        files["bill-of-materials.cdx.json"] = bill_of_materials(sorted(crates), version, moment)
        files["LICENSES-CRATES.txt"] = licences(sorted(crates))
        files["LICENSES-RUST.html"] = rust_licences()
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())]
    files["SHA256SUMS"] = "".join(sums).encode()
    name = f"protime-connector-{version}"
    archive = output / f"{name}.zip"
    output.mkdir(parents=True, exist_ok=True)
    content = zipped({f"{name}/{path}": content for path, content in files.items()}, 0o644)
    archive.write_bytes(content)
    say(f"{hashlib.sha256(content).hexdigest()}  {archive}")
    return archive


def command_line() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", action="append", choices=list(TARGETS), help="only for this processor")
    parser.add_argument("--output", type=Path, default=ROOT / "target" / "release-archive", help="where the archive is put")
    asked = parser.parse_args()
    release(asked.architecture or list(TARGETS), asked.output)
    return 0


if __name__ == "__main__":
    sys.exit(main(command_line))
