"""Sends parked publish requests back to the publish queue, as they were, with their idempotency keys.

    python infra/redrive.py --stack protime-connector                     what is parked, and why
    python infra/redrive.py --stack protime-connector --all               all of it, back to the publish queue
    python infra/redrive.py --stack protime-connector --reason refused --code BadRequest --older-than-hours 2

Without --all or a filter nothing is moved. A message is deleted from the dead-letter queue only after the publish queue
has it; if the script dies in between, its idempotency key keeps it from being written twice. What is parked while the
script runs, such as a message that is refused once more, is left for the next run. Messages that SQS parked by itself
carry no key; their ids, under which the publisher knows them, become their keys. In a FIFO queue, a message that stays
holds back those of its group that come after it.

Needs boto3 and credentials (the project's own: .tools/build/bin/python).
"""

import argparse
import collections
import os
import time

import boto3

# The one variable that the SDKs of other languages read, and boto3 does not.
if "AWS_REGION" in os.environ:
    os.environ["AWS_DEFAULT_REGION"] = os.environ["AWS_REGION"]

# What the publisher adds; the rest is the producer's own.
ADDED = ("reason", "status", "code", "message", "details")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", required=True, help="the stack's name")
    parser.add_argument("--all", action="store_true", help="everything that is parked")
    parser.add_argument("--reason", help="only with this reason: invalid, refused, unknown-outcome, crashed, expired")
    parser.add_argument("--code", help="only with this code of Protime")
    parser.add_argument("--older-than-hours", type=float, help="only what was parked longer ago")
    return parser.parse_args()


def attribute(message: dict, name: str) -> str:
    return message.get("MessageAttributes", {}).get(name, {}).get("StringValue", "")


def sent_at(message: dict) -> float:
    return int(message["Attributes"]["SentTimestamp"]) / 1000


def kept_attributes(message: dict) -> dict:
    """The producer's own, and the key."""
    kept = {name: value for name, value in message.get("MessageAttributes", {}).items() if name not in ADDED}
    kept.setdefault("idempotencyKey", {"DataType": "String", "StringValue": message["MessageId"]})
    while len(kept) > 10:
        kept.pop(next(name for name in kept if name != "idempotencyKey"))
    fields = ("DataType", "StringValue", "BinaryValue")
    return {name: {field: value[field] for field in fields if field in value} for name, value in kept.items()}


def is_wanted(message: dict, options: argparse.Namespace) -> bool:
    hours = (time.time() - sent_at(message)) / 3600
    return (
        (options.reason is None or attribute(message, "reason") == options.reason)
        and (options.code is None or attribute(message, "code") == options.code)
        and (options.older_than_hours is None or hours > options.older_than_hours)
    )


def parked(sqs, queue: str):
    """Every message once: what was seen stays hidden until the end."""
    seen = set()
    while True:
        answer = sqs.receive_message(
            QueueUrl=queue,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            AttributeNames=["All"],
            VisibilityTimeout=600,
            WaitTimeSeconds=2,
        )
        messages = [message for message in answer.get("Messages", []) if message["MessageId"] not in seen]
        if not messages:
            return
        for message in messages:
            seen.add(message["MessageId"])
            yield message


def main() -> None:
    options = arguments()
    moves = options.all or options.reason or options.code or options.older_than_hours is not None
    stack = boto3.client("cloudformation").describe_stacks(StackName=options.stack)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    source, target = outputs["PublishDeadLetterQueueUrl"], outputs["PublishQueueUrl"]
    sqs = boto3.client("sqs")
    started = time.time()
    moved, left, stay = 0, collections.Counter(), []
    for message in parked(sqs, source):
        if not (moves and sent_at(message) < started and is_wanted(message, options)):
            left[attribute(message, "reason"), attribute(message, "code"), attribute(message, "message")[:100]] += 1
            stay.append(message)
            continue
        # Parked messages of a FIFO queue keep their group; the parked message's id is new, so nothing swallows it.
        order = {}
        if target.endswith(".fifo"):
            order["MessageGroupId"] = message["Attributes"]["MessageGroupId"]
            order["MessageDeduplicationId"] = message["MessageId"]
        sqs.send_message(QueueUrl=target, MessageBody=message["Body"], MessageAttributes=kept_attributes(message), **order)
        sqs.delete_message(QueueUrl=source, ReceiptHandle=message["ReceiptHandle"])
        moved += 1
    for message in stay:
        sqs.change_message_visibility(QueueUrl=source, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    print(f"{moved} sent back to the publish queue, {sum(left.values())} left")
    for (reason, code, text), count in left.most_common():
        print(f"  {count:>5}  {reason or 'no reason'} {code}  {text}")


main()
