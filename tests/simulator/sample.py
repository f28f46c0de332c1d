"""Whether a test fails when a fact changes, for a random sample of facts.

    sample.py [NUMBER] [SEED]      changes so many facts (60), one at a time, runs the tests, and undoes the change

Half of them are rules of the simulator: of the code behind a mark such as `// §4: ...`, one condition, number or word is
changed. The other half are rows of the product's catalogue. The tests are those of the simulator and of the client.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CATALOGUE = ROOT / "shared/protime/catalogue.json"
MARK = re.compile(r"^(\s*)// (§[\d.]+: .+)")
# What code turns on, and what it is turned into.
CHANGES = (
    (r"(?<=[^=!<>])==", "!="), (r"!=", "=="), (r" >= ", " < "), (r" <= ", " > "), (r" > ", " <= "), (r" < ", " >= "),
    (r" && ", " || "), (r"\.is_some\(\)", ".is_none()"), (r"\.is_none\(\)", ".is_some()"), (r"\bis_some_and\(", "is_none_or("),
    (r"\bis_none_or\(", "is_some_and("), (r"\.is_empty\(\)", ".len() == 1"), (r"if !", "if "), (r"\((!)(?=\w)", "("),
    (r"\btrue\b", "false"), (r"\bfalse\b", "true"), (r"(?<=[ (\[-])[1-9]\d*(?=[ ,.;)\]])", "7"), (r'"(?=[A-Za-z_@-]+")', '"x'),
    (r"Some\((\w+)\) =>", r"Some(\1) if false =>"), (r"\.filter\(\|", ".filter(|_| false).filter(|"),
)


def rules() -> list[tuple[str, Path, list[tuple[int, int, str]]]]:
    """Each marked rule, and the changes of the code below its mark, up to the end of its function."""
    found = []
    for file in sorted((ROOT / "tests/simulator/src").glob("*.rs")):
        lines = file.read_text().splitlines(keepends=True)
        for number, line in enumerate(lines):
            mark = MARK.match(line)
            if not mark:
                continue
            start = sum(map(len, lines[: number + 1]))
            changes, position = [], start
            for code in lines[number + 1 : number + 30]:
                if code.strip() and len(code) - len(code.lstrip()) < len(mark[1]):
                    break
                for pattern, becomes in CHANGES if "//" not in code else ():
                    changes += [(position + match.start(), position + match.end(), match.expand(becomes)) for match in re.finditer(pattern, code)]
                position += len(code)
            if changes:
                found.append((mark[2], file, changes))
    return found


def leaves(value: object, place: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    if isinstance(value, dict):
        # Names and sources of pages are not what a page says.
        members = [(key, member) for key, member in value.items() if key not in ("title", "source", "note", "certainty")]
    elif isinstance(value, list):
        members = list(enumerate(value))
    else:
        return [place]
    return [leaf for key, member in members for leaf in leaves(member, (*place, key))]


def row_changed(place: tuple[object, ...]) -> tuple[str, str]:
    """The catalogue with one value changed, and what it was."""
    catalogue = json.loads(CATALOGUE.read_text())
    parent = catalogue
    for key in place[:-1]:
        parent = parent[key]
    old = parent[place[-1]]
    parent[place[-1]] = not old if isinstance(old, bool) else old + 1 if isinstance(old, int) else f"{old}x"
    names, at = [], catalogue
    for key in place:
        at = at[key]
        names.append(at["name"] if isinstance(at, dict) and "name" in at else at["operation"] if isinstance(at, dict) and "operation" in at else str(key))
    return json.dumps(catalogue), f"{' '.join(names)}: {old}"


def verdict() -> str:
    packages = ["-p", "simulator", "-p", "protime"]
    if subprocess.run(["cargo", "build", "--quiet", "--tests", *packages], cwd=ROOT, capture_output=True).returncode:
        return "does not compile"
    tested = subprocess.run(["cargo", "test", "--quiet", "--tests", *packages], cwd=ROOT, capture_output=True, timeout=500)
    return "noticed" if tested.returncode else "NOT NOTICED"


def with_change(file: Path, text: str) -> str:
    original = file.read_text()
    try:
        file.write_text(text)
        return verdict()
    except subprocess.TimeoutExpired:
        return "noticed"
    finally:
        file.write_text(original)


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    chance = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    told, noticed = 0, 0

    def tell(result: str, what: str) -> None:
        nonlocal told, noticed
        told, noticed = told + 1, noticed + (result == "noticed")
        print(f"{result}: {what}", flush=True)

    known = rules()
    # A rule may come twice, with another change.
    while told < wanted // 2:
        what, file, changes = chance.choice(known)
        start, end, becomes = chance.choice(changes)
        text = file.read_text()
        result = with_change(file, text[:start] + becomes + text[end:])
        if result != "does not compile":
            line = text.count("\n", 0, start) + 1
            tell(result, f"{what} ({file.name}:{line}: {text[start:end].strip()} -> {becomes.strip()})")
    places = leaves(json.loads(CATALOGUE.read_text()))
    for place in chance.sample(places, wanted - told):
        text, what = row_changed(place)
        tell(with_change(CATALOGUE, text), what)
    print(f"{noticed} of {told} changed facts are noticed")


main()
