"""Runs a command against the stack, deployed on local AWS: `run.py [--released] COMMAND...`.

With --released the functions are built as they are deployed, which takes longer.

The command finds the stack's outputs in its environment (PAGES_QUEUE_URL and so on), AWS_ENDPOINT_URL for local
AWS, SIMULATOR_URL for the Protime simulator. Its exit code is this script's.
"""

import hashlib
import json
import subprocess
import sys

from local_stack import FUNCTIONS, ROOT, SECRET, Compilation, Failure, Stack, main, prepare, say, step

# Of the connection "rung".
DOORBELL_TOKEN = "00112233445566778899aabbccddeeff"


def run() -> int:
    command = sys.argv[1:]
    released = command[:1] == ["--released"]
    command = command[released:]
    if not command:
        raise Failure(__doc__)
    with Stack("end-to-end") as stack:
        stack.connections = [["nested-people", "--client", SECRET, "--entity", "people"]]
        say("The stack on local AWS:")
        parameters = {
            "LogLevel": "debug",
            "ScheduleState": "DISABLED",
            "SubscriberTimeout": "60",
            # Tests make queues of their own.
            "ConnectionQueueArns": "arn:aws:sqs:eu-west-1:000000000000:end-to-end-test-*",
        }
        Compilation(stack, ("simulator", "protimectl", *(() if released else FUNCTIONS))).wait()
        prepare(stack, ["--people", "20", "--days", "400"], parameters, released=released)
        # Local AWS does not transform nested templates, so this one is deployed as a stack of its own.
        with step("Building and deploying a further outgoing connection"):
            results = stack.client("sqs").create_queue(QueueName="end-to-end-results")["QueueUrl"]
            transform = "{client, path: {id: .assignment}, payload: (. | del(.client, .assignment)), correlation: .assignment}"
            outgoing = {
                "Outgoing": json.dumps({"method": "PUT", "entity": "assignments", "transform": transform}),
                "Fifo": "true",
                "StateTable": stack.outputs["StateTableName"],
                "ResultsQueue": results,
            }
            build = stack.build_released if released else stack.build
            stack.deploy(build("infra/outgoing.yaml"), outgoing, "-outgoing")
            stack.outputs["ResultsQueueUrl"] = results
        with step("Building and deploying the doorbell"):
            subscriber = stack.client("lambda").get_function(FunctionName=stack.outputs["SubscriberFunctionName"])["Configuration"]
            doorbell = {
                "Connections": json.dumps({"rung": hashlib.sha256(DOORBELL_TOKEN.encode()).hexdigest()}),
                "SubscriberArn": subscriber["FunctionArn"],
                "SubscriberRole": subscriber["Role"].rsplit("/", 1)[1],
                "LogLevel": "debug",
            }
            stack.deploy(build("infra/doorbell.yaml"), doorbell, "-doorbell")
            stack.outputs["DoorbellToken"] = DOORBELL_TOKEN
        say(f"Running {' '.join(command)}")
        return subprocess.call(command, cwd=ROOT, env=stack.variables())


main(run)
