"""The interface as it is described, held against what the endpoint does, by generated requests."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from serve import docs_page, openapi
from serve.settings import Limits
from tests.serve.conftest import endpoint_of

schemathesis = pytest.importorskip("schemathesis")
from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: E402

# The same ones every time; with more, GRISTMILL_FUZZ_EXAMPLES=5000, others each time.
EXAMPLES = int(os.environ.get("GRISTMILL_FUZZ_EXAMPLES", "100"))


def test_every_answer_is_one_that_is_described(model_dir: Path):
    endpoint = asyncio.run(endpoint_of(quality=model_dir))
    operations = list(schemathesis.openapi.from_asgi("/openapi.json", endpoint).get_all_operations())
    assert len(operations) == 7
    for operation in operations:

        @hypothesis.given(case=operation.ok().as_strategy(), known=st.booleans())
        @hypothesis.settings(
            max_examples=EXAMPLES,
            derandomize=EXAMPLES < 1000,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        def answered(case: Any, known: bool) -> None:
            if known and "name" in case.path_parameters:
                case.path_parameters["name"] = "quality"
            # Which labels there are, the document cannot know.
            free = [positive_data_acceptance] if case.path.endswith(":explain") else []
            assert case.call_and_validate(excluded_checks=free).status_code != 500

        answered()


def test_the_document_is_openapi(model_dir: Path):
    validator = pytest.importorskip("openapi_spec_validator")
    for with_keys in (False, True):
        validator.validate(openapi.plain_document(Limits(), with_keys))


def test_the_page_shows_every_operation_and_asks_nobody_else():
    for with_keys in (False, True):
        page = docs_page.docs(Limits(), with_keys).decode()
        for path, operations in openapi.plain_document(Limits(), with_keys)["paths"].items():
            assert path in page
            for operation in operations.values():
                assert operation["operationId"] in page
        assert ("curl $URL/v1/models -H" in page) == with_keys
        for foreign in ("<script", "http://", "https://", "src="):
            assert foreign not in page


def test_bounds_are_those_of_the_settings():
    document = json.loads(openapi.document(Limits(max_texts=12), False))
    assert document["components"]["schemas"]["ClassifyRequest"]["properties"]["inputs"]["maxItems"] == 12
