"""Damaged files for fuzz tests: wrong values in a JSON file, changed bytes, deep nesting, tensors of other types."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

NUMBERS = st.sampled_from(
    [-1, 0, 1, 7, 2**31, 2**63, 10**400, -(10**400), 0.5, -0.5, 1e-300, 1e300, 1e308, float("nan"), float("inf")]
)
TEXTS = st.sampled_from(["", "x", "0.5", "a/b", "..", "\0", "\ud800", "\udcff", "\n", "[" * 200, "(", "a{99999999999}"])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS | st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)
"""Any JSON value, with those in it that programs stumble over."""

DEEP = "[" * 100_000 + "]" * 100_000
"""JSON that is nested more deeply than Python's parser follows."""

Place = tuple[str | int, ...]


@st.composite
def json_texts(draw: st.DrawFn, content: Any) -> str:
    """Draw the text of a file whose valid content is given, with one or two places changed."""
    changed = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 2))):
        changed = _changed(draw, changed)
    return json.dumps(changed)


def json_bytes(content: Any) -> st.SearchStrategy[bytes]:
    """Return damaged bytes of a file whose valid content is given: wrong values, or bytes lost or changed."""
    whole = json.dumps(content).encode()
    return json_texts(content).map(str.encode) | damaged_bytes(whole) | st.just(DEEP.encode())


@st.composite
def damaged_bytes(draw: st.DrawFn, whole: bytes) -> bytes:
    """Draw truncated bytes, or bytes with some of them changed or inserted."""
    if draw(st.booleans()):
        return whole[: draw(st.integers(0, len(whole) - 1))]
    changed = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(changed) - 1))
        changed[place : place + draw(st.integers(0, 1))] = draw(st.binary(min_size=1, max_size=2))
    return bytes(changed)


def _changed(draw: st.DrawFn, content: Any) -> Any:
    """Replace, remove or add one value at any place."""
    place = draw(st.sampled_from(list(_places(content))))
    if not place:
        return draw(VALUES)
    *above, last = place
    inner = content
    for step in above:
        inner = inner[step]
    action = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
    if action == "remove":
        del inner[last]
    elif action == "add" and isinstance(inner, dict):
        inner[draw(TEXTS)] = draw(VALUES)
    else:
        inner[last] = draw(VALUES)
    return content


def _places(content: Any, above: Place = ()) -> Iterator[Place]:
    yield above
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for step, inner in pairs:
        yield from _places(inner, (*above, step))
