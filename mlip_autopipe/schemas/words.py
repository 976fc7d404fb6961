"""The nearest valid word, for sentences about mistakes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggestion(word: str, valid: Iterable[str]) -> str:
    """Return ``; did you mean X?``, or the list of valid words when it is short, or nothing."""
    valid = list(valid)
    same = [v for v in valid if v.lower() == word.lower()]
    close = same or difflib.get_close_matches(word, valid, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; valid: {', '.join(valid)}" if len(valid) <= 12 else ""
