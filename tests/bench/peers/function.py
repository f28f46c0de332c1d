"""The functions as one would write them by hand in Python: httpx for Protime, boto3 for AWS.

They do the same work: the same page messages in the same calls, the same writes. They lack checkpoints, retries,
windows and checks of Protime's rules.
"""

import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import boto3
import httpx

LIMIT = 1_048_576

sqs = boto3.client("sqs")
secrets = boto3.client("secretsmanager")
dynamodb = boto3.client("dynamodb")
http = httpx.Client(timeout=60, headers={"user-agent": "Bench/1.0 (Bench)"})
pool = ThreadPoolExecutor(10)
logins = {}


def login(name):
    """Base URI and headers of an HTTP client; the token is kept until it nearly expires."""
    known = logins.get(name)
    if known and known["expires"] > time.monotonic():
        return known
    secret = json.loads(secrets.get_secret_value(SecretId=name)["SecretString"])
    scopes = secret["scopes"]
    answer = http.post(
        secret["access_token_url"],
        data={
            "grant_type": "client_credentials",
            "client_id": secret["client_id"],
            "client_secret": secret["client_secret"],
            "scope": scopes if isinstance(scopes, str) else " ".join(scopes),
        },
    )
    answer.raise_for_status()
    token = answer.json()
    logins[name] = {
        "base_uri": secret["base_uri"].rstrip("/"),
        "headers": {"authorization": "Bearer " + token["access_token"]},
        "expires": time.monotonic() + token["expires_in"] * 0.9,
    }
    return logins[name]


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def subscriber(event, context):
    client = login(event["client"])
    base_uri = client["base_uri"]
    path = "/connector/protimeapi/api/v1/" + event["entity"]
    attributes = {
        name: {"DataType": "String", "StringValue": value}
        for name, value in [
            ("type", "protime.page.v1"),
            ("entity", event["entity"]),
            ("incoming", event["incoming"]),
        ]
    }
    attributes_size = sum(len(name) + 6 + len(value["StringValue"]) for name, value in attributes.items())
    entries, size, page, records = [], 0, 0, 0

    def send():
        answer = sqs.send_message_batch(QueueUrl=os.environ["PAGES_QUEUE_URL"], Entries=entries)
        if answer.get("Failed"):
            raise RuntimeError(answer["Failed"][0]["Code"])

    url = httpx.URL(base_uri + path, params=event["query"])
    while url:
        answer = http.get(url, headers=client["headers"])
        answer.raise_for_status()
        content = answer.json()
        value = content["value"]
        if value:
            digest = hashlib.sha256(compact(value).encode()).hexdigest()[:16]
            body = compact(
                {
                    "specversion": "1.0",
                    "type": "protime.page.v1",
                    "id": f"{event['run']}/0/{page}/0/{digest}",
                    "source": base_uri + path,
                    "subject": event["incoming"],
                    "time": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "datacontenttype": "application/json",
                    "entity": event["entity"],
                    "run": event["run"],
                    "sync": "full",
                    "chain": 0,
                    "page": page,
                    "part": 0,
                    "data": {"value": value},
                }
            )
            message_size = len(body.encode()) + attributes_size
            if entries and (len(entries) == 10 or size + message_size > LIMIT):
                send()
                entries, size = [], 0
            entries.append({"Id": str(len(entries)), "MessageBody": body, "MessageAttributes": attributes})
            size += message_size
        page += 1
        records += len(value)
        link = content.get("nextLink")
        # Links are not percent-encoded: the plus signs of the token would arrive as spaces.
        url = base_uri + link.replace("+", "%2B") if link else None
    if entries:
        send()
    return {"pages": page, "records": records}


def publish(record):
    """Writes one request, noted before and after in the state table."""
    request = json.loads(record["body"])
    client = login(request["client"])
    table, key = os.environ["STATE_TABLE"], {"pk": {"S": "write#" + record["messageId"]}}
    dynamodb.update_item(
        TableName=table,
        Key=key,
        UpdateExpression="SET #state = :state",
        ConditionExpression="attribute_not_exists(pk)",
        ExpressionAttributeNames={"#state": "state"},
        ExpressionAttributeValues={":state": {"S": "started"}},
    )
    url = client["base_uri"] + "/connector/protimeapi/api/v1/" + request["entity"]
    http.request(request["method"], url, json=request["payload"], headers=client["headers"]).raise_for_status()
    dynamodb.update_item(
        TableName=table,
        Key=key,
        UpdateExpression="SET #state = :state",
        ExpressionAttributeNames={"#state": "state"},
        ExpressionAttributeValues={":state": {"S": "done"}},
    )


def publisher(event, context):
    login(json.loads(event["Records"][0]["body"])["client"])
    failures = []
    written = [(record, pool.submit(publish, record)) for record in event["Records"]]
    for record, future in written:
        try:
            future.result()
        except Exception as error:
            print(compact({"message": str(error)}))
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}
