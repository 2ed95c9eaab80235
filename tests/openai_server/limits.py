"""True rate limits: what comes in a minute fills buckets, and a request that finds too little is refused."""

from __future__ import annotations

from tests.openai_server.config import Config

_MOST = 10_000_000.0  # what is said where there is no limit


class Bucket:
    """A limit by the minute; it is full at the start and holds a minute's worth."""

    def __init__(self) -> None:
        self._level, self._moment, self._size = 0.0, 0.0, 0.0

    def fill(self, per_minute: float, now: float) -> float:
        """What is in it now."""
        if self._size != per_minute:
            self._size, self._level = per_minute, per_minute
        self._level = min(per_minute, self._level + (now - self._moment) * per_minute / 60)
        self._moment = now
        return self._level

    def take(self, amount: float) -> None:
        self._level -= amount


class Limits:
    """The limits on requests and on tokens of one server."""

    def __init__(self) -> None:
        self._requests, self._tokens = Bucket(), Bucket()

    def wait(self, config: Config, tokens: int, now: float) -> tuple[str, float] | None:
        """Take a request of so many tokens; where it does not fit, what is short and for how many seconds."""
        asked = []
        for name, bucket, limit, amount in (
            ("requests", self._requests, config.requests_per_minute, 1),
            ("tokens", self._tokens, config.tokens_per_minute, tokens),
        ):
            if limit is None:
                continue
            short = min(amount, limit) - bucket.fill(limit, now)
            if short > 0:
                return name, short * 60 / limit
            asked.append((bucket, amount))
        for bucket, amount in asked:
            bucket.take(amount)
        return None

    def headers(self, config: Config, now: float) -> bytes:
        """x-ratelimit-*, as OpenAI sends them."""
        if config.requests_per_minute is None and config.tokens_per_minute is None:
            return _UNLIMITED
        lines = []
        for name, bucket, limit in (
            ("requests", self._requests, config.requests_per_minute),
            ("tokens", self._tokens, config.tokens_per_minute),
        ):
            most = _MOST if limit is None else limit
            left = most if limit is None else max(0.0, bucket.fill(limit, now))
            lines.append(_lines(name, most, left))
        return "".join(lines).encode()


def _lines(name: str, most: float, left: float) -> str:
    wait = (most - left) * 60 / most if most else 60.0
    return (
        f"x-ratelimit-limit-{name}: {most:.0f}\r\nx-ratelimit-remaining-{name}: {int(left)}\r\n"
        f"x-ratelimit-reset-{name}: {wait:.3f}s\r\n"
    )


_UNLIMITED = "".join([_lines(name, _MOST, _MOST) for name in ("requests", "tokens")]).encode()
