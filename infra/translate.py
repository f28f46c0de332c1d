"""The templates as CloudFormation gets them, after the SAM transform: written to .tools/translated, for cfn-lint and for the
tests of tests/template."""

import json
import logging
import os
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


def main() -> None:
    directory = ROOT / ".tools" / "translated"
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("template.yaml", "infra/outgoing.yaml"):
        template = yaml_parse((ROOT / name).read_text())
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::Serverless::Function":
                # sam build and sam deploy put an address here.
                resource["Properties"]["CodeUri"] = "s3://bucket/key"
        translated = transform(template, {}, NoManagedPolicies())
        (directory / f"{Path(name).stem}.json").write_text(json.dumps(translated, indent=1))


main()
