"""Every right of every role is needed, and none is missing: with each one taken away in turn, local AWS refuses
something that the functions do.

Run by `make end-to-end` on the deployed stack. Rights that AWS's own services use with the functions' roles are not
checked by local AWS; they stand in UNCHECKED, and are held against the template by tests/template.
"""

import json
import os
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator

import boto3

# By whom they are used.
UNCHECKED = {
    "logs:CreateLogStream": "Lambda, for the function's log",
    "logs:PutLogEvents": "Lambda, for the function's log",
    "sqs:ReceiveMessage": "Lambda, for the event source mapping",
    "sqs:DeleteMessage": "Lambda, for the event source mapping",
    "sqs:GetQueueAttributes of the queue of a mapping": "Lambda, for the event source mapping",
    "sqs:ChangeMessageVisibility of the continuation queue": "Lambda, for the event source mapping",
    "sqs:SendMessage to the failure queue": "Lambda, for the destination of a run that failed",
}
STACK = os.environ["STACK_NAME"]
SIMULATOR = os.environ["SIMULATOR_URL"]

aws = {name: boto3.client(name) for name in ("dynamodb", "iam", "lambda", "sqs", "secretsmanager")}


def is_unchecked(action: str, resource: str) -> bool:
    # The queue of the further outgoing connection is called Queue.
    mapped = any(name in resource for name in ("ContinuationQueue", "PublishQueue", "-outgoing-Queue"))
    return (
        action in UNCHECKED
        or (action == "sqs:GetQueueAttributes" and mapped)
        or (action == "sqs:ChangeMessageVisibility" and "ContinuationQueue" in resource)
        or (action == "sqs:SendMessage" and "SubscriberFailureQueue" in resource)
    )


def as_list(value) -> list:
    return value if isinstance(value, list) else [value]


class Role:
    def __init__(self, function: str):
        self.function = function
        configuration = aws["lambda"].get_function_configuration(FunctionName=self.function)
        self.name = configuration["Role"].split("/")[-1]
        # What the doorbell adds to the subscriber's role is used by Lambda, for the mapping.
        policies = aws["iam"].list_role_policies(RoleName=self.name)["PolicyNames"]
        (self.policy,) = (policy for policy in policies if not policy.endswith("-rings"))
        found = aws["iam"].get_role_policy(RoleName=self.name, PolicyName=self.policy)["PolicyDocument"]
        self.document = found if isinstance(found, dict) else json.loads(found)

    def grants(self) -> Iterator[tuple[str, str]]:
        """Each action with each resource, but for what local AWS asks for besides."""
        for statement in self.document["Statement"]:
            for action in as_list(statement["Action"]):
                for resource in as_list(statement["Resource"]):
                    if action != "sqs:SendMessageBatch":
                        yield action, resource

    def without(self, action: str, resource: str) -> dict:
        """The policy without one of its grants."""
        actions = {action, "sqs:SendMessageBatch"} if action == "sqs:SendMessage" else {action}
        statements = []
        for statement in self.document["Statement"]:
            resources = as_list(statement["Resource"])
            if resource not in resources or action not in as_list(statement["Action"]):
                statements.append(statement)
                continue
            others = [other for other in resources if other != resource]
            rest = [other for other in as_list(statement["Action"]) if other not in actions]
            statements += [statement | {"Resource": others}] if others else []
            statements += [statement | {"Resource": resource, "Action": rest}] if rest else []
        return self.document | {"Statement": statements}

    def put(self, document: dict) -> None:
        aws["iam"].put_role_policy(RoleName=self.name, PolicyName=self.policy, PolicyDocument=json.dumps(document))

    def renew(self, number: int) -> None:
        """Ends the function's environments, so that nothing is left that an earlier one was allowed to read."""
        configuration = aws["lambda"].get_function_configuration(FunctionName=self.function)
        variables = configuration["Environment"]["Variables"] | {"ROLES": str(number)}
        aws["lambda"].update_function_configuration(FunctionName=self.function, Environment={"Variables": variables})


def rights() -> list[dict]:
    with open(os.environ["LOCAL_AWS_RIGHTS"]) as lines:
        return [json.loads(line) for line in lines]


def denials(role: Role) -> list[dict]:
    return [line for line in rights() if line["role"] == role.name and not line["allowed"]]


def fail_once(target: str, action: dict, method: str | None = None) -> None:
    """Lets the next such request fail, and none more: an earlier story may have ended before its own did."""
    url, headers = f"{SIMULATOR}/_simulator/faults", {"content-type": "application/json"}
    fault = {"target": target, "action": action} | ({"method": method} if method else {})
    for verb, data in (("DELETE", None), ("POST", json.dumps(fault).encode())):
        urllib.request.urlopen(urllib.request.Request(url, data, headers, method=verb)).read()


def requests(text: str) -> list[dict]:
    with urllib.request.urlopen(f"{SIMULATOR}/_simulator/requests") as answer:
        return [request for request in json.load(answer) if text in json.dumps(request)]


class Refused(Exception):
    """Local AWS has refused something."""


class Story:
    """What the functions do, from the first to the last of their rights."""

    def __init__(self, role: Role, number: int):
        self.role, self.number = role, number
        self.known = len(denials(role))
        self.client = f"protime/roles-{number}"
        secret = aws["secretsmanager"].get_secret_value(SecretId="protime/acme")["SecretString"]
        aws["secretsmanager"].create_secret(Name=self.client, SecretString=secret)
        role.renew(number)

    def check(self) -> None:
        if len(denials(self.role)) > self.known:
            raise Refused

    def until(self, what: str, happened) -> None:
        end = time.monotonic() + 60
        while not happened():
            self.check()
            if time.monotonic() > end:
                raise SystemExit(f"{what} did not happen, and nothing was refused")
            time.sleep(0.1)
        self.check()

    def invoke(self, event: dict) -> dict:
        answer = aws["lambda"].invoke(FunctionName=self.role.function, Payload=json.dumps(event))
        payload = json.load(answer["Payload"])
        self.check()
        if "FunctionError" in answer:
            raise SystemExit(f"{event}: {payload}")
        return payload

    def subscriber(self) -> None:
        queue = aws["sqs"].create_queue(QueueName=f"{STACK}-test-roles-{self.number}")["QueueUrl"]
        connection = {"incoming": f"roles-{self.number}", "client": self.client, "entity": "departments"}
        self.invoke(connection | {"queue": queue, "run": "first"})
        self.invoke(connection | {"run": "second"})
        # There is one delta for a client of Protime, of which each story has a secret of its own.
        delta = {"entity": "absences", "sync": "delta", "takeover": self.client, "query": {"filter": f"date ge '{time.strftime('%Y')}-01-01'"}}
        self.invoke(connection | delta | {"incoming": f"roles-delta-{self.number}"})
        self.invoke({"watch": True})
        # A run that comes while another is under way is started by that one.
        fail_once("/departments", {"delay": {"ms": 2000}})
        slow = threading.Thread(target=lambda: aws["lambda"].invoke(FunctionName=self.role.function, Payload=json.dumps(connection | {"run": "slow"})))
        before = len(requests("/departments"))
        slow.start()
        self.until("the lease of the slow run", lambda: self.is_leased(connection["incoming"]))
        self.invoke(connection | {"run": "due"})
        slow.join()
        self.until("the run that was due", lambda: len(requests("/departments")) >= before + 2)

    def is_leased(self, incoming: str) -> bool:
        item = aws["dynamodb"].get_item(TableName=os.environ["STATE_TABLE_NAME"], Key={"id": {"S": f"connection/{incoming}"}}).get("Item", {})
        return "lease_owner" in item

    def publisher(self) -> None:
        clocking = {"person": {"id": 1}, "date": time.strftime("%Y-%m-%d"), "timeOfDayInMinutes": self.number, "kind": "InOut"}
        request = {"client": self.client, "method": "POST", "entity": "clockings", "payload": clocking}
        self.publish("", "POST", "/clockings", request, {"client": self.client, "method": "PATCH"})

    def outgoing(self) -> None:
        """The further outgoing connection: a FIFO queue, a transformer, and a queue of results."""
        definition = {"id": "00000000-0000-4000-8000-000000000001"}
        levels = [{"level": 1, "activityDefinition": definition}]
        assignment = {"person": {"id": 1}, "from": f"2026-03-{self.number % 28 + 1:02}", "activityLevels": levels}
        request = assignment | {"client": self.client, "assignment": 7}
        results = Inbox(os.environ["RESULTS_QUEUE_URL"])
        for message in self.publish("OUTGOING_", "PUT", "/assignments", request, {"client": self.client}):
            self.until(f"the result of {message}", lambda: results.has(message))

    def doorbell(self) -> None:
        """A delivery as the function's URL hands it over."""
        http = {"method": "POST"}
        answer = self.invoke({"rawPath": f"/{os.environ['DOORBELL_TOKEN']}", "requestContext": {"http": http}})
        if answer != {"statusCode": 204}:
            raise SystemExit(f"the doorbell answers {answer}")

    def publish(self, prefix: str, method: str, path: str, request: dict, invalid: dict) -> list[str]:
        """A write that is deferred once, and a message that is parked. Returns the ids of both messages."""
        queue, dead_letters = (os.environ[f"{prefix}PUBLISH_{name}QUEUE_URL"] for name in ("", "DEAD_LETTER_"))
        parked = Inbox(dead_letters)

        def send(body: dict) -> str:
            name = f"{time.monotonic()}"
            fifo = {"MessageGroupId": name, "MessageDeduplicationId": name} if queue.endswith(".fifo") else {}
            return aws["sqs"].send_message(QueueUrl=queue, MessageBody=json.dumps(body), **fifo)["MessageId"]

        def written() -> int:
            answered = [request for request in requests(path) if request["method"] == method]
            return sum(request["status"] in (200, 201) for request in answered)

        before = written()
        fail_once(path, {"answer": {"status": 503}}, method)
        messages = [send(request), send(invalid)]
        self.until("the write", lambda: written() > before)
        self.until("the parking", lambda: parked.has(self.client))
        # The last that is done is remembering the write.
        time.sleep(2)
        self.check()
        return messages


class Inbox:
    """What a queue had, since earlier stories have left messages as well."""

    def __init__(self, url: str):
        self.url = url
        self.bodies: list[str] = []

    def has(self, text: str) -> bool:
        """Whether a message with this text has come."""
        found = aws["sqs"].receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages", [])
        for message in found:
            self.bodies.append(message["Body"])
            aws["sqs"].delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return any(text in body for body in self.bodies)


def main() -> None:
    number = 100
    names = [function["FunctionName"] for function in aws["lambda"].list_functions()["Functions"]]
    functions = {
        "subscriber": os.environ["SUBSCRIBER_FUNCTION_NAME"],
        "publisher": os.environ["PUBLISHER_FUNCTION_NAME"],
        "doorbell": os.environ["DOORBELL_DOORBELL_FUNCTION_NAME"],
        "outgoing": next(name for name in names if name.startswith(f"{STACK}-outgoing-")),
    }
    for function, name in functions.items():
        role = Role(name)
        tell = getattr(Story, function)
        number += 1
        tell(Story(role, number))
        used = {line["action"] for line in rights() if line["role"] == role.name and line["allowed"]}
        noticed = 0
        for action, resource in role.grants():
            if is_unchecked(action, resource):
                continue
            if action not in used and not (action == "sqs:SendMessage" and "sqs:SendMessageBatch" in used):
                sys.exit(f"{function}: {action} of {resource} was never used; take it out of the role, or explain it in UNCHECKED")
            number += 1
            role.put(role.without(action, resource))
            try:
                tell(Story(role, number))
            except Refused:
                noticed += 1
            else:
                sys.exit(f"{function}: without {action} of {resource} everything works; take it out of the role")
            finally:
                role.put(role.document)
        number += 1
        tell(Story(role, number))
        print(f"{function}: each of {noticed} rights is needed")
    every_item_is_named()


def every_item_is_named() -> None:
    """Local AWS does not know dynamodb:LeadingKeys. What the functions have stored shows whether the roles name it all."""
    named = set()
    for name in (os.environ["SUBSCRIBER_FUNCTION_NAME"], os.environ["PUBLISHER_FUNCTION_NAME"]):
        for statement in Role(name).document["Statement"]:
            for keys in statement.get("Condition", {}).get("ForAllValues:StringLike", {}).values():
                named |= {key.removesuffix("*") for key in keys}
    pages = aws["dynamodb"].get_paginator("scan").paginate(TableName=os.environ["STATE_TABLE_NAME"], ProjectionExpression="id")
    ids = [item["id"]["S"] for page in pages for item in page["Items"]]
    unnamed = [id for id in ids if not id.startswith(tuple(named))]
    if not ids or unnamed:
        sys.exit(f"no role names the items {unnamed[:5]}; dynamodb:LeadingKeys of template.yaml has to")


main()
