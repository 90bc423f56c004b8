"""Dataclasses built from plain values: what fits their type hints is taken, all else is an error that names it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings

from clipada.config import CalibrationConfig, Config, Shard
from clipada.config.schema import build, build_known, shown
from clipada.errors import ConfigError
from damaged import VALUES


@dataclass(frozen=True, kw_only=True)
class Inner:
    """A nested record."""

    size: int
    share: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Outer:
    """A record with a field of each kind."""

    name: str
    kind: Literal["a", "b"]
    path: Path | None
    inner: Inner
    pair: tuple[int, int]
    rows: tuple[Inner, ...] = ()
    shares: dict[str, float | int | None]
    anything: Any = None


WHOLE = {
    "name": "x",
    "kind": "a",
    "path": "a/b",
    "inner": {"size": 3},
    "pair": [1, 2],
    "rows": [{"size": 1, "share": 1}],
    "shares": {"x": None, "n": 3, "p": 0.5},
}


def test_fitting_values_are_taken() -> None:
    assert build(Outer, WHOLE, "", "field") == Outer(
        name="x",
        kind="a",
        path=Path("a/b"),
        inner=Inner(size=3),
        pair=(1, 2),
        rows=(Inner(size=1, share=1.0),),
        shares={"x": None, "n": 3, "p": 0.5},
    )
    assert isinstance(build(Outer, WHOLE, "").shares["n"], int)
    assert build_known(Outer, WHOLE | {"later": 1}, "") == build(Outer, WHOLE, "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": 3}, "field name is of the wrong type\n  expected: str\n  got: 3"),
        ({"kind": "c"}, "field kind is of the wrong type\n  expected: a | b\n  got: 'c'"),
        ({"kind": ["a"]}, "field kind is of the wrong type"),
        ({"path": "a\0b"}, "field path is of the wrong type\n  expected: Path"),
        ({"path": "\ud800"}, "field path is of the wrong type"),
        ({"inner": 3}, "field inner is of the wrong type\n  expected: a mapping\n  got: 3"),
        ({"inner": {}}, "field inner.size is missing\n  expected: int"),
        ({"inner": {"size": True}}, "field inner.size is of the wrong type"),
        (
            {"inner": {"size": 2**64}},
            "field inner.size is of the wrong type\n  expected: int\n  got: 18446744073709551616",
        ),
        ({"inner": {"size": 1, "share": 10**400}}, "field inner.share is of the wrong type\n  expected: float"),
        ({"pair": [1]}, "field pair is of the wrong type\n  expected: tuple of 2\n  got: [1]"),
        ({"pair": [1, "2"]}, "field pair[1] is of the wrong type\n  expected: int\n  got: '2'"),
        ({"rows": [{"size": 1}, {"size": None}]}, "field rows[1].size is of the wrong type"),
        ({"shares": {"p": "0.5"}}, "field shares.p is of the wrong type"),
        ({"later": 1}, "unknown field later"),
    ],
)
def test_others_are_named(change: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Outer, WHOLE | change, "", "field")
    assert said in str(caught.value)


@given(value=VALUES)
@settings(max_examples=200)
def test_any_value_is_taken_or_an_error(value: object) -> None:
    for kind, whole in ((Outer, WHOLE), (Config, {}), (CalibrationConfig, {})):
        for name in kind.__dataclass_fields__:
            try:
                build(kind, {**whole, name: value}, "")
            except ConfigError as error:
                assert len(str(error)) < 2000  # noqa: PT017 - most examples fail, some do not


def test_a_deeply_nested_value_is_shown_in_short() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert len(shown(deep)) < 100
    assert len(shown("x" * 10_000)) < 100


@pytest.mark.parametrize("rule", ["a{99999999999}", "(" * 5000 + ")" * 5000, "("])
def test_a_rule_that_is_no_regular_expression_is_an_error(rule: str) -> None:
    with pytest.raises(ConfigError, match="per"):
        CalibrationConfig(per=rule)


@pytest.mark.parametrize("text", [f"1/{'9' * 5000}", f"{'9' * 5000}/4", "1/1000001"])
def test_a_huge_shard_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="shard"):
        Shard.parse(text)
    assert Shard.parse("7/1000000").count == 1_000_000
