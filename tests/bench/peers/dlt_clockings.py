"""dlt's rest_api source on clockings: `extract` only, or the full `load` into JSON lines."""

import json
import os
import sys

import dlt
from dlt.sources.helpers.rest_client.auth import OAuth2ClientCredentials
from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator
from dlt.sources.rest_api import rest_api_source


class NextLink(JSONLinkPaginator):
    """Protime's links are not percent-encoded; as they are, the plus signs in their tokens would arrive as spaces."""

    def update_state(self, response, data=None):
        super().update_state(response, data)
        if self._next_reference:
            self._next_reference = self._next_reference.replace("+", "%2B")


mode, directory = sys.argv[1:]
secret = json.loads(os.environ["SECRET"])
source = rest_api_source(
    {
        "client": {
            "base_url": secret["base_uri"].rstrip("/") + "/connector/protimeapi/api/v1/",
            "headers": {"user-agent": "Bench/1.0 (Bench)"},
            "auth": OAuth2ClientCredentials(
                access_token_url=secret["access_token_url"],
                client_id=secret["client_id"],
                client_secret=secret["client_secret"],
                access_token_request_data={"scope": " ".join(secret["scopes"])},
            ),
            "paginator": NextLink(next_url_path="nextLink"),
        },
        "resources": [
            {
                "name": "clockings",
                "endpoint": {
                    "path": "clockings",
                    "params": {"filter": os.environ["FILTER"]},
                    "data_selector": "value",
                },
            }
        ],
    }
)
pipeline = dlt.pipeline(
    "bench",
    pipelines_dir=os.path.join(directory, "pipelines"),
    destination=dlt.destinations.filesystem(bucket_url=os.path.join(directory, "loaded")),
    dataset_name="bench",
)
if mode == "extract":
    extracted = pipeline.extract(source)
    steps = [step for load in extracted.metrics.values() for step in load]
    rows = sum(step["resource_metrics"]["clockings"].items_count for step in steps if "clockings" in step["resource_metrics"])
else:
    pipeline.run(source, loader_file_format="jsonl").raise_on_failed_jobs()
    rows = pipeline.last_trace.last_normalize_info.row_counts["clockings"]
if rows != int(os.environ["RECORDS"]):
    sys.exit(f"{rows} records; {os.environ['RECORDS']} were expected")
