"""The functions under cargo lambda watch, with local AWS and the simulator: make watch."""

import socket

from local_stack import REGION, Compilation, Failure, Stack, main, say, step


def address_for_watch() -> tuple[str, int]:
    """Where `cargo lambda invoke` looks by itself, if that is free: [::1]:9000."""
    for family, host in ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1")):
        for port in (9000, 0):
            with socket.socket(family) as probe:
                try:
                    probe.bind((host, port))
                    return host, probe.getsockname()[1]
                except OSError:
                    continue
    raise Failure("no port on the loopback interface is free")


def watch() -> int:
    with Stack("watch") as stack:
        Compilation(stack, ("simulator",)).wait()
        with step("Starting local AWS and the Protime simulator"):
            stack.start_local_aws()
            stack.start_simulator([])
        with step("Building the functions (the first time: a few minutes)"):
            for function in ("subscriber", "publisher", "doorbell"):
                # One by one, as cargo lambda watch does, so that it finds them built.
                stack.run(["cargo", "build", "--quiet", "--bin", function], f"{function}-build", "The log says where.")
        sqs = stack.client("sqs")
        queues = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("pages", "publish", "parked", "continuations", "rings")}
        stack.client("dynamodb").create_table(
            TableName="state",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("id", "kind")],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            GlobalSecondaryIndexes=[{
                "IndexName": "connections",
                "KeySchema": [{"AttributeName": "kind", "KeyType": "HASH"}, {"AttributeName": "id", "KeyType": "RANGE"}],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }],
        )
        host, port = address_for_watch()
        option = "" if (host, port) == ("::1", 9000) else f" --invoke-address {host} --invoke-port {port}"
        say(f"""
Local AWS {stack.endpoint} ({REGION}), simulator {stack.simulator}, requests to it: {stack.simulator}/_simulator/requests
Pages arrive in {queues["pages"]}

In a second terminal (the functions are built again after every change, which the next invocation waits for):

  source .tools/build/bin/activate
  cargo lambda invoke subscriber{option} --data-file infra/events/clockings.json
  cargo lambda invoke publisher{option} --data-file infra/events/publish-clocking.json

Ctrl-C ends everything.
""")
        environment = stack.environment() | {
            "PAGES_QUEUE_URL": queues["pages"],
            "CONTINUATION_QUEUE_URL": queues["continuations"],
            "STATE_TABLE": "state",
            "PUBLISH_QUEUE_URL": queues["publish"],
            "DEAD_LETTER_QUEUE_URL": queues["parked"],
            "OUTGOING": "{}",
            "RINGS_QUEUE_URL": queues["rings"],
            "CONNECTIONS": "{}",
        }
        command = ["cargo", "lambda", "watch", "--invoke-address", host, "--invoke-port", str(port)]
        process = stack.start(command, "watch", environment, stdout=None, stderr=None)
        try:
            code = process.wait()
        except KeyboardInterrupt:
            say("\nStopping.")
            return 0
        if code != 0:
            raise Failure(f"cargo lambda watch ended with code {code}; what it printed above says why")
        return code


main(watch)
