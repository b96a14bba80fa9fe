"""What a record is: its fields, what makes it valid, and its JSON.

Numbers that diverged are results. JSON has no word for them, so NaN and the infinities are
written as the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"`` and read back as floats.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from rnnlib.checks import one_of

SCALES = ("smoke", "reduced", "paper")
"""The presets of every experiment, from least to most evidence."""

SCHEMA_VERSION = 1

_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class RecordError(ValueError):
    """A record is invalid or cannot be read; the message is one line naming file and field."""


def _number(value: Any) -> bool | int | float | None:
    value = _plain(value)
    if isinstance(value, str | list | dict):
        raise ValueError("must be a number, true, false or null")
    return value


def _setting(value: Any) -> str | int | float | bool | None:
    value = _plain(value)
    if isinstance(value, list | dict):
        raise ValueError("must be a single number or text, true, false or null")
    return value


def _plain(value: Any) -> Any:
    """Return ``value`` as JSON-like data: tuples as lists, the three words as floats."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"must have text keys, got {key!r}")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return _NON_FINITE.get(value, value)
    if value is None or isinstance(value, bool | int | float):
        return value
    raise ValueError("must be plain data (numbers, text, lists, mappings)")


def _jsonable(value: Any) -> Any:
    """Return ``value`` with non-finite floats replaced by the strings that stand for them."""
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def to_json(value: Any, *, sort_keys: bool = False) -> str:
    """Return plain data as one line of JSON, non-finite numbers included."""
    return json.dumps(_jsonable(value), sort_keys=sort_keys, allow_nan=False)


Number = Annotated[bool | int | float | None, PlainValidator(_number)]
Setting = Annotated[str | int | float | bool | None, PlainValidator(_setting)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Result(_Model):
    """What came out under one condition: for each metric one number a seed."""

    condition: dict[str, Setting]
    metrics: dict[str, list[Number]]


class CurvesFile(_Model):
    """The ``.npz`` file beside a record, tied to it by its checksum."""

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+\.npz$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Record(_Model):
    """One run of one experiment: the settings, the results a seed, and where they come from."""

    schema_version: Literal[1] = 1
    experiment: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    variant: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]*$")] = ""
    scale: Literal["smoke", "reduced", "paper"]
    reduced: str = ""
    settings: Annotated[dict[str, Any], BeforeValidator(_plain)]
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    wall_time_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    device: str
    hardware: str
    versions: dict[str, str]
    git_commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40,64}$")] | None
    git_dirty: bool | None
    utc: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    curves: CurvesFile | None = None
    results: Annotated[list[Result], Field(min_length=1)]

    _curves_bytes: bytes | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _consistent(self) -> Record:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must differ from each other, got {self.seeds}")
        if self.scale == "paper" and self.reduced:
            raise ValueError(f"reduced must be empty at paper scale, got {self.reduced!r}")
        if self.scale == "reduced" and not self.reduced:
            raise ValueError("reduced must say what was reduced, got ''")
        seen: set[str] = set()
        for i, result in enumerate(self.results):
            for metric, values in result.metrics.items():
                if len(values) != len(self.seeds):
                    raise ValueError(
                        f"results.{i}.metrics.{metric} must hold one value for each of the "
                        f"{len(self.seeds)} seeds, got {len(values)}"
                    )
            key = to_json(result.condition, sort_keys=True)
            if key in seen:
                raise ValueError(f"results.{i}.condition must be unique, got {key} again")
            seen.add(key)
        return self

    @property
    def name(self) -> str:
        """The file's stem, such as ``music-nottingham-reduced``."""
        return "-".join(part for part in (self.experiment, self.variant, self.scale) if part)

    def select(self, **condition: str | int | float | bool | None) -> list[Result]:
        """Return the results whose condition has all the given values.

        Raises:
            ArgumentError: for a key that no result of this record has.
        """
        known = sorted({key for result in self.results for key in result.condition})
        for key in condition:
            one_of("condition", key, known)
        absent = object()
        return [
            result
            for result in self.results
            if all(result.condition.get(key, absent) == value for key, value in condition.items())
        ]

    def same_result(self, other: Record) -> bool:
        """Whether both hold the same run: settings, seeds, results and curves, bit for bit.

        Time, machine, versions and commit may differ; NaN equals NaN.
        """
        return self._deterministic() == other._deterministic()

    def _deterministic(self) -> str:
        fields = {"experiment", "variant", "scale", "reduced", "settings", "seeds", "results"}
        content = self.model_dump(include=fields)
        content["curves"] = self.curves.sha256 if self.curves else None
        return to_json(content, sort_keys=True)

    def dump(self) -> str:
        """Return the record's file: JSON laid out so that a diff reads well."""
        content = self.model_dump()
        results = content.pop("results")
        lines = [f"{json.dumps(key)}: {to_json(value)}" for key, value in content.items()]
        entries = []
        for result in results:
            metrics = ",\n".join(
                f"    {json.dumps(key)}: {to_json(value)}"
                for key, value in result["metrics"].items()
            )
            entries.append(
                f'  {{"condition": {to_json(result["condition"])},\n   "metrics": {{\n{metrics}}}}}'
            )
        lines.append('"results": [\n' + ",\n".join(entries) + "\n]")
        return "{\n" + ",\n".join(lines) + "\n}\n"


def validate(content: Any, *, where: str) -> Record:
    """Return the record that ``content`` (parsed JSON) describes.

    Args:
        where: the file's name or another name for the source, put in front of an error.

    Raises:
        RecordError: one line with ``where``, the field, what is accepted and what was found.
    """
    if not isinstance(content, dict):
        raise RecordError(f"{where}: must be a JSON object, got {type(content).__name__}")
    version = content.get("schema_version")
    if version != SCHEMA_VERSION:
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        cure = "a newer rnnlib wrote it: update rnnlib" if newer else "run the experiment again"
        raise RecordError(
            f"{where}: schema_version must be {SCHEMA_VERSION}, got {version!r} ({cure})"
        )
    try:
        return Record.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise RecordError(f"{where}: {_one_line(first)}") from error


def _one_line(error: Any) -> str:
    """Say one pydantic error in a line: the field's path, what is accepted, what was found."""
    message = " ".join(str(error["msg"]).removeprefix("Value error, ").split())
    if not error["loc"]:
        return message
    place = ".".join(str(part) for part in error["loc"])
    found = "" if error["type"] == "missing" else f", got {error['input']!r:.80}"
    return f"{place}: {message[0].lower()}{message[1:]}{found}"
