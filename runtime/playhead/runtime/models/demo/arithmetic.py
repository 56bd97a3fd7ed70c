"""Finds arithmetic in plain English text, for the demo model."""

from __future__ import annotations

import ast
import re

__all__ = ["find_expressions"]

_WORDS = (
    (r"\bmultiplied\s+by\b|\btimes\b|[\u00d7\u00b7]|(?<=\d)\s*x\s*(?=\d)", " * "),
    (r"\bdivided\s+by\b|\bover\b|\u00f7", " / "),
    (r"\b(?:to\s+the\s+power\s+of|raised\s+to)\b|\^", " ** "),
    (r"\bplus\b", " + "),
    (r"\bminus\b|\u2212", " - "),
    (r"\bmod(?:ulo)?\b", " % "),
    (r"\bsquared\b", " ** 2 "),
    (r"\bcubed\b", " ** 3 "),
    (r"(\d)\s*(?:%|percent)\s+of\b", r"\1 / 100 *"),
)
_SEARCHED_CHARACTERS = 2_000
_DATE = re.compile(r"\b\d{4}-\d{1,2}-\d{1,2}\b|\b\d{1,2}/\d{1,2}/\d{2,4}\b")
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
_OPERATOR = r"(?:\*\*|//|[-+*/%])"
_EXPRESSION = re.compile(
    rf"(?<![\w.])(?:[-+]\s*)?(?:\(\s*)*{_NUMBER}(?:\s*\))*"
    rf"(?:\s*{_OPERATOR}\s*(?:[-+]\s*)?(?:\(\s*)*{_NUMBER}(?:\s*\))*)+(?![\w])"
)


def find_expressions(text: str, *, limit: int = 4) -> list[str]:
    """Find the arithmetic expressions in `text`: in Python's notation, in order, each once, at most `limit`.

    Operators may be written as signs or as words ("17 times 23", "15% of 80"). A date is not a subtraction. An
    expression with unmatched parentheses is skipped. Only the first 2,000 characters are searched.
    """
    text = _DATE.sub(" ", text[:_SEARCHED_CHARACTERS])
    for pattern, sign in _WORDS:
        text = re.sub(pattern, sign, text, flags=re.IGNORECASE)
    found = (_tidy(match.group()) for match in _EXPRESSION.finditer(text))
    return list(dict.fromkeys(expression for expression in found if expression))[:limit]


def _tidy(expression: str) -> str:
    """The expression without digit separators and extra blanks; empty if the parentheses do not match."""
    expression = re.sub(r"(?<=\d),(?=\d{3})", "", expression)
    expression = re.sub(r"(?<![\d.])0+(?=\d)", "", expression)
    while expression.count(")") > expression.count("(") and expression.endswith(")"):
        expression = expression[:-1].rstrip()
    while expression.count("(") > expression.count(")") and expression.startswith("("):
        expression = expression[1:].lstrip()
    expression = re.sub(r"\s+", " ", expression).strip()
    try:
        ast.parse(expression, mode="eval")
    except (SyntaxError, RecursionError, MemoryError):
        return ""
    return expression
