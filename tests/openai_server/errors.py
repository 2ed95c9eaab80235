"""Errors in OpenAI's shape."""

from __future__ import annotations

import orjson


class ApiError(Exception):
    """A request that is answered with an error status."""

    def __init__(
        self,
        status: int,
        message: str,
        kind: str = "invalid_request_error",
        *,
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(status, message)
        self.status, self.message, self.kind, self.param, self.code = status, message, kind, param, code

    @property
    def outcome(self) -> str:
        """How the ledger names it."""
        return f"{self.status} {self.code or self.kind}"

    def content(self) -> dict[str, dict[str, str | None]]:
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def body(self) -> bytes:
        return orjson.dumps(self.content())


def missing_key() -> ApiError:
    return ApiError(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
        "(i.e. Authorization: Bearer YOUR_KEY).",
    )


def wrong_key() -> ApiError:
    return ApiError(401, "Incorrect API key provided.", code="invalid_api_key")


def no_such_model(model: str) -> ApiError:
    return ApiError(
        404,
        f"The model `{model}` does not exist or you do not have access to it.",
        param="model",
        code="model_not_found",
    )


def rate_limited(what: str = "requests", wait: float = 1.0) -> ApiError:
    message = f"Rate limit reached for the model on {what} per min. Please try again in {wait:g}s."
    return ApiError(429, message, what, code="rate_limit_exceeded")


def quota_spent() -> ApiError:
    message = "You exceeded your current quota, please check your plan and billing details."
    return ApiError(429, message, "insufficient_quota", code="insufficient_quota")


def server_error() -> ApiError:
    message = "The server had an error while processing your request. Sorry about that!"
    return ApiError(500, message, "server_error")


def overloaded() -> ApiError:
    message = "The engine is currently overloaded, please try again later."
    return ApiError(503, message, "server_error", code="overloaded")


def not_found(method: str, path: str) -> ApiError:
    return ApiError(404, f"Invalid URL ({method} {path})")
