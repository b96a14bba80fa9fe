"""Change the fields of a settings dataclass from words typed on a command line."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from rnnlib.checks import ArgumentError, one_of

Settings = TypeVar("Settings")

# What a record says about itself is not for the command line to claim.
_FIXED = {"scale", "reduced"}


def override(settings: Settings, assignments: Mapping[str, str]) -> Settings:
    """Return ``settings`` with some fields set from text, each parsed by its type.

    ``8``, ``1e-3``, ``inf``, ``true``, ``none``, a list ``1,2,3``, a range ``0-15``. A field that
    holds named parts (such as readings or data sets) takes the names of those to keep; a field
    that all of these have (such as their number of updates) is set in each of them.

    Raises:
        ArgumentError: for a field that does not exist, with the nearest one, or a value that
            does not fit its type.
    """
    kinds = typing.get_type_hints(type(settings))
    fields = [name for name in _field_names(settings) if name not in _FIXED]
    changes = {}
    for name in [name for name in assignments if name in fields]:
        present, text = getattr(settings, name), assignments[name]
        if _is_named(present):
            changes[name] = _keep(name, present, text)
        else:
            changes[name] = parse(name, text, kinds[name])
    chosen = dataclasses.replace(settings, **changes)  # type: ignore[type-var]
    shared = {field: _shared(getattr(chosen, field)) for field in sorted(selections(chosen))}
    known = [*fields, *dict.fromkeys(name for names in shared.values() for name in names)]
    for name in [name for name in assignments if name not in fields]:
        one_of("setting", name, known)
        for field in [field for field, names in shared.items() if name in names]:
            chosen = _set_in_each(chosen, field, name, assignments[name])
    return chosen


def assignments(pairs: list[str]) -> dict[str, str]:
    """Return ``["key=value", ...]`` as a mapping.

    Raises:
        ArgumentError: for a pair without ``=`` or a key given twice.
    """
    parsed: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ArgumentError(f"--set must be key=value, got {pair!r}")
        if key in parsed:
            raise ArgumentError(f"--set must give each key once, got {key!r} twice")
        parsed[key] = value.strip()
    return parsed


def selections(settings: Any) -> set[str]:
    """Return the fields that hold named parts: choosing among these changes no result."""
    return {name for name in _field_names(settings) if _is_named(getattr(settings, name))}


def same_choice(settings: Any, preset: Any) -> bool:
    """Whether ``settings`` differ from ``preset`` in nothing but which named parts they keep."""
    chosen = {field: getattr(settings, field) for field in selections(preset)}
    kept = all(part in getattr(preset, field) for field in chosen for part in chosen[field])
    return kept and dataclasses.replace(preset, **chosen) == settings


def parse(name: str, text: str, kind: Any) -> Any:
    """Return ``text`` as a value of type ``kind``: int, float, bool, str, tuple or a union.

    Raises:
        ArgumentError: naming the setting, what is accepted and what was found.
    """
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        if text.lower() in ("none", "null") and type(None) in typing.get_args(kind):
            return None
        members = [member for member in typing.get_args(kind) if member is not type(None)]
        for member in members[:-1]:
            try:
                return parse(name, text, member)
            except ArgumentError:
                continue
        return parse(name, text, members[-1])
    if typing.get_origin(kind) is tuple:
        member = typing.get_args(kind)[0]
        words = _expand(name, text) if member is int else text.split(",")
        return tuple(parse(name, word.strip(), member) for word in words if word.strip())
    if kind is bool:
        return one_of(name, text.lower(), ("true", "false")) == "true"
    if kind is str:
        return text
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            what = "an integer" if kind is int else "a number"
            raise ArgumentError(f"{name} must be {what}, got {text!r}") from None
    raise ArgumentError(f"{name} cannot be set from the command line")


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return seeds written as ``0-15``, ``0,1,2`` or both, such as ``0-3,7``.

    Raises:
        ArgumentError: for text that is not of this form, no seed at all, or a seed given twice.
    """
    seeds = tuple(parse("seeds", text, tuple[int, ...]))
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise ArgumentError(f"seeds must be different integers >= 0, got {text!r}")
    return seeds


def _expand(name: str, text: str) -> list[str]:
    """Return the words of a list of integers, each range ``a-b`` spelt out."""
    words: list[str] = []
    for word in text.split(","):
        first, dash, last = (part.strip() for part in word.partition("-"))
        if dash and first.isdecimal() and last.isdecimal():
            if int(first) > int(last) or int(last) - int(first) > 100_000:
                raise ArgumentError(f"{name} must count upwards in a range, got {word.strip()!r}")
            words += map(str, range(int(first), int(last) + 1))
        else:
            words.append(word)
    return words


def _field_names(settings: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(settings)]


def _name(part: Any) -> str:
    """What a part is called: a data set is a name, a reading has one, a number has none."""
    return part if isinstance(part, str) else getattr(part, "name", "")


def _is_named(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(_name(part) for part in value)


def _keep(field: str, parts: tuple[Any, ...], text: str) -> tuple[Any, ...]:
    known = {_name(part): part for part in parts}
    wanted = [word.strip() for word in text.split(",")]
    for word in wanted:
        one_of(field, word, known)
    return tuple(part for name, part in known.items() if name in wanted)


def _shared(parts: tuple[Any, ...]) -> list[str]:
    """The fields that every part has and that a word can set; names tell the parts apart."""
    if not all(dataclasses.is_dataclass(part) for part in parts):
        return []
    return [
        name
        for name in _field_names(parts[0])
        if name not in _FIXED | {"name"}
        and all(isinstance(getattr(part, name, ()), int | float | str | None) for part in parts)
    ]


def _set_in_each(settings: Settings, field: str, name: str, text: str) -> Settings:
    changed = []
    for part in getattr(settings, field):
        value = parse(name, text, typing.get_type_hints(type(part))[name])
        changed.append(dataclasses.replace(part, **{name: value}))
    return dataclasses.replace(settings, **{field: tuple(changed)})  # type: ignore[type-var]
