"""What make release made: complete, listed, free of this machine's paths; and deployed where nothing can be compiled.

    archive.py ARCHIVE
"""

import hashlib
import io
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "infra"))
from deploy import Template  # noqa: E402

# From the header of an ELF file: what processor its code is for.
MACHINES = {"arm64": 183, "x86_64": 62}
# By cargo, where a panic tells its place: /cargo/registry/src/<registry>/serde_json-1.0.151/src/de.rs.
PANIC_PLACE = re.compile(rb"/cargo/registry/src/[^/\0]+/([A-Za-z0-9_-]+)-(\d+\.\d+\.\d+[^/\0]*)/")
# What an operator reads, and what these documents have the operator use.
DOCUMENTS = (
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "functions/doorbell/README.md",
    "functions/publisher/README.md",
    "functions/subscriber/README.md",
    "infra/OPERATIONS.md",
    "infra/cli/README.md",
    "shared/protime/README.md",
)
USED = ("samconfig.toml", "LICENSES-RUST.html", "infra/connections.yaml", "infra/dashboard.svg", "infra/events/clockings.json")
# The last words of the Apache License, which every crate of AWS ships.
APACHE = "END OF TERMS AND CONDITIONS"


def check(condition: object, message: str) -> None:
    if not condition:
        sys.exit(f"the archive: {message}")


def unpacked(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as files:
        check(files.testzip() is None, "it is damaged")
        folder = f"{archive.stem}/"
        check(all(name.startswith(folder) for name in files.namelist()), f"everything lies in {folder}")
        return {name.removeprefix(folder): files.read(name) for name in files.namelist()}


def sums(files: dict[str, bytes]) -> None:
    listed = dict(reversed(line.split("  ", 1)) for line in files["SHA256SUMS"].decode().splitlines())
    check(listed == {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != "SHA256SUMS"}, "SHA256SUMS is wrong")


def templates(files: dict[str, bytes]) -> set[str]:
    """Each function of each template is a package, for the processor that the template allows."""
    packages = set()
    for name in (name for name in files if name.endswith(".yaml")):
        template = yaml.load(files[name], Template)
        if "Architecture" not in template.get("Parameters", {}):
            continue
        [architecture] = template["Parameters"]["Architecture"]["AllowedValues"]
        check(template["Parameters"]["Architecture"]["Default"] == architecture, f"{name}: Architecture")
        for resource in template["Resources"].values():
            if resource["Type"] != "AWS::Serverless::Function":
                continue
            check("Metadata" not in resource, f"{name} would be built")
            package = str((Path("/") / Path(name).parent / resource["Properties"]["CodeUri"]).resolve().relative_to("/"))
            check(package in files, f"{name} names {package}, which is not there")
            packages.add(package)
            with zipfile.ZipFile(io.BytesIO(files[package])) as function:
                [bootstrap] = function.infolist()
                check(bootstrap.filename == "bootstrap" and bootstrap.external_attr >> 16 & 0o111 == 0o111, f"{package} cannot be run")
                binary = function.read(bootstrap)
            check(int.from_bytes(binary[18:20], "little") == MACHINES[architecture], f"{package} is not for {architecture}")
            for path in (str(Path.home()).encode() + b"/", str(ROOT).encode() + b"/"):
                check(path not in binary, f"{package} has paths of this machine in it: {path.decode()}")
            check(len(files[package]) < 5_000_000, f"{package} has {len(files[package])} bytes")
            crates(files, package, binary)
    check(packages == {name for name in files if name.startswith("functions/") and not name.endswith("/README.md")}, "a package is used by no template")
    return packages


def crates(files: dict[str, bytes], package: str, binary: bytes) -> None:
    """Whatever crate the binary itself names is in the bill of materials, and its licence is there."""
    named = {(name.decode(), version.decode()) for name, version in PANIC_PLACE.findall(binary)}
    check(len(named) > 30, f"{package} names {len(named)} crates; what release.py writes instead of cargo's folder has changed")
    components = {(component["name"], component["version"]) for component in json.loads(files["bill-of-materials.cdx.json"])["components"]}
    check(named <= components, f"crates of {package} that the bill of materials lacks: {sorted(named - components)}")
    licences = files["LICENSES-CRATES.txt"].decode()
    missing = [(name, version) for name, version in components - {("rust-std", version) for _, version in components} if f"{name} {version} (" not in licences]
    check(not missing, f"crates without a licence: {missing}")
    check(APACHE in licences and "Permission is hereby granted" in licences, "the texts of the licences")


def bill_of_materials(files: dict[str, bytes]) -> None:
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(files["bill-of-materials.cdx.json"].decode())
    check(error is None, f"the bill of materials is not CycloneDX: {str(error)[:500]}")


def repeated(archive: Path) -> None:
    """Made once more, from functions that are built, it has the same bytes."""
    architectures = [option for package in ("arm64", "x86_64") if f"subscriber-{package}.zip" in str(zipfile.ZipFile(archive).namelist()) for option in ("--architecture", package)]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, str(ROOT / "infra" / "release.py"), *architectures, "--output", folder], check=True)
        check((Path(folder) / archive.name).read_bytes() == archive.read_bytes(), "made once more, it has other bytes")


def main() -> None:
    archive = Path(sys.argv[1]).resolve()
    files = unpacked(archive)
    sums(files)
    packages = templates(files)
    bill_of_materials(files)
    for document in (*DOCUMENTS, *USED):
        check(document in files, f"{document} is missing")
    repeated(archive)
    print(f"{archive.name}: {len(files)} files, {len(packages)} packages")
    sys.exit(subprocess.call([sys.executable, str(ROOT / "infra" / "demo.py"), str(archive)]))


main()
