"""What the storm notices: changes to the code of leases, checkpoints, records and look-ups, one at a time.

    mutations.py [SEEDS]      each change is made, so many storms pass (200), and the change is undone
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
# What is changed, where, from what, to what.
MUTATIONS = (
    ("a lease is taken from whoever has it", "shared/connector/src/store/lease.rs",
     'let mut condition = "(attribute_not_exists(lease_until) OR lease_until < :now OR lease_request = :request) AND',
     'let mut condition = "(attribute_not_exists(nothing) OR lease_until < :now OR lease_request = :request) AND'),
    ("writes under a lease do not ask whose it is", "shared/connector/src/store/lease.rs",
     'condition_expression("lease_owner = :token AND generation = :held")', 'condition_expression("attribute_exists(id)")'),
    ("a write that was done is not recognised when it is asked twice", "shared/connector/src/store/lease.rs",
     "let is_done = count_of(&item, \"generation\") == next\n", "let is_done = count_of(&item, \"generation\") == next + 1\n"),
    ("a lease that was got is not recognised when it is asked twice", "shared/connector/src/store/lease.rs",
     'if string_of(&item, "lease_owner") != Some(&attempt.token) {', 'if string_of(&item, "lease_owner") != Some(&String::new()) {'),
    ("the checkpoint moves before the messages are sent", "functions/subscriber/src/transfer/send.rs",
     """            if !batch.is_empty() {
                self.queue.send(batch, self.deadline).await?;
            }
            drop(taken);
            for item in reached {
                changed = true;
                apply(item, state, tally);
            }
            if changed && stored.elapsed() >= self.checkpoint_interval {
                self.table.save(self.lease, state, true).await?;
                stored = Instant::now();
                changed = false;
            }
""",
     """            for item in reached {
                changed = true;
                apply(item, state, tally);
            }
            if changed && stored.elapsed() >= self.checkpoint_interval {
                self.table.save(self.lease, state, true).await?;
                stored = Instant::now();
                changed = false;
            }
            if !batch.is_empty() {
                self.queue.send(batch, self.deadline).await?;
            }
            drop(taken);
"""),
    ("the watch takes nothing up", "functions/subscriber/src/watch.rs",
     "filter(|_| watched.is_stranded(now))", "filter(|_| watched.is_stranded(now) && watched.rescues > 1_000)"),
    ("a hollow page ends a list", "shared/protime/src/page.rs", "            Records::Other => {\n", "            Records::Other if true => Vec::new(),\n            Records::Other => {\n"),
    ("a write is begun though another attempt is at it", "functions/publisher/src/idempotency_store.rs",
     """(Some(owner), _) => update
                    .condition_expression("#owner = :seen AND attribute_not_exists(#done)")""",
     """(Some(owner), _) => update
                    .condition_expression("attribute_exists(id)")"""),
    ("two first attempts begin the same write", "functions/publisher/src/idempotency_store.rs",
     '(None, false) => update.condition_expression("attribute_not_exists(id)")', '(None, false) => update'),
    ("a slow write gets no time to show", "functions/publisher/src/decision.rs",
     "(wait > SignedDuration::ZERO).then(", "(wait > SignedDuration::MAX).then("),
    ("an uncertain write is sent again without a look", "functions/publisher/src/attempt.rs",
     "Step::LookUp { rule, since } => self.look_up(waiting, since, rule).await,", "Step::LookUp { .. } => self.send(waiting).await,"),
)


def storms(seeds: int) -> tuple[bool, str]:
    command = ["cargo", "test", "--quiet", "--profile", "storm", "-p", "end_to_end", "--test", "storm", "whatever"]
    environment = {**os.environ, "SEEDS": str(seeds), "SHRINK": "0", "RUST_BACKTRACE": "0"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    printed = ended.stdout + ended.stderr
    if "could not compile" in printed:
        sys.exit(printed[-3000:])
    told = re.search(r"^seed .*", printed, re.MULTILINE)
    return ended.returncode != 0, told[0] if told else ""


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    noticed = 0
    for what, name, before, after in MUTATIONS:
        file = ROOT / name
        original = file.read_text()
        if original.count(before) != 1:
            sys.exit(f"{name} has changed; correct the mutation: {what}")
        try:
            file.write_text(original.replace(before, after))
            is_noticed, told = storms(seeds)
        finally:
            file.write_text(original)
        noticed += is_noticed
        print(f"{'noticed' if is_noticed else 'NOT NOTICED'}: {what}. {told[:200]}", flush=True)
    print(f"{noticed} of {len(MUTATIONS)} changes are noticed within {seeds} storms")


main()
