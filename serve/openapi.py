"""The interface of the endpoint as OpenAPI 3.1: what is asked, what is answered, and every status there can be."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

import orjson

from serve.settings import Limits

PROBLEMS = {
    "400": "The body is no JSON, not UTF-8, or its compressed data is damaged.",
    "401": "No API key, or not one of those that are known. Send the header Authorization: Bearer KEY.",
    "404": "No model of this name is served.",
    "405": "Another method is wanted; the header Allow names it.",
    "408": "The body did not come, or came too slowly.",
    "413": "The body, a line of it, or the number of its texts is too large.",
    "415": "The Content-Encoding is neither gzip nor zstd.",
    "422": "The body is JSON of another shape; `field` says where.",
    "503": "The queue is full, or no replica is there now. Come back after the seconds in Retry-After.",
}


@cache
def document(limits: Limits, with_keys: bool) -> bytes:
    """The OpenAPI document as JSON."""
    return orjson.dumps(plain_document(limits, with_keys))


def plain_document(limits: Limits, with_keys: bool) -> dict[str, Any]:
    """The OpenAPI document as plain values."""
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    described = {"openapi": "3.1.0", "info": _info(), "paths": _paths(name), "components": _components(limits)}
    if with_keys:
        described["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}  # type: ignore[index]
        for path, operations in described["paths"].items():  # type: ignore[attr-defined]
            if path.startswith("/v1/") or path == "/metrics":
                for operation in operations.values():
                    operation["security"] = [{"key": []}]
    return described


def _info() -> dict[str, str]:
    return {
        "title": "Gristmill classifiers",
        "version": version("gristmill"),
        "summary": "Texts in, labels with probabilities out: the same numbers as the infer verbs write.",
    }


def _paths(name: dict[str, Any]) -> dict[str, Any]:
    return {
        "/v1/models": {"get": _operation("List the models", "listModels", _answer("Models"), "401", "405")},
        "/v1/models/{name}": {
            "get": _operation("Describe a model", "getModel", _answer("Model"), "401", "404", "405")
            | {"parameters": [name]}
        },
        "/v1/models/{name}:classify": {"post": _classify(name)},
        "/v1/models/{name}:explain": {
            "post": _operation(
                "Which words move the output: each is left out in turn",
                "explain",
                _answer("Explanation"),
                *PROBLEMS,
            )
            | {"parameters": [name], "requestBody": _body({"application/json": "ExplainRequest"})}
        },
        "/healthz": {"get": _operation("Every model answers something", "health", _answer("Status"), "405", "503")},
        "/readyz": {"get": _operation("The models are loaded", "ready", _answer("Status"), "405", "503")},
        "/metrics": {
            "get": _operation(
                "Counts of all replicas together, for Prometheus",
                "metrics",
                {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": {"type": "string"}}}},
                "401",
                "405",
            )
        },
    }


def _classify(name: dict[str, Any]) -> dict[str, Any]:
    operation = _operation(
        "Classify texts",
        "classify",
        {
            "description": "A result for each input, in order.",
            "content": {
                "application/json": {"schema": _ref("ClassifyResponse")},
                "application/x-ndjson": {"schema": _ref("Line")},
            },
        },
        *PROBLEMS,
    )
    operation["description"] = (
        "One JSON body, or a stream of any length as application/x-ndjson: a JSON string or an object with `text` on each "
        "line, answered by a result, or an object with `error`, on the same line of the answer. Both may be compressed "
        "by gzip or zstd (Content-Encoding)."
    )
    boolean, number = {"type": "boolean", "default": True}, {"type": "integer", "minimum": 1, "maximum": 999999999}
    operation["parameters"] = [
        name,
        {"name": "top_k", "in": "query", "schema": number, "description": "Of a stream: see ClassifyRequest."},
        {"name": "normalize", "in": "query", "schema": boolean, "description": "Of a stream: see ClassifyRequest."},
    ]
    operation["requestBody"] = _body({"application/json": "ClassifyRequest", "application/x-ndjson": "TextLine"})
    return operation


def _operation(summary: str, identity: str, answer: dict[str, Any], *problems: str) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": _ref("Problem")}}
    refused = {status: {"description": PROBLEMS[status], "content": content} for status in problems}
    for status in {"503", "405", "401"} & refused.keys():
        header = {"503": "Retry-After", "405": "Allow", "401": "WWW-Authenticate"}[status]
        refused[status]["headers"] = {header: {"schema": {"type": "string"}}}
    return {"summary": summary, "operationId": identity, "responses": {"200": answer, **refused}}


def _answer(schema: str) -> dict[str, Any]:
    return {"description": "Done.", "content": {"application/json": {"schema": _ref(schema)}}}


def _body(schemas: dict[str, str]) -> dict[str, Any]:
    return {"required": True, "content": {kind: {"schema": _ref(schema)} for kind, schema in schemas.items()}}


def _ref(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _object(required: str, additional: bool = False, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required.split(),
        "properties": properties,
        "additionalProperties": additional,
    }


def _components(limits: Limits) -> dict[str, Any]:
    text, number, boolean = {"type": "string"}, {"type": "number"}, {"type": "boolean"}
    whole, names = {"type": "integer"}, {"type": "array", "items": text}
    nullable = {"type": ["string", "null"]}
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    classified = _object(
        "label probability probabilities",
        label={**text, "description": "The most probable label."},
        probability=probability,
        probabilities={"type": "object", "additionalProperties": probability},
        calibrated={**number, "description": "The score, where the model has a calibration."},
    )
    value = _object("value", value=number, calibrated=number)
    error = _object("error", error=text, field=text)
    schemas = {
        "ClassifyRequest": _object(
            "inputs",
            inputs={"type": "array", "items": text, "maxItems": limits.max_texts},
            top_k={"type": ["integer", "null"], "minimum": 1, "description": "Only the most probable labels."},
            normalize={**boolean, "default": True, "description": "false: the texts are in the model's normal form."},
        ),
        "ClassifyResponse": _object(
            "model version results timing",
            model=text,
            version=text,
            results={"type": "array", "items": _ref("Result")},
            timing=_object("queue_ms model_ms", queue_ms=number, model_ms=number),
        ),
        "Result": {"anyOf": [classified, value]},
        "Line": {"anyOf": [classified, value, error]},
        "TextLine": {"anyOf": [text, _object("text", True, text=text)]},
        "ExplainRequest": _object("input", input=text, label=nullable),
        "Explanation": _object(
            "model version label pieces method truncated",
            model=text,
            version=text,
            label=nullable,
            probability=probability,
            value=number,
            pieces={"type": "array", "items": _object("text effect", text=text, effect={"type": ["number", "null"]})},
            method=text,
            truncated=boolean,
        ),
        "Models": _object("models", models={"type": "array", "items": _ref("Model")}),
        "Model": _object(
            "name kind task labels version normalization normalization_steps max_length calibrated",
            name=text,
            kind=text,
            task=text,
            labels=names,
            version=text,
            normalization=nullable,
            normalization_steps={"type": "array", "items": _object("name", name=text, tokenizer_sha256=text)},
            max_length={"type": ["integer", "null"]},
            calibrated=boolean,
            failed_update={**text, "description": "Why the newest version was not taken; this one goes on."},
        ),
        "Status": _object("status models", status=text, models=names),
        "Problem": _object("type title status detail", type=text, title=text, status=whole, detail=text, field=text),
    }
    return {"schemas": schemas}
