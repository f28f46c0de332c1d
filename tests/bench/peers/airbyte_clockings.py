"""airbyte-cdk's declarative source on clockings: `read`, its messages written to nowhere."""

import json
import os
import sys

from airbyte_cdk.cli.source_declarative_manifest import run

directory = sys.argv[1]
secret = json.loads(os.environ["SECRET"])
# Protime's links are not percent-encoded; as they are, the plus signs in their tokens would arrive as spaces.
manifest = {
    "version": "7.0.0",
    "type": "DeclarativeSource",
    "check": {"type": "CheckStream", "stream_names": ["clockings"]},
    "spec": {"type": "Spec", "connection_specification": {"type": "object", "additionalProperties": True}},
    "streams": [
        {
            "type": "DeclarativeStream",
            "name": "clockings",
            "primary_key": "id",
            "retriever": {
                "type": "SimpleRetriever",
                "requester": {
                    "type": "HttpRequester",
                    "url_base": secret["base_uri"].rstrip("/") + "/connector/protimeapi/api/v1",
                    "path": "clockings",
                    "http_method": "GET",
                    "request_headers": {"user-agent": "Bench/1.0 (Bench)"},
                    "request_parameters": {"filter": os.environ["FILTER"]},
                    "authenticator": {
                        "type": "OAuthAuthenticator",
                        "token_refresh_endpoint": secret["access_token_url"],
                        "client_id": secret["client_id"],
                        "client_secret": secret["client_secret"],
                        "grant_type": "client_credentials",
                        "scopes": secret["scopes"],
                        "refresh_request_headers": {"content-type": "application/x-www-form-urlencoded"},
                        "refresh_request_body": {"scope": " ".join(secret["scopes"])},
                    },
                },
                "record_selector": {
                    "type": "RecordSelector",
                    "extractor": {"type": "DpathExtractor", "field_path": ["value"]},
                },
                "paginator": {
                    "type": "DefaultPaginator",
                    "page_token_option": {"type": "RequestPath"},
                    "pagination_strategy": {
                        "type": "CursorPagination",
                        "cursor_value": secret["base_uri"].rstrip("/") + "{{ response.nextLink | replace('+', '%2B') }}",
                        "stop_condition": "{{ not response.nextLink }}",
                    },
                },
            },
            "schema_loader": {
                "type": "InlineSchemaLoader",
                "schema": {"type": "object", "additionalProperties": True, "properties": {}},
            },
        }
    ],
}
stream = {
    "stream": {"name": "clockings", "json_schema": {}, "supported_sync_modes": ["full_refresh"]},
    "sync_mode": "full_refresh",
    "destination_sync_mode": "append",
}
paths = {}
for name, content in [
    ("config", {"__injected_declarative_manifest": manifest}),
    ("catalog", {"streams": [stream]}),
]:
    paths[name] = os.path.join(directory, name + ".json")
    with open(paths[name], "w") as file:
        json.dump(content, file)
os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
sys.argv[1:] = ["read", "--config", paths["config"], "--catalog", paths["catalog"]]
run()
