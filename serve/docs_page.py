"""The page at /docs: the OpenAPI document for people, with a command to copy for each operation. No script at all."""

from __future__ import annotations

from functools import cache
from typing import Any

from serve.openapi import plain_document
from serve.settings import Limits

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
EXAMPLES = {
    "listModels": "curl {url}/v1/models{key}",
    "getModel": "curl {url}/v1/models/quality{key}",
    "classify": """curl {url}/v1/models/quality:classify{key} -d '{{"inputs": ["def add(a, b): return a + b"]}}'
zstd -c shard.jsonl | curl {url}/v1/models/quality:classify{key} -T - -X POST \\
  -H 'Content-Type: application/x-ndjson' -H 'Content-Encoding: zstd'""",
    "explain": """curl {url}/v1/models/quality:explain{key} -d '{{"input": "def add(a, b): return a + b"}}'""",
    "health": "curl {url}/healthz",
    "ready": "curl {url}/readyz",
    "metrics": "curl {url}/metrics{key}",
}


@cache
def docs(limits: Limits, with_keys: bool) -> bytes:
    """The page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("serve", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    document = plain_document(limits, with_keys)
    key = ' -H "Authorization: Bearer $KEY"' if with_keys else ""
    examples = {name: text.format(url="$URL", key=key) for name, text in EXAMPLES.items()}
    template = environment.get_template("docs.html.j2")
    return template.render(document=document, examples=examples, kind=_kind, limits=limits).encode()


def _kind(schema: dict[str, Any]) -> str:
    """A schema's type in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_kind(schema['items'])}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_kind(schema['additionalProperties'])}"
    if kind == "object":
        return "{" + ", ".join(schema["properties"]) + "}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)
