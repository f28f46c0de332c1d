"""The table of documented facts: which test asserts each, and where the simulator does it.

    facts.py            makes FACTS.md anew
    facts.py --check    fails where FACTS.md is not what this would make, or a mark names no fact

A mark is a comment such as `// §4: An empty value does not mean the end`: the section of the documentation, and words of
the fact. The documentation lies beside the project where it is developed; elsewhere the facts are those of FACTS.md.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DOCUMENTATION = ROOT.parent / "shared" / "protime-api.md"
TABLE = HERE / "FACTS.md"
SOURCES = ("tests/simulator/src", "tests/simulator/tests", "tests/end_to_end/tests", "shared/protime/tests", "shared/protime/src", "functions")
MARK = re.compile(r"// §([\d.]+): (.+)")
FUNCTION = re.compile(r"^\s*(?:pub(?:\([^)]*\))? )?(?:async )?fn (\w+)|^(?:pub(?:\([^)]*\))? )?(?:const|static|struct|enum) (\w+)")
# What a client cannot meet: how the documentation itself is laid out, who wrote about Protime elsewhere, and open questions.
LEFT_OUT = ("0", "0.1", "0.2", "10", "10.1", "10.2", "10.3", "11", "12", "13.2")
TAG = re.compile(r"\*{0,2}\[D\]")


def plain(text: str) -> str:
    return re.sub(r"[`*\\]", "", re.sub(r"\s+", " ", text)).strip().lower()


def documented() -> list[tuple[str, str]]:
    """The facts marked [D], by section: rows of tables, items of lists, paragraphs."""
    facts: list[tuple[str, str]] = []
    section, all_documented, of_table = "0", False, False
    block: list[str] = []

    def end_block() -> None:
        text = " ".join(block)
        block.clear()
        # Below a heading that is documented, some lines are inferred or unknown as a whole.
        is_open = text.endswith("[I]") or re.match(r".{0,60}\[[IU]\]", text) is not None
        if TAG.search(text) or (all_documented and text and not is_open):
            facts.append((section, text))

    rows = 0
    for line in DOCUMENTATION.read_text().splitlines():
        heading = re.match(r"#{2,3} ([\d.]+)\.? (.*)", line)
        if heading:
            end_block()
            section, all_documented, rows = heading[1].rstrip("."), bool(TAG.search(heading[2])), 0
        elif line.startswith("|"):
            end_block()
            rows += 1
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            is_head = rows == 1 or set(line) <= set("|-: ")
            if rows == 1:
                of_table = bool(TAG.search(line)) or "Since" in cells
            tagged = TAG.search(line) or re.fullmatch("D|D .*", cells[-1]) or "D" in cells[1:3]
            if not is_head and (tagged or of_table or all_documented):
                facts.append((section, " | ".join(cells)))
        elif not line.strip() or line == "---":
            end_block()
            rows = 0
        elif re.match(r"(- |\d+\. )", line):
            end_block()
            block.append(re.sub(r"^(- |\d+\. )", "", line))
        else:
            block.append(line.strip())
    end_block()
    return [(section, text) for section, text in facts if section not in LEFT_OUT]


def tabled() -> list[tuple[str, str]]:
    rows = re.findall(r"^\| §([\d.]+) \| (.*?) \| [^|]*\| [^|]*\|$", TABLE.read_text(), re.MULTILINE)
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
    return f"{file.parent.parent.name}/{file.stem}::{name}" if file.parts[0] != "tests" else f"{file.stem}::{name}"


def main() -> None:
    facts = documented() if DOCUMENTATION.exists() else tabled()
    asserted, done, wrong = defaultdict(list), defaultdict(list), []
    for section, words, file, name in marks():
        matching = [index for index, (known, text) in enumerate(facts) if known == section and plain(words) in plain(text)]
        if not matching:
            wrong.append(f"{file}: no fact of §{section} has the words: {words}")
        is_simulator = "simulator/src" in str(file)
        for index in matching:
            (done if is_simulator else asserted)[index].append(place(file, name))
    counts = Counter("asserted" if index in asserted else "not asserted" for index in range(len(facts)))
    lines = [
        "# Documented facts",
        "",
        "Made by `tests/simulator/facts.py` from the documentation and the marks in tests and code; do not edit.",
        "What a client cannot meet, such as the history of the documentation, is left out. The rows of each entity",
        "(operations, filters, scopes, bodies, properties) are facts of `src/documentation.json`; they are held against the",
        "product's catalogue field by field by `shared/protime/tests/documentation.rs`.",
        "",
        "| section | fact | test | simulator |",
        "|---|---|---|---|",
    ]
    for index, (section, text) in enumerate(facts):
        cell = lambda places: ", ".join(f"`{name}`" for name in dict.fromkeys(places))  # noqa: E731
        lines.append(f"| §{section} | {text.replace('|', '¦')} | {cell(asserted[index])} | {cell(done[index])} |")
    made = "\n".join(lines) + "\n"
    counted = f"{len(facts)} facts, of which tests assert {counts['asserted']}"
    readme = (HERE / "README.md").read_text()
    with_count = re.sub(r"(tests that assert them: )[^.]*", rf"\g<1>{counted}", readme)
    if wrong:
        sys.exit("\n".join(wrong))
    if "--check" in sys.argv:
        if TABLE.read_text() != made or readme != with_count:
            sys.exit("tests/simulator/FACTS.md or its README is not up to date: run python3 tests/simulator/facts.py")
    else:
        TABLE.write_text(made)
        (HERE / "README.md").write_text(with_count)
    print(counted)


main()
