"""What the storm notices: mended faults that come back, and changes to the code of leases, checkpoints, records and look-ups.

    mutations.py [SEEDS] [PATTERN]      the pattern, a regular expression, chooses some by their names

Each change is made, so many storms pass (200), and the change is undone. Of the faults that were mended it is counted in how
many storms they show; the other changes only have to show once.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
LEASE = "shared/connector/src/store/lease.rs"
PAGE = "shared/protime/src/page.rs"
SEND = "functions/subscriber/src/transfer/send.rs"
DELTA = "functions/subscriber/src/run/delta.rs"
END = "functions/subscriber/src/run/end.rs"
ATTEMPT = "functions/publisher/src/attempt.rs"
IDEMPOTENCY = "functions/publisher/src/idempotency_store.rs"

TAKEN_BACK = " OR lease_request = :request) AND"
OWN = 'condition_expression("lease_owner = :token AND generation = :held")'
IS_OWN = 'if string_of(&item, "lease_owner") != Some(&attempt.token) {'
GIVE_BACK = '.condition_expression("#owner = :owner AND attribute_exists(lease_until)")'
CALL = "                        calls.push_back(self.send_call(self.next_call(&mut waiting)));\n"
APPLY_AND_CALL = """                        let mut call = self.next_call(&mut waiting);
                        for event in std::mem::take(&mut call.reached) {
                            apply(event, state, tally);
                        }
                        self.table.save(self.lease, state, true).await?;
                        calls.push_back(self.send_call(call));
"""
RESYNC = """
        if let Some(checkpoint) = &self.state.checkpoint {
            let header = super::header(self.connection, checkpoint, &self.queue);
            let resync = header.resync_message(self.invocation.clock.now());
            self.queue.send(resync, self.invocation.deadline).await?;
        }
        let initial = plan::initial("""
SAVE_COMPLETION = """        let table = &self.subscriber.state;
        table.save(&self.lease, &self.state, false).await?;
        let now = self.invocation.clock.now();
        let request ="""
SEND_COMPLETION = "        self.queue.send(completed, self.invocation.deadline).await?;\n"

# What comes back, and where: from what to what.
MENDED = {
    "a lease without a token": (
        (LEASE, TAKEN_BACK, ") AND"),
        (LEASE, IS_OWN, "if true {"),
        (LEASE, OWN, 'condition_expression("attribute_exists(id)")'),
    ),
    "a page without `value` is taken for an empty one": (
        (PAGE, "            Records::Other => {\n", "            Records::Other if true => Vec::new(),\n            Records::Other => {\n"),
    ),
    "a lost answer counts from the invocation's start": (
        (ATTEMPT, "match decision::after_failure(error, self.request.method, &before, self.now()) {",
         "let start = self.invocation.ends - jiff::SignedDuration::from_mins(1);\n        match decision::after_failure(error, self.request.method, &before, start) {"),
    ),
    "an unconditional `done`": ((IDEMPOTENCY, GIVE_BACK, '.condition_expression("#owner = :owner OR attribute_not_exists(nothing)")'),),
    "a resync before the load is planned": ((DELTA, "\n        let initial = plan::initial(", RESYNC),),
}
OTHERS = {
    "a lease is taken from whoever has it": ((LEASE, "(attribute_not_exists(lease_until) OR", "(attribute_not_exists(nothing) OR"),),
    "writes under a lease do not ask whose it is": ((LEASE, OWN, 'condition_expression("attribute_exists(id)")'),),
    "a write that was done is not recognised when it is asked twice": (
        (LEASE, 'let is_done = count_of(&item, "generation") == next\n', 'let is_done = count_of(&item, "generation") == next + 1\n'),
    ),
    "a lease that was got is not recognised when it is asked twice": ((LEASE, IS_OWN, "if true {"), (LEASE, TAKEN_BACK, ") AND")),
    "a continuation of any generation is taken": ((LEASE, 'condition += " AND generation = :generation";', 'condition += " AND :generation = :generation";'),),
    "the checkpoint moves before the messages are sent": ((SEND, CALL, APPLY_AND_CALL),),
    "completion is told before the checkpoint is stored": (
        (END, SAVE_COMPLETION, SAVE_COMPLETION.replace("        table.save(&self.lease, &self.state, false).await?;\n", "")),
        (END, SEND_COMPLETION, SEND_COMPLETION + "        table.save(&self.lease, &self.state, false).await?;\n"),
    ),
    "the watch takes nothing up": (
        ("functions/subscriber/src/watch.rs", "filter(|_| watched.is_stranded(now))", "filter(|_| watched.is_stranded(now) && watched.rescues > 1_000)"),
    ),
    "a run that met another is forgotten": ((END, "        if is_own {\n            self.begin_due()", "        if is_own && self.tally.completed > 1_000 {\n            self.begin_due()"),),
    "a write is begun though another attempt is at it": (
        (IDEMPOTENCY, '.condition_expression("#owner = :seen AND attribute_not_exists(#done)")', '.condition_expression("#owner = :seen OR attribute_exists(id)")'),
        ("functions/publisher/src/write_record.rs", ".filter(|until| *until >= now)", ".filter(|until| *until >= now && self.attempts > 1_000)"),
    ),
    "two first attempts begin the same write": (
        (IDEMPOTENCY, '(None, false) => update.condition_expression("attribute_not_exists(id)")', "(None, false) => update"),
    ),
    "a slow write gets no time to show": (
        ("functions/publisher/src/decision.rs", "(wait > SignedDuration::ZERO).then(", "(wait > SignedDuration::MAX).then("),
    ),
    "an uncertain write is sent again without a look": (
        (ATTEMPT, "Step::LookUp { rule, since } => self.look_up(waiting, since, rule).await,", "Step::LookUp { .. } => self.send(waiting).await,"),
    ),
}


def storms(seeds: int, count: bool) -> str:
    """What is told of those that fail; nothing where none does."""
    command = ["cargo", "test", "--quiet", "--profile", "storm", "-p", "end_to_end", "--test", "storm", "whatever"]
    environment = {**os.environ, "SEEDS": str(seeds), "COUNT": "all" if count else "first", "RUST_BACKTRACE": "0"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    printed = ended.stdout + ended.stderr
    if "could not compile" in printed:
        sys.exit(printed[-3000:])
    if ended.returncode == 0:
        return ""
    told = re.search(r"^\d+ seeds fail.*", printed, re.MULTILINE)
    return told[0] if told else printed[-500:]


def changed(edits: tuple[tuple[str, str, str], ...]) -> dict[Path, str]:
    texts: dict[Path, str] = {}
    for name, before, after in edits:
        file = ROOT / name
        text = texts.get(file) or file.read_text()
        if text.count(before) != 1:
            sys.exit(f"{name} has changed; correct what is to replace: {before}")
        texts[file] = text.replace(before, after)
    return texts


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    pattern = sys.argv[2] if len(sys.argv) > 2 else ""
    chosen = [(what, edits) for what, edits in (MENDED | OTHERS).items() if re.search(pattern, what)]
    texts = [changed(edits) for _, edits in chosen]
    noticed = 0
    for (what, _), files in zip(chosen, texts, strict=True):
        originals = {file: file.read_text() for file in files}
        try:
            for file, text in files.items():
                file.write_text(text)
            told = storms(seeds, what in MENDED)
        finally:
            for file, text in originals.items():
                file.write_text(text)
        noticed += bool(told)
        print(f"{'noticed' if told else 'NOT NOTICED'}: {what}. {told[:300]}", flush=True)
    print(f"{noticed} of {len(chosen)} changes are noticed within {seeds} storms")


main()
