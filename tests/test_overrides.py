"""Words from a command line become fields of a settings dataclass, or are refused by name."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlib.checks import ArgumentError
from rnnlib.overrides import assignments, override, parse, parse_seeds, same_choice, selections


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("3", int, 3),
        ("-3", int, -3),
        ("1e-3", float, 1e-3),
        ("inf", float, float("inf")),
        ("True", bool, True),
        ("none", int | None, None),
        ("7", int | None, 7),
        ("0.5", int | float, 0.5),
        ("0-3,7", tuple[int, ...], (0, 1, 2, 3, 7)),
        ("none,1,30", tuple[float | None, ...], (None, 1.0, 30.0)),
        ("a b", str, "a b"),
    ],
)
def test_text_becomes_a_value_of_the_fields_type(text, kind, value):
    parsed = parse("x", text, kind)
    assert parsed == value
    assert type(parsed) is type(value)


@dataclass(frozen=True)
class Part:
    name: str
    n_updates: int = 5
    rate: float | None = None
    cells: tuple[int, ...] = (1, 2)
    reduced: str = ""


@dataclass(frozen=True)
class Longer(Part):
    until: bool = False


@dataclass(frozen=True)
class Settings:
    scale: str = "reduced"
    thresholds: tuple[float | None, ...] = (None, 1.0)
    limit: int | None = None
    parts: tuple[Part, ...] = (Part("a"), Part("b"))
    sets: tuple[str, ...] = ("x", "y")


def test_override_leaves_the_other_fields_and_the_original_alone():
    before = Settings("reduced")
    after = override(before, assignments(["thresholds=none,2", "limit=9", "parts=b", "sets=y"]))
    assert before == Settings("reduced")
    assert after == Settings(
        "reduced", thresholds=(None, 2.0), limit=9, parts=(Part("b"),), sets=("y",)
    )
    with pytest.raises(ArgumentError, match="field cannot be set from the command line"):
        parse("field", "x", dict)


def test_a_field_of_the_chosen_parts_is_set_in_each_of_them():
    before = Settings(parts=(Part("a"), Longer("b"), Longer("c", n_updates=9)))
    after = override(before, assignments(["n_updates=3", "rate=none", "sets=x"]))
    assert after.parts == (Part("a", 3), Longer("b", 3), Longer("c", 3))
    assert after.sets == ("x",)
    after = override(before, assignments(["until=true", "parts=b,c"]))  # which a does not have
    assert after.parts == (Longer("b", until=True), Longer("c", 9, until=True))
    with pytest.raises(ArgumentError, match="n_updates must be an integer, got 'many'"):
        override(before, {"n_updates": "many"})


def test_a_choice_of_parts_is_told_from_a_change_of_them():
    preset = Settings()
    assert same_choice(override(preset, {"parts": "b", "sets": "y"}), preset)
    assert not same_choice(override(preset, {"n_updates": "6"}), preset)
    assert not same_choice(override(preset, {"limit": "1"}), preset)
    assert same_choice(override(preset, {"n_updates": "5"}), preset)  # as it was


def test_seeds_are_listed_or_counted():
    assert parse_seeds("0-3") == (0, 1, 2, 3)
    assert parse_seeds("4, 0-1") == (4, 0, 1)
    for bad in ("", "-1", "0-0,0", "1.5"):
        with pytest.raises(ArgumentError, match="seeds must"):
            parse_seeds(bad)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=20, unique=True))
def test_seeds_written_out_come_back(seeds):
    assert parse_seeds(",".join(map(str, seeds))) == tuple(seeds)


@given(st.floats())
def test_a_number_written_out_comes_back(number):
    assert parse("x", repr(number), float) == pytest.approx(number, rel=0, abs=0, nan_ok=True)


def test_named_parts_and_names_are_selections():
    assert selections(Settings()) == {"parts", "sets"}
    with pytest.raises(ArgumentError, match="sets must be one of x, y, got 'z'"):
        override(Settings(), {"sets": "z"})


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["limit"], "--set must be key=value, got 'limit'"),
        (["=3"], "--set must be key=value, got '=3'"),
        (["limit=1", "limit=2"], "each key once, got 'limit' twice"),
        (["limits=1"], "did you mean 'limit'"),
        (["limit=x"], "limit must be an integer, got 'x'"),
        (
            ["scale=paper"],
            "setting must be one of thresholds, limit, parts, sets, n_updates, rate, got 'scale'",
        ),
        (["n_update=3"], "did you mean 'n_updates'"),
        (["reduced="], "setting must be one of thresholds, "),
        (["cells=3"], "setting must be one of thresholds, "),
        (["parts=a,c"], "parts must be one of a, b, got 'c'"),
    ],
)
def test_what_cannot_be_set_is_refused_by_name(pairs, message):
    with pytest.raises(ArgumentError, match=re.escape(message)):
        override(Settings(), assignments(pairs))
