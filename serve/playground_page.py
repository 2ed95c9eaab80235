"""The playground: one HTML document in which a person sees what the models make of a text.

The document holds its style sheet and its script, and asks nothing of any other host: it works without a network
beyond the server it came from. `CONTENT_SECURITY_POLICY` has to be sent with it. It admits exactly these two blocks, by
their hashes, so nothing that a text or an answer brings in can run; and the script may only write text.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "playground"
_STYLE_LINK = '<link rel="stylesheet" href="playground.css">'
_SCRIPT_LINK = '<script type="module" src="playground.js"></script>'


@cache
def playground() -> bytes:
    """The document, UTF-8."""
    document = _asset("index.html")
    for link, block in (
        (_STYLE_LINK, f"<style>{_asset('playground.css')}</style>"),
        (_SCRIPT_LINK, f'<script type="module">{_asset("playground.js")}</script>'),
    ):
        if document.count(link) != 1:
            raise ValueError(f"index.html must hold {link} once")
        document = document.replace(link, block)
    return document.encode()


def _asset(name: str) -> str:
    # Line ends become LF, as in a browser: it hashes a block after that.
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(name: str) -> str:
    digest = hashlib.sha256(_asset(name).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _policy() -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash('playground.js')}",
            f"style-src {_hash('playground.css')}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            # No script may turn a string into markup, ours included.
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


CONTENT_SECURITY_POLICY: str = _policy()
