"""Arithmetic without `eval`: the expression is parsed, and only the operations listed here are computed.

Every step is bounded before it runs: the length of the text, the nesting, and the size of each integer, estimated from
its operands. So even a hostile input takes no noticeable time or memory.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable
from typing import Final

from playhead.runtime.tools.decorator import tool

__all__ = ["MAX_DIGITS", "MAX_LENGTH", "calculator"]

MAX_LENGTH: Final = 1000
"""The limit of an expression, in characters."""

MAX_DIGITS: Final = 4000
"""The limit of an integer, in decimal digits: below the 4,300 that Python converts to a string."""

_MAX_BITS: Final = int(MAX_DIGITS * math.log2(10))
_MAX_DEPTH: Final = 100  # nested parentheses, calls and signs; far within the interpreter's stack
_MAX_PLACES: Final = 400  # round(): floats have at most 308 digits before and 324 after the point

_NUMBER: Final = re.compile(r"(?<![\w.])(?:0[xX][0-9a-fA-F]+|0[bB][01]+|(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_THOUSANDS: Final = re.compile(r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?![\w,])")
_FOREIGN: Final = re.compile(r"[^\w\s.+\-*/%(),<>=!&|~:\[\]@]")
_SPELLINGS: Final = str.maketrans({"^": "**", "×": "*", "÷": "/", "−": "-"})  # noqa: RUF001

Number = int | float


@tool
def calculator(expression: str) -> str:
    """Evaluate an arithmetic expression and return the number.

    Operators: + - * / // (whole division) % (remainder) and ** or ^ (both mean power). Integers are exact.
    Functions: sqrt, sin, cos, tan, asin, acos, atan (radians), log(x) and ln (natural), log(x, base), log2, log10,
    exp, abs, round, min, max, floor, ceil, factorial, gcd. Constants: pi, e, tau.
    Thousands may be written as 1,000, but not beside function calls, where a comma separates arguments.

    Args:
        expression: For example "17 * 23", "2^10", "sqrt(2) / (1 + pi)" or "1,250.50 * 4".
    """
    try:
        return _show(_evaluate(_parse(expression)))
    except (RecursionError, MemoryError):  # the parser also raises them, if the stack is small or nearly full
        raise ValueError("the expression is nested too deeply") from None


def _parse(expression: str) -> ast.expr:
    if len(expression) > MAX_LENGTH:
        raise ValueError(f"the expression has {len(expression):,} characters; at most {MAX_LENGTH:,} are allowed")
    text = " ".join(expression.translate(_SPELLINGS).split())
    if not text:
        raise ValueError("the expression is empty")
    # Without a call, a comma can only separate thousands.
    if not re.search(r"\w\s*\(", text):
        text = _THOUSANDS.sub(lambda match: match.group().replace(",", ""), text)
    _check_words(text)
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"cannot read {_cut(text)}: {error.msg}") from None


def _check_words(text: str) -> None:
    """Refuse text that Python's own tokenizer would warn about, or would not read as arithmetic."""
    if found := _FOREIGN.search(text):
        raise ValueError(f"unexpected character {found.group()!r} in {_cut(text)}")
    for match in _NUMBER.finditer(text):
        if rest := re.match(r"[\w.]+", text[match.end() :]):
            written = match.group() + rest.group()
            raise ValueError(f"cannot read {_cut(written)} as a number; write * between factors, as in 2*pi")
        if re.fullmatch(r"0\d+", match.group()):
            raise ValueError(
                f"leading zeros in {_cut(match.group())}; beside function calls, write 1000 instead of 1,000"
            )


def _evaluate(node: ast.expr, depth: int = 0) -> Number:
    if depth > _MAX_DEPTH:
        raise ValueError(f"the expression is nested more than {_MAX_DEPTH} levels deep")
    # 1+1+1+… nests to the left without any parentheses, so the left side is walked without recursion.
    rights: list[ast.BinOp] = []
    while isinstance(node, ast.BinOp):
        rights.append(node)
        node = node.left
    value = _leaf(node, depth)
    for parent in reversed(rights):
        value = _combine(parent.op, value, _evaluate(parent.right, depth + 1))
    return value


def _leaf(node: ast.expr, depth: int) -> Number:
    if isinstance(node, ast.Constant):
        if type(node.value) is int or type(node.value) is float:
            return _checked(node.value, "the number")
        raise ValueError(f"{_cut(repr(node.value))} is not a real number")
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        value = _evaluate(node.operand, depth + 1)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.Name):
        if node.id in _CONSTANTS:
            return _CONSTANTS[node.id]
        raise ValueError(f"unknown name {_cut(node.id)}; known are {', '.join([*_CONSTANTS, *_FUNCTIONS])}")
    if isinstance(node, ast.Call):
        return _call(node, depth)
    raise ValueError(_refusal(node))


def _refusal(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"attribute access (.{_cut(node.attr)}) is not arithmetic"
    if isinstance(node, ast.UnaryOp):
        return f"the operator {type(node.op).__name__} is not supported"
    if isinstance(node, ast.Tuple):
        return "a comma is not arithmetic here: write 1.5 for a fraction, and 1000 for 1,000 beside function calls"
    return f"{type(node).__name__} expressions are not arithmetic"


def _call(node: ast.Call, depth: int) -> Number:
    if not isinstance(node.func, ast.Name):
        what = _refusal(node.func) if isinstance(node.func, ast.Attribute) else "only functions can be called"
        raise ValueError(f"{what}; write * between factors")
    name = node.func.id
    if name not in _FUNCTIONS:
        raise ValueError(f"unknown function {_cut(name)}; known are {', '.join(_FUNCTIONS)}")
    if node.keywords or any(isinstance(arg, ast.Starred) for arg in node.args):
        raise ValueError(f"{name}: only plain arguments are allowed")
    args = [_evaluate(arg, depth + 1) for arg in node.args]
    try:
        return _checked(_FUNCTIONS[name](*args), f"{name}(…)")
    except OverflowError:
        raise ValueError(f"{name}: the result or an argument is too large for a decimal number") from None
    except ZeroDivisionError:
        raise ValueError(f"{name}: division by zero") from None
    except TypeError:
        raise ValueError(f"{name}: wrong number or kind of arguments ({len(args)} given)") from None
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(name) else f"{name}: {text}") from None


def _combine(op: ast.operator, left: Number, right: Number) -> Number:
    operation = _OPERATORS.get(type(op))
    if operation is None:
        raise ValueError(f"the operator {type(op).__name__} is not supported; there are + - * / // % and ** or ^")
    symbol, compute = operation
    try:
        return _checked(compute(left, right), f"the result of {symbol}")
    except ZeroDivisionError:
        raise ValueError(f"division by zero in {_brief(left)} {symbol} {_brief(right)}") from None
    except OverflowError:
        raise ValueError(f"{_brief(left)} {symbol} {_brief(right)} is too large for a decimal number") from None


def _checked(value: object, what: str) -> Number:
    if isinstance(value, int):
        _fits(value.bit_length(), what)
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ValueError(
        f"{what} is not a finite real number" if isinstance(value, float) else f"{what} is not a real number"
    )


def _fits(bits: int, what: str) -> None:
    if bits > _MAX_BITS:
        raise ValueError(f"{what} would have more than {MAX_DIGITS:,} digits")


def _multiply(left: Number, right: Number) -> Number:
    if isinstance(left, int) and isinstance(right, int):
        _fits(left.bit_length() + right.bit_length() - 1, "the result of *")
    return left * right


def _power(base: Number, exponent: Number) -> object:
    if isinstance(base, int) and isinstance(exponent, int) and exponent > 0:
        # The least number of bits that the power can have; it has at most twice as many, which `_checked` checks.
        _fits((abs(base).bit_length() - 1) * exponent, "the result of **")
    return base**exponent


def _sqrt(value: Number) -> Number:
    if value < 0:
        raise ValueError("sqrt of a negative number is not a real number")
    if isinstance(value, int) and (root := math.isqrt(value)) ** 2 == value:
        return root
    return math.sqrt(value)


def _log(value: Number, base: Number = math.e) -> float:
    exact = {2: math.log2, 10: math.log10, math.e: math.log}.get(base)  # log(1000)/log(10) misses 3 by a little
    return exact(value) if exact else math.log(value, base)


def _factorial(value: Number) -> int:
    if value != int(value) or value < 0:
        raise ValueError(f"factorial needs a whole number from 0 up, not {_brief(value)}")
    if value > MAX_DIGITS or math.lgamma(value + 1) / math.log(2) > _MAX_BITS:
        raise ValueError(f"factorial of {_brief(value)} would have more than {MAX_DIGITS:,} digits")
    return math.factorial(int(value))


def _round(value: Number, places: Number = 0) -> Number:
    if not isinstance(places, int) or abs(places) > _MAX_PLACES:
        raise ValueError(f"round needs a whole number of places from -{_MAX_PLACES} to {_MAX_PLACES}")
    return round(value, places) if places else round(value)


def _gcd(*values: Number) -> int:
    if not values or not all(isinstance(value, int) for value in values):
        raise ValueError("gcd needs whole numbers")
    return math.gcd(*(int(value) for value in values))


def _least(*values: Number) -> Number:
    return min(values)


def _greatest(*values: Number) -> Number:
    return max(values)


_OPERATORS: Final[dict[type[ast.operator], tuple[str, Callable[[Number, Number], object]]]] = {
    ast.Add: ("+", lambda left, right: left + right),
    ast.Sub: ("-", lambda left, right: left - right),
    ast.Mult: ("*", _multiply),
    ast.Div: ("/", lambda left, right: left / right),
    ast.FloorDiv: ("//", lambda left, right: left // right),
    ast.Mod: ("%", lambda left, right: left % right),
    ast.Pow: ("**", _power),
}

_FUNCTIONS: Final[dict[str, Callable[..., object]]] = {
    "sqrt": _sqrt,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "asin": math.asin,
    "acos": math.acos,
    "atan": math.atan,
    "log": _log,
    "ln": lambda value: _log(value),
    "log2": math.log2,
    "log10": math.log10,
    "exp": math.exp,
    "abs": abs,
    "round": _round,
    "min": _least,
    "max": _greatest,
    "floor": math.floor,
    "ceil": math.ceil,
    "factorial": _factorial,
    "gcd": _gcd,
}

_CONSTANTS: Final = {"pi": math.pi, "e": math.e, "tau": math.tau}


def _show(value: Number) -> str:
    if isinstance(value, int):
        return str(value)
    return repr(value + 0.0).removesuffix(".0")  # adding 0.0 turns -0.0 into 0.0


def _brief(value: Number) -> str:
    return _cut(_show(value))


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:36]} …"
