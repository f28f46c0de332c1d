"""The crates that are linked into the functions: their bill of materials (CycloneDX), and their licences."""

from __future__ import annotations

import datetime
import json
import re
import subprocess
import tomllib
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from local_stack import ROOT, Failure
from packageurl import PackageURL

LICENCE_FILES = re.compile("(licen[sc]e|copying|copyright|notice|unlicense)", re.IGNORECASE)


@dataclass(frozen=True, order=True)
class Crate:
    name: str
    version: str
    licence: str = field(compare=False)
    authors: str = field(compare=False)
    folder: Path = field(compare=False)
    sha256: str | None = field(compare=False)
    is_ours: bool = field(compare=False)

    def texts(self) -> list[str]:
        """The licences as the crate ships them."""
        files = sorted(file for file in self.folder.iterdir() if LICENCE_FILES.match(file.name) and file.is_file())
        return [file.read_text(errors="replace").strip() for file in files]


def run(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def linked(packages: tuple[str, ...], target: str) -> list[Crate]:
    """What cargo links into these packages for this target; what only builds them is left out."""
    selected = [part for package in packages for part in ("-p", package)]
    options = ["--locked", "--edges", "normal,no-proc-macro", "--target", target, "--prefix", "none", "--format", "{p}"]
    tree = run("cargo", "tree", *selected, *options)
    names = {tuple(line.split()[:2]) for line in tree.splitlines() if line.strip()}
    known = {(package["name"], f"v{package['version']}"): package for package in json.loads(run("cargo", "metadata", "--locked", "--format-version", "1"))["packages"]}
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    sums = {(package["name"], f"v{package['version']}"): package.get("checksum") for package in locked}
    return sorted(
        Crate(
            name=known[name]["name"],
            version=known[name]["version"],
            # Some write MIT/Apache-2.0, which SPDX does not know.
            licence=(known[name]["license"] or "").replace(" / ", " OR ").replace("/", " OR "),
            authors=", ".join(known[name]["authors"]) or f"The authors of {known[name]['name']}",
            folder=Path(known[name]["manifest_path"]).parent,
            sha256=sums[name],
            is_ours=known[name]["source"] is None,
        )
        for name in names
    )


def rust_version() -> str:
    return run("rustc", "--version").split()[1]


def bill_of_materials(crates: list[Crate], version: str, moment: int) -> bytes:
    """CycloneDX 1.6, the same bytes each time."""
    product = Component(name="protime-connector", version=version, type=ComponentType.APPLICATION, bom_ref="protime-connector", licenses=[LicenseExpression("MIT")])
    standard_library = Component(name="rust-std", version=rust_version(), bom_ref="rust-std", licenses=[LicenseExpression("MIT OR Apache-2.0")])
    components = [standard_library] + [
        Component(
            name=crate.name,
            version=crate.version,
            bom_ref=f"{crate.name}@{crate.version}",
            purl=PackageURL("cargo", name=crate.name, version=crate.version),
            licenses=[LicenseExpression(crate.licence)],
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=crate.sha256)] if crate.sha256 else [],
        )
        for crate in crates
        if not crate.is_ours
    ]
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"protime-connector/{version}/{moment}"), components=components)
    bom.metadata.component = product
    bom.metadata.timestamp = datetime.datetime.fromtimestamp(moment, datetime.timezone.utc)
    bom.register_dependency(product, components)
    return JsonV1Dot6(bom).output_as_string(indent=2).encode()


def licences(crates: list[Crate]) -> bytes:
    """Each licence text once, under the crates that ship it."""
    ours = (ROOT / "LICENSE").read_text()
    mit = ours[ours.index("Permission is hereby granted") :]
    foreign = [crate for crate in crates if not crate.is_ours]
    apache = next(text for crate in foreign if crate.licence == "Apache-2.0" for text in crate.texts() if "Apache License" in text)
    crates_of: dict[str, list[str]] = {}
    for crate in foreign:
        texts = crate.texts()
        # Some crates name their licence and ship no text of it.
        if not texts and re.search(r"\bMIT\b", crate.licence):
            texts = [f"MIT License\n\nCopyright (c) {crate.authors}\n\n{mit}".strip()]
        elif not texts and re.search(r"\bApache-2.0\b", crate.licence):
            texts = [apache]
        elif not texts:
            raise Failure(f"The crate {crate.name} {crate.version} ships no text of its licence {crate.licence}: add one to infra/linked_crates.py.")
        for text in texts:
            crates_of.setdefault(text, []).append(f"{crate.name} {crate.version} ({crate.licence})")
    rule = "=" * 100
    parts = ["The functions are linked from the Rust standard library, see LICENSES-RUST.html, and these crates."]
    parts += [f"{rule}\n" + "\n".join(names) + f"\n{rule}\n\n{text}" for text, names in crates_of.items()]
    return ("\n\n".join(parts) + "\n").encode()


def rust_licences() -> bytes:
    """What the authors of Rust ship on the licences of its standard library."""
    file = Path(run("rustc", "--print", "sysroot").strip()) / "share" / "doc" / "rust" / "COPYRIGHT-library.html"
    if not file.exists():
        raise Failure(f"{file} does not exist. A toolchain of rustup has it: https://rustup.rs")
    return file.read_bytes()
