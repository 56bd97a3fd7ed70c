"""Tests, bench and chaos use the public names of the product: what is private can change without a test in its way."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .test_house import texts

__all__: list[str] = []

FOLDERS = ("tests/", "testkit/", "bench/", "chaos/", "examples/")
NOT_PRIVATE = {"_asdict", "_exit", "_fields", "_make", "_replace"}
"""Public names of Python that begin with an underscore."""

OF_OTHERS = {
    "tests/conformance/test_hosted.py": {"strands.event_loop._retry.asyncio"},
    "tests/integration/test_redis_log.py": {"_reader", "_writer"},
    "tests/unit/telemetry/test_spans_like_strands.py": {"_tracer_instance"},
}
"""What a test reaches in other libraries: a connection of redis-py in a state in which redis-py never leaves one, the
tracer that Strands keeps for the whole process, and the sleep of Strands' retries, whose waits take seconds."""

BY_NAME = {"delattr", "delitem", "getattr", "hasattr", "object", "patch", "setattr"}


def is_private(name: str) -> bool:
    """Whether a dotted name has a private part."""
    return any(part.startswith("_") and not part.startswith("__") for part in name.split(".")) and name != "_"


def own_names(tree: ast.Module) -> set[str]:
    """The private names that a module makes itself."""
    made = {
        node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store):
            made.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    return made


def private_names(source: str) -> Iterator[str]:
    """Each private name that a module reaches and does not make itself: as attribute, by import or by text."""
    tree = ast.parse(source)
    own = own_names(tree) | NOT_PRIVATE
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            of_itself = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if node.attr not in own or not (of_itself or node.attr in NOT_PRIVATE or isinstance(node.ctx, ast.Load)):
                yield node.attr
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            yield from (name for name in [*names, getattr(node, "module", None) or ""] if is_private(name))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in BY_NAME:
            texts = [word.value for word in node.args if isinstance(word, ast.Constant) and isinstance(word.value, str)]
            yield from (text for text in texts if is_private(text) and text not in own)


def test_a_private_name_is_found_however_it_is_reached():
    assert list(private_names("link._transport.abort()")) == ["_transport"]
    assert list(private_names("from a.b import _c\nfrom a._b import c\nimport a._d")) == ["_c", "a._b", "a._d"]
    assert list(private_names("monkeypatch.setattr(body, '_GRACE_S', 1)\npatch('a._b')")) == ["_GRACE_S", "a._b"]
    assert list(private_names("class A(B):\n    def __init__(self): self._a = 1\n    def f(self): return self._b")) == [
        "_b"
    ]
    assert (
        list(private_names("class A:\n    def __init__(self): self._a = 1\n    def f(self): return self._a._asdict()"))
        == []
    )
    assert list(private_names("other._a = 1")) == ["_a"]


def test_no_test_reaches_a_private_name_of_the_product():
    sources = {name: text for name, text in texts().items() if name.startswith(FOLDERS) and name.endswith(".py")}
    assert len(sources) > 150
    found = {name: set(private_names(text)) - OF_OTHERS.get(name, set()) for name, text in sources.items()}
    assert {name: names for name, names in found.items() if names} == {}
