"""Whether a test fails when a fact changes, for a random sample of facts.

    sample.py [NUMBER] [SEED]      changes so many facts (60), one at a time, and runs the tests

Half of them are rules of the simulator: of the code behind a mark such as `// §4: ...`, one condition, number or word is
changed. The other half are rows of the product's catalogue, each given the value of another row. The tests are those of
the simulator and of the client. All is done in a copy of the project, in the directory for temporary files or in that
of the variable SAMPLE_DIRECTORY; what was built there serves the next sample.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
COPY = Path(os.environ.get("SAMPLE_DIRECTORY") or Path(tempfile.gettempdir()) / "protime-sample") / "project"
SIMULATOR = COPY / "tests/simulator/src"
CATALOGUE = COPY / "shared/protime/catalogue.json"
MARK = re.compile(r"^(\s*)// (§[\d.]+: .+)")
# What code turns on, and what it is turned into. Of the error codes only BadRequest is documented.
CHANGES = (
    (r"(?<=[^=!<>])==", "!="), (r"!=", "=="), (r" >= ", " < "), (r" <= ", " > "), (r" > ", " <= "), (r" < ", " >= "),
    (r" && ", " || "), (r"\.is_some\(\)", ".is_none()"), (r"\.is_none\(\)", ".is_some()"), (r"\bis_some_and\(", "is_none_or("),
    (r"\bis_none_or\(", "is_some_and("), (r"\.is_empty\(\)", ".len() == 1"), (r"if !", "if "), (r"\((!)(?=\w)", "("),
    (r"\btrue\b", "false"), (r"\bfalse\b", "true"), (r"(?<=[ (\[-])[1-9]\d*(?=[ ,.;)\]])", "7"),
    (r'"(?!(?:Conflict|Forbidden|Gone|MethodNotAllowed|NotFound|Unauthorized|ValidationFailed)")(?=[A-Za-z_@-]+")', '"x'),
    (r"Some\((\w+)\) =>", r"Some(\1) if false =>"), (r"\.filter\(\|", ".filter(|_| false).filter(|"),
)
# Those that are likely to notice come first.
OF_RULES = (("-p", "simulator", "--lib", "--test", "it"), ("-p", "protime", "--tests"))
OF_ROWS = (("-p", "protime", "--test", "documentation"), ("-p", "protime", "--tests"))
LONGEST = 600  # seconds

Change = tuple[Path, str, str]


def copy() -> None:
    """Only what differs is written, so that cargo builds no more than it has to."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True)
    wanted = {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    known = {str(file.relative_to(COPY)) for file in COPY.rglob("*") if file.is_file() and file.relative_to(COPY).parts[0] != "target"}
    for name in known - wanted:
        (COPY / name).unlink()
    for name in wanted:
        source, target = ROOT / name, COPY / name
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def rules() -> list[tuple[str, Path, list[tuple[int, int, str]]]]:
    """Each marked rule, and the changes of the code below its mark, up to the end of its function."""
    found = []
    for file in sorted(SIMULATOR.glob("*.rs")):
        lines = file.read_text().splitlines(keepends=True)
        for number, line in enumerate(lines):
            mark = MARK.match(line)
            if not mark:
                continue
            changes, position = [], sum(map(len, lines[: number + 1]))
            for code in lines[number + 1 : number + 30]:
                if code.strip() and len(code) - len(code.lstrip()) < len(mark[1]):
                    break
                for pattern, becomes in CHANGES if "//" not in code else ():
                    matches = [match for match in re.finditer(pattern, code) if match.expand(becomes) != match[0]]
                    changes += [(position + match.start(), position + match.end(), match.expand(becomes)) for match in matches]
                position += len(code)
            if changes:
                found.append((mark[2], file, changes))
    return found


def changed_rule(chance: random.Random) -> Change:
    what, file, changes = chance.choice(rules())
    start, end, becomes = chance.choice(changes)
    text = file.read_text()
    line = text.count("\n", 0, start) + 1
    told = f"{what} ({file.name}:{line}: {text[start:end].strip()} -> {becomes.strip()})"
    return file, text[:start] + becomes + text[end:], told


def leaves(value: object, place: tuple[object, ...] = ()) -> list[tuple[tuple[object, ...], object]]:
    if isinstance(value, dict):
        # Names and sources of pages are not what a page says, nor is what is personal.
        members = [(key, member) for key, member in value.items() if key not in ("title", "source", "note", "certainty", "personal")]
    elif isinstance(value, list):
        members = list(enumerate(value))
    else:
        return [(place, value)]
    return [leaf for key, member in members for leaf in leaves(member, (*place, key))]


def changed_row(chance: random.Random) -> Change:
    """One value becomes that of another row, if there is another."""
    catalogue = json.loads(CATALOGUE.read_text())
    known = [leaf for leaf in leaves(catalogue) if leaf[1] is not None]
    place, old = chance.choice(known)
    kind = [key for key in place if isinstance(key, str)]
    others = [value for other, value in known if [key for key in other if isinstance(key, str)] == kind and value != old]
    new = chance.choice(others) if others else not old if isinstance(old, bool) else old + 1 if isinstance(old, int) else f"{old}x"
    names, parent = [], catalogue
    for key in place[:-1]:
        parent = parent[key]
        named = isinstance(parent, dict) and (parent.get("name") or parent.get("operation"))
        names.append(str(named or key))
    parent[place[-1]] = new
    return CATALOGUE, json.dumps(catalogue), f"{' '.join(names)} {place[-1]}: {old} -> {new}"


def cargo(*arguments: str) -> tuple[bool, str]:
    command = ["cargo", "test", "--quiet", *arguments]
    process = subprocess.Popen(command, cwd=COPY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        # Of the session that was started above: cargo and the tests that it runs.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return False, "---- out of time stdout ----"
    return process.returncode == 0, output


def verdict(stages: tuple[tuple[str, ...], ...]) -> str:
    for stage in stages:
        compiles, _ = cargo("--no-run", *stage)
        if not compiles:
            return "does not compile"
        passes, output = cargo(*stage)
        if not passes:
            failed = re.findall(r"^---- (.+) stdout ----$", output, re.MULTILINE)
            return f"noticed by {', '.join(failed[:3]) or 'a test that did not end well'}"
    return "NOT NOTICED"


def with_change(change: Change, stages: tuple[tuple[str, ...], ...]) -> str:
    file, text, _ = change
    original = file.read_text()
    try:
        file.write_text(text)
        return verdict(stages)
    finally:
        file.write_text(original)


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    chance = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    copy()
    unchanged = verdict((OF_RULES[0], OF_ROWS[1]))
    if unchanged != "NOT NOTICED":
        sys.exit(f"without any change: {unchanged}")
    told, noticed, tried = 0, 0, set()
    while told < wanted:
        draw, stages = (changed_rule, OF_RULES) if told < wanted // 2 else (changed_row, OF_ROWS)
        change = draw(chance)
        if change[2] in tried:
            continue
        tried.add(change[2])
        result = with_change(change, stages)
        # What does not compile is no fact: another is drawn.
        if result != "does not compile":
            told, noticed = told + 1, noticed + (result != "NOT NOTICED")
            print(f"{result}: {change[2]}", flush=True)
    print(f"{noticed} of {told} changed facts are noticed")


main()
