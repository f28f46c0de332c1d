"""The templates as CloudFormation gets them, after the SAM transform: written to .tools/translated, for cfn-lint and for the
tests of tests/template. One more is template.yaml with the examples of nested templates
in functions/*/README.md."""

import json
import logging
import os
import re
from pathlib import Path

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parent.parent
os.environ["AWS_DEFAULT_REGION"] = "eu-west-1"
# It warns that nobody collects its figures.
logging.getLogger("samtranslator").setLevel(logging.ERROR)


class NoManagedPolicies:
    """The templates name no managed policy but the ones that SAM itself adds, which it writes as they are."""

    def load(self) -> dict:
        return {}


def translated(template: dict) -> dict:
    for resource in template["Resources"].values():
        # sam build and sam deploy put addresses here.
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
        if resource["Type"] == "AWS::Serverless::Application":
            resource["Properties"]["Location"] = "https://bucket.s3.amazonaws.com/key"
        if resource["Type"] == "AWS::CloudFormation::Stack":
            resource["Properties"]["TemplateURL"] = "https://bucket.s3.amazonaws.com/key"
    return transform(template, {}, NoManagedPolicies())


def main() -> None:
    directory = ROOT / ".tools" / "translated"
    directory.mkdir(parents=True, exist_ok=True)
    template = (ROOT / "template.yaml").read_text()
    nested = yaml_parse(template)
    for function in ("publisher", "doorbell"):
        [example] = re.findall(r"```yaml\n(.*?)```", (ROOT / "functions" / function / "README.md").read_text(), re.DOTALL)
        nested["Resources"] |= yaml_parse(example)
    templates = {"template": yaml_parse(template), "nested": nested}
    for name in ("outgoing", "connections", "doorbell"):
        templates[name] = yaml_parse((ROOT / "infra" / f"{name}.yaml").read_text())
    for name, content in templates.items():
        (directory / f"{name}.json").write_text(json.dumps(translated(content), indent=1))


main()
