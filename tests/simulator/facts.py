"""The table of documented facts: which test asserts each, or why none does, and where the simulator does it.

    facts.py            makes FACTS.md anew
    facts.py --check    fails where FACTS.md is not what this would make, where a mark or a reason does not name one fact,
                        or where a fact has neither a test nor a reason

A mark is a comment such as `// §4: An empty value does not mean the end`: the section of the documentation, or the entity,
and words of the fact. The reasons are in reasons.toml, the facts written as in a mark. The documentation lies beside the project where
it is developed; elsewhere the facts are those of FACTS.md.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DOCUMENTATION = ROOT.parent / "shared" / "protime-api.md"
ENTITIES = ROOT.parent / "shared" / "protime-entities.md"
TABLE = HERE / "FACTS.md"
REASONS = HERE / "reasons.toml"
README = HERE / "README.md"
SOURCES = ("tests/simulator/src", "tests/simulator/tests", "tests/end_to_end/tests", "shared/protime/tests", "shared/protime/src", "functions")
SECTION = r"§([\w./-]+)"
MARK = re.compile(rf"// {SECTION}: (.+)")
FUNCTION = re.compile(r"^\s*(?:pub(?:\([^)]*\))? )?(?:async )?fn (\w+)|^(?:pub(?:\([^)]*\))? )?(?:const|static|struct|enum) (\w+)")
# What a client cannot meet: how the documentation itself is laid out, who wrote about Protime elsewhere, and open questions.
LEFT_OUT = ("0", "0.1", "0.2", "10", "10.1", "10.2", "10.3", "11", "12", "13.2")
TAG = re.compile(r"\*{0,2}\[D\]")
HEAD = """# Documented facts

Made by `tests/simulator/facts.py` from the documentation, the marks in tests and code, and `reasons.toml`; do not edit.
What a client cannot meet, such as the history of the documentation, is left out. The rows of each entity
(operations, filters, scopes, bodies, properties) are facts of `src/documentation.json`; they are held against the
product's catalogue field by field by `shared/protime/tests/documentation.rs`. What else is said of an entity is at the
end, below its name.

| section | fact | test | simulator |
|---|---|---|---|
"""

Fact = tuple[str, str]


def plain(text: str) -> str:
    return re.sub(r"[`*\\]", "", re.sub(r"\s+", " ", text)).strip().lower()


class Blocks:
    """The paragraphs and items of lists, as they end."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.lines: list[str] = []
        self.section, self.all_documented, self.list_documented, self.is_item = "0", False, False, False

    def end(self) -> None:
        text = " ".join(self.lines)
        self.lines.clear()
        if not text:
            return
        is_introduction = text.endswith(":") and not self.is_item
        if is_introduction or not self.is_item:
            self.list_documented = is_introduction and TAG.search(text) is not None
        # Below a heading that is documented, some lines are inferred or unknown as a whole.
        is_open = text.endswith("[I]") or re.match(r".{0,60}\[[IU]\]", text) is not None
        documented = self.all_documented or (self.list_documented and self.is_item)
        if not is_introduction and (TAG.search(text) or (documented and not is_open)):
            self.facts.append((self.section, text))

    def begin(self, line: str, is_item: bool) -> None:
        self.end()
        self.is_item = is_item
        self.lines.append(line)


def documented() -> list[Fact]:
    """The facts marked [D], by section: rows of tables, items of lists, paragraphs."""
    blocks, rows, of_table = Blocks(), 0, False
    for line in DOCUMENTATION.read_text().splitlines():
        heading = re.match(r"#{2,3} ([\d.]+)\.? (.*)", line)
        if heading:
            blocks.end()
            blocks.section, blocks.all_documented, rows = heading[1].rstrip("."), bool(TAG.search(heading[2])), 0
        elif line.startswith("|"):
            blocks.end()
            rows += 1
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            is_head = rows == 1 or set(line) <= set("|-: ")
            if rows == 1:
                of_table = bool(TAG.search(line)) or "Since" in cells
            tagged = TAG.search(line) or re.fullmatch("D|D .*", cells[-1]) or "D" in cells[1:3]
            if not is_head and (tagged or of_table or blocks.all_documented):
                blocks.facts.append((blocks.section, " | ".join(cells)))
        elif not line.strip() or line == "---":
            blocks.end()
            rows = 0
        elif re.match(r"(- |\d+\. )", line):
            blocks.begin(re.sub(r"^(- |\d+\. )", "", line), True)
        elif blocks.lines:
            blocks.lines.append(line.strip())
        else:
            blocks.begin(line.strip(), False)
    blocks.end()
    return [(section, text) for section, text in blocks.facts if section not in LEFT_OUT]


def of_entities() -> list[Fact]:
    """What the pages of single entities say beside their tables."""
    facts, entity, is_listed = [], "", False
    for line in ENTITIES.read_text().splitlines():
        heading = re.match(r"#+ .*?(?:\(`(.+)`\))?$", line)
        if heading:
            entity, is_listed = heading[1] or "", False
        elif line in ("Notes per operation:", "Special cases:"):
            is_listed = True
        elif line.startswith("- ") and entity and is_listed:
            facts.append((entity, line.removeprefix("- ")))
        elif line:
            is_listed = False
    return facts


def tabled() -> list[Fact]:
    rows = re.findall(rf"^\| {SECTION} \| (.*?) \| [^|]*\| [^|]*\|$", TABLE.read_text(), re.MULTILINE)
    return [(section, text.replace("¦", "|")) for section, text in rows]


def marks() -> list[tuple[str, str, Path, str]]:
    found = []
    for source in SOURCES:
        for file in sorted((ROOT / source).rglob("*.rs")):
            name = ""
            for line in file.read_text().splitlines():
                function = FUNCTION.match(line)
                if function:
                    name = function[1] or function[2]
                mark = MARK.search(line)
                if mark:
                    found.append((mark[1], mark[2], file.relative_to(ROOT), name))
    return found


def place(file: Path, name: str) -> str:
    return f"`{file.parent.parent.name}/{file.stem}::{name}`" if file.parts[0] != "tests" else f"`{file.stem}::{name}`"


def named(facts: list[Fact], section: str, words: str) -> list[int]:
    return [index for index, (known, text) in enumerate(facts) if known == section and plain(words) in plain(text)]


def collected(facts: list[Fact]) -> tuple[dict[int, list[str]], dict[int, list[str]], list[str]]:
    """By fact: the tests or the reason, and the places in the simulator; and what is wrong."""
    tests, done, reasons, wrong = defaultdict(list), defaultdict(list), defaultdict(list), []
    for section, words, file, name in marks():
        of = named(facts, section, words)
        if len(of) != 1:
            wrong.append(f"{file}: {len(of)} facts of §{section} have the words, instead of one: {words}")
        for index in of:
            (done if "simulator/src" in str(file) else tests)[index].append(place(file, name))
    for group in tomllib.loads(REASONS.read_text())["no_test"]:
        for fact in group["facts"]:
            section, words = fact.removeprefix("§").split(": ", 1)
            of = named(facts, section, words)
            if len(of) != 1:
                wrong.append(f"{REASONS.name}: {len(of)} facts of §{section} have the words, instead of one: {words}")
            for index in of:
                if index in tests:
                    wrong.append(f"{REASONS.name}: the fact has a test, {tests[index][0]}; delete it here: {fact}")
                reasons[index].append(f"no test: {group['reason']}")
    for index, (section, text) in enumerate(facts):
        if index not in tests and index not in reasons:
            wrong.append(f"neither a test nor a reason in {REASONS.name}: §{section}: {text}")
    return {**reasons, **tests}, done, wrong


def main() -> None:
    facts = documented() + of_entities() if DOCUMENTATION.exists() else tabled()
    told, done, wrong = collected(facts)
    if wrong:
        sys.exit("\n".join(wrong))
    made = HEAD
    for index, (section, text) in enumerate(facts):
        asserted, simulated = (", ".join(dict.fromkeys(cells.get(index, []))) for cells in (told, done))
        made += f"| §{section} | {text.replace('|', '¦')} | {asserted} | {simulated} |\n"
    untested = sum(cells[0].startswith("no test") for cells in told.values())
    counted = f"{len(facts)} facts, of which tests assert {len(facts) - untested}"
    readme = README.read_text()
    with_count = re.sub(r"(tests that assert them: )[^.;]*", rf"\g<1>{counted}", readme)
    if "--check" not in sys.argv:
        TABLE.write_text(made)
        README.write_text(with_count)
    elif TABLE.read_text() != made or readme != with_count:
        sys.exit("tests/simulator/FACTS.md or its README is not up to date: run python3 tests/simulator/facts.py")
    print(counted)


main()
