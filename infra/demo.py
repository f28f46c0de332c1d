"""The product at work on this machine: make demo.

    demo.py            built from the sources
    demo.py ARCHIVE    from the archive of make release
"""

import datetime
import json
import subprocess
import sys
import time
from pathlib import Path

from local_stack import FUNCTIONS, SECRET, Compilation, Failure, Stack, main, prepare, say, step, target_folder, wait_until

MOST_SHOWN = 10


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def connections(stack: Stack) -> list[tuple[str, dict]]:
    """The incoming connections of the templates, each with the target of its schedule."""
    scheduler = stack.client("scheduler")
    entries = scheduler.list_schedules()["Schedules"]
    schedules = [scheduler.get_schedule(Name=entry["Name"], GroupName=entry["GroupName"]) for entry in entries]
    targets = [{key: schedule["Target"][key] for key in ("Arn", "RoleArn", "Input")} for schedule in schedules]
    return [(f"demo-{number}", target) for number, target in enumerate(targets) if '"watch"' not in target["Input"]]


def event_of(target: dict) -> dict:
    try:
        return json.loads(target["Input"])
    except ValueError as error:
        raise Failure(f"The Input of a schedule in template.yaml is not JSON: {error}\n{target['Input']}") from None


def fire_now(stack: Stack, name: str, target: dict) -> None:
    """A one-off copy of a deployed schedule, due in a few seconds."""
    due = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
    stack.client("scheduler").create_schedule(
        Name=name,
        ScheduleExpression=f"at({due:%Y-%m-%dT%H:%M:%S})",
        ScheduleExpressionTimezone="UTC",
        FlexibleTimeWindow={"Mode": "OFF"},
        State="ENABLED",
        Target=target,
    )


def failures(stack: Stack) -> list[dict]:
    """What the functions have logged as failed."""
    lines = [json.loads(line) for line in stack.log_lines() if line.startswith("{")]
    return [line for line in lines if line.get("level") == "ERROR"]


def receive(stack: Stack, queue: str, enough, seconds: float = 60) -> list[dict]:
    """Messages until `enough` says so, or a function fails."""
    sqs = stack.client("sqs")
    found: list[dict] = []
    before = len(failures(stack))

    def ready() -> bool:
        answer = sqs.receive_message(
            QueueUrl=stack.outputs[queue], MaxNumberOfMessages=10, MessageAttributeNames=["All"], WaitTimeSeconds=1
        )
        found.extend(answer.get("Messages", []))
        if enough(found):
            return True
        for failure in failures(stack)[before:]:
            failed = f"Connection `{failure['incoming']}`" if failure.get("incoming") else "A function"
            raise Failure(
                f"{failed} failed, with the kind {failure.get('kind')}:\n"
                f"  {failure.get('error') or failure.get('message')}\n"
                f'infra/OPERATIONS.md, "At 3 a.m.", has a row for each kind.'
            )
        return False

    try:
        wait_until(f"the arrival of messages in {queue}", ready, seconds)
    except Failure as failure:
        raise Failure(f"{failure}\nAll that the functions logged is in {stack.keep_logs()}") from None
    return found


def show_pages(messages: list[dict]) -> None:
    events = [json.loads(message["Body"]) for message in messages]
    pages = [event for event in events if "page" in event]
    pages.sort(key=lambda event: (event["chain"], event["page"], event["part"]))
    completed = next(event for event in events if event["type"] == "protime.run-completed.v1")
    if pages:
        say(f"\n  {'page':>6} {'records':>8}   first record")
    for event in pages[:MOST_SHOWN]:
        records = event["data"]["value"]
        first = json.dumps(records[0], ensure_ascii=False)
        say(f"  {event['page']:>6} {len(records):>8}   {shortened(first, 90)}")
    if len(pages) > MOST_SHOWN:
        say(f"  and {len(pages) - MOST_SHOWN} more pages")
    if not pages:
        say("  No record matches, so there is no page.")
    say(f"\n  {completed['type']}: {shortened(json.dumps(completed['data']), 300)}")
    if pages:
        say(f"  id of the first page: {pages[0]['id']}")


def read(stack: Stack, name: str, target: dict) -> None:
    """Runs a connection of the template, and shows what comes."""
    event = event_of(target)
    incoming = event.get("incoming")
    say(f"\n  Connection `{incoming}`: {shortened(json.dumps(event), 200)}")
    client = event.get("client")
    if isinstance(client, str) and client != SECRET:
        # Whatever client a connection names, here it is the simulator's.
        stack.copy_secret(client)
    before = len(stack.asked())
    with step("Waiting for the schedule to fire and the run to complete"):
        fire_now(stack, name, target)
        done = lambda found: any("run-completed" in message["Body"] for message in found)  # noqa: E731
        messages = receive(stack, "PagesQueueUrl", done)
    for request in stack.asked()[before:][:2]:
        say(f"  {request['method']} {shortened(request['target'], 150)}")
    show_pages(messages)


def publish(stack: Stack, request: dict) -> None:
    stack.client("sqs").send_message(QueueUrl=stack.outputs["PublishQueueUrl"], MessageBody=json.dumps(request))


def is_parked(stack: Stack) -> bool:
    asked = stack.client("sqs").get_queue_attributes(QueueUrl=stack.outputs["PublishDeadLetterQueueUrl"], AttributeNames=["ApproximateNumberOfMessages"])
    return asked["Attributes"]["ApproximateNumberOfMessages"] != "0"


def protimectl(stack: Stack, *arguments: str) -> str:
    """What an operator's command shows of this stack."""
    program = [str(target_folder() / "debug" / "protimectl"), "--stack", stack.name, *arguments]
    shown = subprocess.run(program, env=stack.environment(), capture_output=True, text=True)
    if shown.returncode != 0:
        raise Failure(f"protimectl {' '.join(arguments)} failed:\n{shown.stderr}")
    return "".join(f"  {line}\n" for line in shown.stdout.splitlines())


def show_console(stack: Stack) -> None:
    """The same in a browser, if somebody is there to look; the stack stays for as long."""
    say("5. The same as pages in a browser: protimectl console.")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        say("  It needs the stack, which ends with this demo; from a terminal, the demo offers to open it.")
        return
    if input("  Open it? [y/N] ").strip().lower() not in ("y", "yes"):
        return
    program = target_folder() / "debug" / "protimectl"
    variables = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
    environment = " ".join(f"{name}={stack.environment()[name]}" for name in variables)
    say(f"\n  Of the same stack, in another terminal:\n\n  {environment} {program} --stack {stack.name} status\n")
    say("  Ctrl-C ends the console and the demo. The address works once:\n")
    try:
        subprocess.run([str(program), "--stack", stack.name, "console", "--allow-changes"], env=stack.environment())
    except KeyboardInterrupt:
        say()


def demo() -> int:
    started = time.monotonic()
    archive = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    say("Protime connector, on this machine: local AWS, a Protime simulator, the real Lambda functions.\n")
    with Stack("protime-demo") as stack:
        Compilation(stack, ("simulator", *(() if archive else FUNCTIONS))).wait()
        # Meanwhile, the functions already have something to show.
        rest = None if archive else Compilation(stack, ("protimectl",))
        prepare(stack, ["--people", "25", "--days", "60", "--page-size", "100"], {"ScheduleState": "DISABLED"}, archive)

        say("\n1. Schedules start the subscriber, which reads what the connections of template.yaml ask for.")
        for name, target in connections(stack):
            read(stack, name, target)

        say("\n2. A message on the publish queue becomes a clocking in Protime.")
        today = datetime.date.today().isoformat()
        clocking = {"person": {"id": 1}, "date": today, "timeOfDayInMinutes": 510, "kind": "InOut"}
        request = {"client": "protime/acme", "method": "POST", "entity": "clockings", "payload": clocking}
        say(f"  {json.dumps(request)}")
        with step("Waiting for the publisher"):
            publish(stack, request)
            posted = lambda: [r for r in stack.asked() if r["method"] == "POST"]  # noqa: E731
            written = wait_until("the publishing", lambda: posted() or None)[0]
        say(f"  {written['method']} {written['target']} -> {written['status']}")

        say("\n3. What Protime refuses is tried once and parked, with the reason.")
        refused = request | {"payload": clocking | {"person": {"id": 999_999}}}
        with step("Waiting for the dead-letter queue"):
            publish(stack, refused)
            wait_until("the parking", lambda: is_parked(stack) or None)
        if not rest:
            parked = receive(stack, "PublishDeadLetterQueueUrl", bool)[0]
            for name in ("reason", "status", "code", "message", "details"):
                say(f"  {name:8} {parked['MessageAttributes'][name]['StringValue']}")
        else:
            rest.wait()
            say("\n  protimectl parked:\n" + protimectl(stack, "parked"))
            say("4. How everything stands: protimectl status.\n\n" + protimectl(stack, "status"))
            # As long as somebody looks at it, it is not the demo's own time.
            took = time.monotonic() - started
            show_console(stack)
            started = time.monotonic() - took

    say(f"\nDone in {time.monotonic() - started:.0f} s; nothing is left running.")
    say("Next: README.md, \"Connect your own Protime\". To try changes: make watch.")
    return 0


main(demo)
