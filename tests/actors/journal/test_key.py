"""The key of a request: another one for another question, the same one for the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.engines.contract import Message, Request, Sampling
from actors.journal import request_key

IDENTITY = {"engine": "endpoint", "model": "m"}
USER = Message("user", "How are you?")
BASE = Request((Message("system", "Be kind."), USER), Sampling(max_new_tokens=10, temperature=0.5))


def changed(**fields: Any) -> Request:
    return msgspec.structs.replace(BASE, **fields)


def sampled(**fields: Any) -> Request:
    return changed(sampling=msgspec.structs.replace(BASE.sampling, **fields))


OTHERS = {
    "order of messages": changed(messages=BASE.messages[::-1]),
    "content": changed(messages=(BASE.messages[0], Message("user", "How are you"))),
    "a picture": changed(messages=(BASE.messages[0], Message("user", "How are you?", ("data:,a",)))),
    "another picture": changed(messages=(BASE.messages[0], Message("user", "How are you?", ("data:,b",)))),
    "role": changed(messages=(BASE.messages[0], Message("assistant", "How are you?"))),
    "a message less": changed(messages=BASE.messages[1:]),
    "two in one": changed(messages=(Message("system", "Be kind.How are you?"),)),
    "schema": changed(schema={"type": "object"}),
    "other schema": changed(schema={"type": "array"}),
    "empty schema": changed(schema={}),
    "schema name": changed(schema_name="grade"),
    "sample": changed(sample=1),
    "not strict": changed(is_strict=False),
    "tokens": sampled(max_new_tokens=11),
    "any tokens": sampled(max_new_tokens=None),
    "temperature": sampled(temperature=0.51),
    "any temperature": sampled(temperature=None),
    "infinite": sampled(temperature=float("inf")),
    "no number": sampled(temperature=float("nan")),
    "top_p": sampled(top_p=0.5),
    "seed": sampled(seed=0),
    "stop": sampled(stop=("a", "b")),
    "stops": sampled(stop=("ab",)),
    "effort": sampled(reasoning_effort="low"),
    "tier": sampled(service_tier="low"),
    "min_p": sampled(min_p=0.05),
    "no thinking": sampled(chat_template_kwargs={"enable_thinking": False}),
    "thinking": sampled(chat_template_kwargs={"enable_thinking": True}),
    "no variables": sampled(chat_template_kwargs={}),
}


def test_whatever_differs_makes_another_key() -> None:
    keys = {name: request_key(IDENTITY, request) for name, request in (OTHERS | {"base": BASE}).items()}
    keys |= {"model": request_key({**IDENTITY, "model": "n"}, BASE), "nobody": request_key({}, BASE)}
    assert {len(key) for key in keys.values()} == {16}
    assert len(set(keys.values())) == len(keys)


def test_every_field_of_the_contract_is_among_the_differences() -> None:
    """A field added to the contract needs a line above."""
    of_others = list(OTHERS.values())
    for base, others in (
        (BASE, of_others),
        (BASE.sampling, [each.sampling for each in of_others]),
        (BASE.messages[1], [each.messages[-1] for each in of_others]),
    ):
        for field in msgspec.structs.fields(type(base)):
            assert any(getattr(each, field.name) != getattr(base, field.name) for each in others), field.name


def test_the_order_within_a_schema_counts_since_models_write_in_it() -> None:
    reason, score = {"reason": {"type": "string"}}, {"score": {"type": "integer"}}
    reason_first = changed(schema={"type": "object", "properties": reason | score})
    score_first = changed(schema={"type": "object", "properties": score | reason})
    assert request_key(IDENTITY, reason_first) != request_key(IDENTITY, score_first)
    odd = ({"\ud800": {}, "a": {}}, {"a": {}, "\ud800": {}})  # take the slower way
    assert len({request_key(IDENTITY, changed(schema={"properties": each})) for each in odd}) == 2


def test_the_order_within_other_dicts_does_not_count() -> None:
    one = sampled(chat_template_kwargs={"enable_thinking": True, "tools": {"a": 1, "b": 2}})
    other = sampled(chat_template_kwargs={"tools": {"b": 2, "a": 1}, "enable_thinking": True})
    assert request_key(IDENTITY, one) == request_key(dict(reversed(IDENTITY.items())), other)
    odd = {"model": "\ud800", "engine": "e"}  # takes the slower way
    assert request_key(odd, one) == request_key(dict(reversed(odd.items())), other)


def test_what_is_at_its_default_may_as_well_be_absent() -> None:
    spelled = Request((USER,), Sampling(stop=(), seed=None), None, "".join(["ans", "wer"]), int("0"))
    assert request_key(IDENTITY, Request((USER,))) == request_key({**IDENTITY, "revision": None}, spelled)
    assert request_key(IDENTITY, sampled(temperature=0)) == request_key(IDENTITY, sampled(temperature=0.0))


@pytest.mark.parametrize("odd", ["\ud800", "a\udfffb", "\0", "😀"])
def test_any_text_has_a_key(odd: str) -> None:
    keys = {
        request_key(IDENTITY, Request((Message("user", text),)))
        for text in (odd, odd + odd, odd.encode("utf-8", "backslashreplace").decode())
    }
    assert len(keys) >= 2
    assert request_key({"model": odd}, BASE) != request_key({"model": "\\" + odd}, BASE)


def test_integers_of_any_size_have_a_key() -> None:
    assert request_key(IDENTITY, sampled(seed=2**70)) != request_key(IDENTITY, sampled(seed=2**70 + 1))


def test_the_key_is_the_same_in_every_version() -> None:
    """Journals outlive versions; a change here throws every paid answer away."""
    assert request_key(IDENTITY, BASE).hex() == "de5ba95a25067180fb76c1dc70acf70d"
    said = (Message("system", "Be kind."), Message("user", "é 😀"), Message("assistant", "a"))
    all_of_the_first = Request(
        said, Sampling(10, 0.5, 0.9, 7, ("END",), "low", "flex"), {"type": "object"}, "grade", 3, False
    )
    assert request_key({"engine": "openai", "model": "m"}, all_of_the_first).hex() == "eb22a7edbfb8b3bc0d4d07288eea96da"


texts = st.text(alphabet='ab"\\\ud800é', max_size=3)
requests = st.builds(
    Request,
    st.lists(st.builds(Message, st.sampled_from(["system", "user"]), texts), max_size=2).map(tuple),
    st.builds(
        Sampling,
        max_new_tokens=st.none() | st.integers(0, 1),
        stop=st.lists(texts, max_size=2).map(tuple),
        service_tier=st.none() | texts,
        reasoning_effort=st.none() | texts,
    ),
    st.none() | st.dictionaries(texts, texts | st.none(), max_size=2),
    schema_name=texts,
)


@given(requests, requests)
def test_keys_are_equal_exactly_when_requests_are(one: Request, other: Request) -> None:
    is_same = one == other and list(one.schema or ()) == list(other.schema or ())
    assert (request_key(IDENTITY, one) == request_key(IDENTITY, other)) == is_same
    assert request_key(IDENTITY, one) == request_key(IDENTITY, msgspec.structs.replace(one))
