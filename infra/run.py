"""Runs a command against the stack, deployed on local AWS: `run.py COMMAND...`.

The command finds the stack's outputs in its environment (PAGES_QUEUE_URL and so on), AWS_ENDPOINT_URL for local
AWS, SIMULATOR_URL for the Protime simulator. Its exit code is this script's.
"""

import subprocess
import sys

from local_stack import ROOT, Failure, Stack, main, prepare, say


def run() -> int:
    command = sys.argv[1:]
    if not command:
        raise Failure(__doc__)
    with Stack("end-to-end") as stack:
        say("The stack on local AWS:")
        parameters = {"LogLevel": "debug", "ScheduleState": "DISABLED", "SubscriberTimeout": "60"}
        prepare(stack, ["--people", "20", "--days", "400"], parameters)
        say(f"Running {' '.join(command)}")
        return subprocess.call(command, cwd=ROOT, env=stack.variables())


main(run)
