"""A bounded memory of a pure function from strings to strings, asked for many keys at once.

Known keys cost a dictionary lookup each and no Python call; the others are computed together, each once. What is
remembered never changes a result, and any number of threads may ask.
"""

from __future__ import annotations

from collections.abc import Callable


class Remembered:
    """The values of `function` (keys to their values, in order) for the keys that were asked for last.

    It holds at most two generations of `entries` keys or `chars` characters of keys and values, whichever is
    reached first: a full younger generation becomes the older one, and what is found in the older one is young
    again, so that words in use stay.
    """

    def __init__(
        self, function: Callable[[list[str]], list[str]], entries: int = 1 << 16, chars: int = 1 << 22
    ) -> None:
        self._function = function
        self._entries = entries
        self._chars = chars
        self._held = 0
        self._younger: dict[str, str] = {}
        self._older: dict[str, str] = {}

    def of(self, keys: list[str]) -> list[str]:
        """The value of each key."""
        values: list[str | None] = list(map(self._younger.get, keys))
        if None in values:
            missing = [position for position, value in enumerate(values) if value is None]
            found = self._found(dict.fromkeys([keys[position] for position in missing]))
            for position in missing:
                values[position] = found[keys[position]]
        return values  # type: ignore[return-value]

    def _found(self, missing: dict[str, None]) -> dict[str, str]:
        older = self._older
        found = {key: older[key] for key in older.keys() & missing.keys()} if older else {}
        new = [key for key in missing if key not in found] if found else list(missing)
        if new:
            found.update(zip(new, self._function(new), strict=True))
        self._held += sum(map(len, found)) + sum(map(len, found.values()))
        if len(self._younger) >= self._entries or self._held > self._chars:
            self._older, self._younger, self._held = self._younger, {}, 0
        self._younger.update(found)
        return found
