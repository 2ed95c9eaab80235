"""Credentials written into a text: keys by their issuers' published shapes, and literals assigned to telling names.

It reports the kind and the line, never the value. It does not ask whether a key still works, and it reads any
language, so it can neither follow a variable nor tell a string from a comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

_ISSUED = {
    "AKIA": ("AWS access key", re.compile(r"(?<![A-Za-z0-9])AKIA[0-9A-Z]{16}\b")),
    "ghp_": ("GitHub token", re.compile(r"(?<![A-Za-z0-9])ghp_[A-Za-z0-9]{36}")),
    "gho_": ("GitHub token", re.compile(r"(?<![A-Za-z0-9])gho_[A-Za-z0-9]{36}")),
    "ghs_": ("GitHub token", re.compile(r"(?<![A-Za-z0-9])ghs_[A-Za-z0-9]{36}")),
    "github_pat_": ("GitHub token", re.compile(r"(?<![A-Za-z0-9])github_pat_[A-Za-z0-9_]{60}")),
    "glpat-": ("GitLab token", re.compile(r"(?<![A-Za-z0-9])glpat-[A-Za-z0-9_-]{20}")),
    "AIza": ("Google API key", re.compile(r"(?<![A-Za-z0-9])AIza[0-9A-Za-z_-]{35}\b")),
    "xoxb-": ("Slack token", re.compile(r"(?<![A-Za-z0-9])xoxb-[0-9]{6,}-[0-9A-Za-z-]{10}")),
    "xoxp-": ("Slack token", re.compile(r"(?<![A-Za-z0-9])xoxp-[0-9]{6,}-[0-9A-Za-z-]{10}")),
    "sk_live_": ("Stripe key", re.compile(r"(?<![A-Za-z0-9])sk_live_[0-9A-Za-z]{16}")),
    "sk-": (
        "model provider's key",
        re.compile(r"(?<![A-Za-z0-9])sk-(?=[A-Za-z_-]{0,40}[0-9])[A-Za-z0-9_-]{40}"),
    ),
    "hf_": ("Hugging Face token", re.compile(r"(?<![A-Za-z0-9])hf_(?=[a-z]{0,33}[A-Z0-9])[A-Za-z0-9]{34}\b")),
    "-----BEGIN ": (
        "private key",
        re.compile(r"-----BEGIN (?:[A-Z]{2,10} )?PRIVATE KEY-----\s{0,4}(?:\\n)?[\"']?\s{0,4}[\"']?[A-Za-z0-9+/=]{32}"),
    ),
}

_TELLING = (
    "password",
    "passwd",
    "secret",
    "apikey",
    "api_key",
    "access_key",
    "auth_token",
    "private_key",
    "credential",
)
_SPELLINGS = (
    "apiKey",
    "accessKey",
    *(form for name in _TELLING for form in (name, name.upper(), name.capitalize())),
)
# The rest of a name, an assignment in any of the usual languages, and a literal.
_ASSIGNMENT = re.compile(
    r"[A-Za-z_]{0,20}[\"']?\s{0,4}(?::\s{0,4}str\s{0,4})?(?:=>|:=|=|:)\s{0,4}[\"']([^\"'\s]{8,200})[\"']"
)
# What people write where a secret will stand.
_PLACEHOLDER = re.compile(
    r"example|sample|dummy|fake|mock|test|change|your|placeholder|insert|redacted|xxx|\*\*\*|\.\.\.|123456|abcdef|foobar"
    r"|pass|secret|token|key|[<>{}$%()/\\ ]|^[a-z_.:-]+$|^[A-Z_.:-]+$|^[0-9.:-]+$",
    re.IGNORECASE,
)


def hardcoded_secrets(text: str, limit: int = 5) -> list[str]:
    """Up to `limit` findings such as "GitHub token (line 12)", in the order of the text."""
    found: set[tuple[int, str]] = set()
    for prefix, (kind, shape) in _ISSUED.items():
        matches = (shape.match(text, place) for place in _places(text, prefix))
        real = (match.start() for match in matches if match and "EXAMPLE" not in match[0])
        found.update((place, kind) for place in islice(real, limit))
    for name in _SPELLINGS:
        assigned = (_ASSIGNMENT.match(text, place + len(name)) for place in _places(text, name))
        telling = (match for match in assigned if match and _looks_random(match[1]))
        found.update((match.start(1), "credential") for match in islice(telling, limit))
    return [f"{kind} (line {text.count(chr(10), 0, place) + 1})" for place, kind in sorted(found)[:limit]]


def _places(text: str, part: str) -> Iterator[int]:
    """Where `part` stands. A plain search for each literal is ten times as fast as one regular expression for all."""
    place = text.find(part)
    while place >= 0:
        yield place
        place = text.find(part, place + len(part))


def _looks_random(value: str) -> bool:
    """Letters and digits mixed, of some variety, and no word that marks a placeholder or a name of something."""
    if _PLACEHOLDER.search(value):
        return False
    return any(c.isdigit() for c in value) and any(c.isalpha() for c in value) and len(set(value)) >= 6
