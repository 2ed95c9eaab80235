"""The key of a request: 16 bytes that are equal exactly when the same question is put to the same model.

Made of the engine's identity and of every field of the request that is not at its default, so that a field added
to the contract leaves the keys of requests without it as they are. The order of messages counts, and so does all order
within the schema, since models write in it; that of keys within other dicts does not. It does not look at meaning:
another schema that accepts the same answers is another key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from actors.engines.contract import Message, Request, Sampling

KEY_BYTES = 16

# Hashed in front of everything: another way to write requests down must never meet keys of this one.
_FORM = b"gristmill request 1\n"
# Of requests with a schema, which stands behind the rest as it is sent; in the first form its order did not count.
_FORM_WITH_SCHEMA = b"gristmill request 2\n"
# Written as text, since 0 and 0.0 are one temperature, and JSON has no infinity.
_NUMBERS = ("temperature", "top_p", "min_p")


def _fields(struct: type[msgspec.Struct]) -> list[tuple[str, Any]]:
    return [(field.name, field.default) for field in msgspec.structs.fields(struct)]


_APART = ("messages", "sampling", "schema")
_OF_MESSAGE, _OF_SAMPLING = _fields(Message), _fields(Sampling)
_OF_REQUEST = [(name, default) for name, default in _fields(Request) if name not in _APART]


def request_key(identity: Mapping[str, Any], request: Request) -> bytes:
    """The key under which the answer to this request is kept. Entries of `identity` that are None do not count."""
    who = {name: value for name, value in identity.items() if value is not None}
    messages = [_given(message, _OF_MESSAGE) for message in request.messages]
    sampling = _given(request.sampling, _OF_SAMPLING)
    for name in _NUMBERS:
        if name in sampling:
            sampling[name] = repr(float(sampling[name]))
    written = _written([who, messages, sampling, _given(request, _OF_REQUEST)], is_sorted=True)
    if request.schema is None:
        return _digest(_FORM + written)
    return _digest(_FORM_WITH_SCHEMA + written + b"\n" + _written(request.schema, is_sorted=False))


def _given(struct: msgspec.Struct, fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields that say something: by value, since msgspec leaves out defaults by identity."""
    return {name: value for name, default in fields if (value := getattr(struct, name)) != default}


def _written(content: Any, is_sorted: bool) -> bytes:
    """JSON on one line."""
    try:
        return orjson.dumps(content, option=orjson.OPT_SORT_KEYS if is_sorted else None)
    except TypeError:
        # Lone surrogates and integers past 64 bits: rare, and never the same bytes as what orjson can write.
        return json.dumps(content, sort_keys=is_sorted, separators=(",", ":")).encode()


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:KEY_BYTES]
