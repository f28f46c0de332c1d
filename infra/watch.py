"""The functions under cargo lambda watch, with local AWS and the simulator: make watch."""

import subprocess

from local_stack import REGION, Failure, Stack, free_port, main, say, socket, step


def port_for_watch() -> int:
    """The port that `cargo lambda invoke` uses by itself, if it is free."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 9000))
            return 9000
        except OSError:
            return free_port()


def watch() -> int:
    with Stack("watch") as stack:
        with step("Starting local AWS"):
            stack.start_local_aws()
        with step("Building and starting the Protime simulator (the first time: a minute)"):
            stack.start_simulator([])
        sqs = stack.client("sqs")
        queues = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("pages", "publish", "parked")}
        port = port_for_watch()
        option = "" if port == 9000 else f" --invoke-port {port}"
        say(f"""
Local AWS {stack.endpoint} ({REGION}), simulator {stack.simulator}, requests to it: {stack.simulator}/_simulator/requests
Pages arrive in {queues["pages"]}

In a second terminal (the functions are built when first invoked, and again after every change):

  source .tools/build/bin/activate
  cargo lambda invoke subscriber{option} --data-file infra/events/clockings.json
  cargo lambda invoke publisher{option} --data-file infra/events/publish-clocking.json

Ctrl-C ends everything.
""")
        environment = stack.environment() | {
            "PAGES_QUEUE_URL": queues["pages"],
            "PUBLISH_QUEUE_URL": queues["publish"],
            "DEAD_LETTER_QUEUE_URL": queues["parked"],
            "OUTGOING": "{}",
        }
        command = ["cargo", "lambda", "watch", "--invoke-address", "127.0.0.1", "--invoke-port", str(port)]
        process = stack.start(command, "watch", environment, stdout=None, stderr=None)
        code = process.wait()
        if code != 0:
            raise Failure(f"cargo lambda watch ended with code {code}; what it printed above says why")
        return code


main(watch)
