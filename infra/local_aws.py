"""Local AWS with its checks of rights on, which also writes down what roles ask for: local_aws.py FILE.

Runs in the virtual environment of local AWS. Each line of FILE is {"role", "action", "resource", "allowed"}, once for
each that differs.
"""

import contextvars
import json
import sys

from ministack.app import main
from ministack.core import iam_evaluator
from ministack.services import scheduler

# Seconds between two looks at the schedules, which are ten by default. Who watches a demo waits for them.
scheduler._SCHEDULE_TICK_INTERVAL = 0.5

FILE = open(sys.argv.pop(1), "a", buffering=1)
evaluate, enforce = iam_evaluator.evaluate, iam_evaluator.enforce
asking = contextvars.ContextVar("asking", default="")
seen = set()


def evaluated(context, *policies):
    # arn:aws:sts::<account>:assumed-role/<role>/<session>
    _, _, session = context.principal_arn.partition(":assumed-role/")
    asking.set(session.split("/")[0])
    return evaluate(context, *policies)


def enforced(access_key, action, service, region, resource_arn="*", service_context=None):
    asking.set("")
    denied = enforce(access_key, action, service, region, resource_arn, service_context)
    line = (asking.get(), action, resource_arn, denied is None)
    if line[0] and line not in seen:
        seen.add(line)
        FILE.write(json.dumps(dict(zip(("role", "action", "resource", "allowed"), line))) + "\n")
    return denied


iam_evaluator.evaluate, iam_evaluator.enforce = evaluated, enforced
main()
