"""The request journal: every answer that a model gave, found again by the key of its request.

What is durable when, and which of two answers counts, stands in `actors.journal.journal`.
"""

from actors.journal.journal import Entry, Journal
from actors.journal.key import request_key

__all__ = ["Entry", "Journal", "request_key"]
