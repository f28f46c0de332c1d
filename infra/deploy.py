"""Asks what to deploy, builds just that, and deploys it: make deploy.

The answers are kept in deploy.json, which is not tracked, and are the defaults of the next time.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import yaml
from local_stack import ROOT, Failure, main, release_environment, say

ANSWERS = ROOT / "deploy.json"


class Template(yaml.SafeLoader):
    """Reads a template; what !Ref and the like make of it does not matter here."""


Template.add_multi_constructor("!", lambda loader, suffix, node: None)


def parameters() -> dict[str, dict]:
    return yaml.load((ROOT / "template.yaml").read_text(), Template)["Parameters"]


def problem(parameter: dict, answer: str) -> str | None:
    """Why CloudFormation would refuse the answer."""
    allowed = [str(value) for value in parameter.get("AllowedValues", [])]
    if allowed and answer not in allowed:
        return f"one of {', '.join(allowed)} is needed"
    pattern = parameter.get("AllowedPattern")
    if pattern and not re.fullmatch(pattern, answer):
        return parameter.get("ConstraintDescription") or f"it has to match {pattern}"
    if parameter["Type"] == "Number":
        least, most = parameter.get("MinValue", 0), parameter.get("MaxValue", 10**9)
        if not (answer.isdigit() and least <= int(answer) <= most):
            return f"a number from {least} to {most} is needed"
    return None


def ask(name: str, description: str, default: str, why_not=lambda answer: None) -> str:
    say(f"\n{description}")
    while True:
        try:
            answer = input(f"{name} [{default}]: ").strip() or default
        except EOFError:
            raise Failure("\nNothing was built or deployed: there are no more answers.") from None
        refused = why_not(answer)
        if refused is None:
            return answer
        say(f"  {answer!r} cannot be used: {refused}")


def deploy() -> int:
    kept = json.loads(ANSWERS.read_text()) if ANSWERS.exists() else {}
    region = os.environ["AWS_REGION"]
    say(f"What is deployed to the region {region}? Enter takes what stands in brackets; nothing is changed before you confirm it.")
    needs_name = lambda name: None if re.fullmatch("[A-Za-z][A-Za-z0-9-]{0,127}", name) else "letters, digits and hyphens are needed"  # noqa: E731
    stack = ask("StackName", "The name of the stack.", kept.get("StackName", "protime-connector"), needs_name)
    answers = {"StackName": stack}
    for name, parameter in parameters().items():
        default = kept.get(name, str(parameter.get("Default", "")))
        answers[name] = ask(name, parameter.get("Description", ""), default, lambda answer, parameter=parameter: problem(parameter, answer))
    ANSWERS.write_text(json.dumps(answers, indent=2) + "\n")
    overrides = [f'{name}="{answer}"' for name, answer in answers.items() if name != "StackName"]
    say(f"\nBuilding for {answers['Architecture']}")
    # What is built and what is deployed are told the same, so that no function is of another architecture than its code.
    for command in (
        ["sam", "build", "--parameter-overrides", *overrides],
        ["sam", "deploy", "--stack-name", stack, "--region", region, "--parameter-overrides", *overrides],
    ):
        code = subprocess.call(command, cwd=ROOT, env=release_environment(os.environ))
        if code != 0:
            raise Failure(f"{' '.join(command[:2])} ended with code {code}; what it printed above says why. Your answers are kept in {ANSWERS.name}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(deploy))
