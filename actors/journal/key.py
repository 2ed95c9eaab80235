"""The key of a request: 16 bytes that are equal exactly when the same question is put to the same model.

Made of the engine's identity and of every field of the request that is not at its default, so that a field added
to the contract leaves the keys of requests without it as they are. The order of keys within a dict does not count,
the order of messages does. It does not look at meaning: another schema that accepts the same answers is another key.
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
# Written as text, since 0 and 0.0 are one temperature, and JSON has no infinity.
_NUMBERS = ("temperature", "top_p", "min_p")


def _fields(struct: type[msgspec.Struct]) -> list[tuple[str, Any]]:
    return [(field.name, field.default) for field in msgspec.structs.fields(struct)]


_OF_MESSAGE, _OF_SAMPLING = _fields(Message), _fields(Sampling)
_OF_REQUEST = [(name, default) for name, default in _fields(Request) if name not in ("messages", "sampling")]


def request_key(identity: Mapping[str, Any], request: Request) -> bytes:
    """The key under which the answer to this request is kept. Entries of `identity` that are None do not count."""
    who = {name: value for name, value in identity.items() if value is not None}
    messages = [_given(message, _OF_MESSAGE) for message in request.messages]
    sampling = _given(request.sampling, _OF_SAMPLING)
    for name in _NUMBERS:
        if name in sampling:
            sampling[name] = repr(float(sampling[name]))
    written = _canonical([who, messages, sampling, _given(request, _OF_REQUEST)])
    return hashlib.sha256(_FORM + written).digest()[:KEY_BYTES]


def _given(struct: msgspec.Struct, fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields that say something: by value, since msgspec leaves out defaults by identity."""
    return {name: value for name, default in fields if (value := getattr(struct, name)) != default}


def _canonical(content: Any) -> bytes:
    try:
        return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # Lone surrogates and integers past 64 bits: rare, and never the same bytes as what orjson can write.
        return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
