"""The product at work on this machine: make demo."""

import datetime
import json
import time

from local_stack import Stack, main, prepare, say, step, wait_until


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def fire_schedule_now(stack: Stack) -> None:
    """A one-off copy of the deployed connection's schedule, due in a few seconds."""
    scheduler = stack.client("scheduler")
    schedules = [scheduler.get_schedule(Name=entry["Name"]) for entry in scheduler.list_schedules()["Schedules"]]
    deployed = next(schedule for schedule in schedules if "incoming" in json.loads(schedule["Target"]["Input"]))
    due = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
    target = {key: deployed["Target"][key] for key in ("Arn", "RoleArn", "Input")}
    scheduler.create_schedule(
        Name="demo",
        ScheduleExpression=f"at({due:%Y-%m-%dT%H:%M:%S})",
        ScheduleExpressionTimezone="UTC",
        FlexibleTimeWindow={"Mode": "OFF"},
        State="ENABLED",
        Target=target,
    )


def receive(stack: Stack, queue: str, enough, seconds: float = 60) -> list[dict]:
    """Messages until `enough` says so."""
    sqs = stack.client("sqs")
    found: list[dict] = []

    def ready() -> bool:
        answer = sqs.receive_message(
            QueueUrl=stack.outputs[queue], MaxNumberOfMessages=10, MessageAttributeNames=["All"], WaitTimeSeconds=1
        )
        found.extend(answer.get("Messages", []))
        return enough(found)

    wait_until(f"the arrival of messages in {queue}", ready, seconds)
    return found


def show_pages(messages: list[dict]) -> None:
    events = [json.loads(message["Body"]) for message in messages]
    pages = sorted((event for event in events if "page" in event), key=lambda event: (event["page"], event["part"]))
    completed = next(event for event in events if event["type"] == "protime.run-completed.v1")
    say(f"\n  {'page':>6} {'records':>8}   first record")
    for event in pages:
        records = event["data"]["value"]
        first = json.dumps(records[0], ensure_ascii=False)
        say(f"  {event['page']:>6} {len(records):>8}   {shortened(first, 90)}")
    say(f"\n  {completed['type']}: {json.dumps(completed['data'])}")
    say(f"  id of the first page: {pages[0]['id']}")


def publish(stack: Stack, request: dict) -> None:
    stack.client("sqs").send_message(QueueUrl=stack.outputs["PublishQueueUrl"], MessageBody=json.dumps(request))


def demo() -> int:
    started = time.monotonic()
    say("Protime connector, on this machine: local AWS, a Protime simulator, the real Lambda functions.\n")
    with Stack("protime-demo") as stack:
        prepare(stack, ["--people", "25", "--days", "60", "--page-size", "100"], {"ScheduleState": "DISABLED"})

        say("\n1. A schedule starts the subscriber, which reads the clockings of the last seven days.")
        with step("Waiting for the schedule to fire and the run to complete"):
            fire_schedule_now(stack)
            done = lambda found: any("run-completed" in message["Body"] for message in found)  # noqa: E731
            messages = receive(stack, "PagesQueueUrl", done)
        for request in stack.asked()[:2]:
            say(f"  {request['method']} {shortened(request['target'], 150)}")
        show_pages(messages)

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
            parked = receive(stack, "PublishDeadLetterQueueUrl", bool)[0]
        for name in ("reason", "status", "code", "message", "details"):
            say(f"  {name:8} {parked['MessageAttributes'][name]['StringValue']}")

    say(f"\nDone in {time.monotonic() - started:.0f} s; nothing is left running.")
    say("Next: README.md, \"Connect your own Protime\". To try changes: make watch.")
    return 0


main(demo)
