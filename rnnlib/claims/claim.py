"""A claim of a paper, the check that can fail, and the verdict that follows from it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rnnlib.records import SCALES, Record, RecordError, Records

Value = float | int | bool | str
KINDS = ("figure", "table", "equation", "algorithm", "statement")


class Verdict(StrEnum):
    """What follows from a check; the value is the word that the book prints."""

    REPRODUCED = "reproduced"
    REDUCED = "reproduced at reduced scale"
    PARTLY = "partly"
    NOT_REPRODUCED = "did not reproduce"
    WRONG = "wrong as printed"
    NOT_RUN = "not yet run"
    NOT_CHECKABLE = "not checkable"

    @property
    def mark(self) -> str:
        """One character that tells the verdicts apart without colour."""
        return _MARKS[self]

    @property
    def slug(self) -> str:
        """The word as it stands in an attribute of the page, such as ``wrong-as-printed``."""
        return self.value.replace(" ", "-")


_MARKS = {
    Verdict.REPRODUCED: "✓",
    Verdict.REDUCED: "◐",
    Verdict.PARTLY: "◑",
    Verdict.NOT_REPRODUCED: "✗",
    Verdict.WRONG: "⚠",
    Verdict.NOT_RUN: "…",
    Verdict.NOT_CHECKABLE: "–",
}


class NotMeasured(Exception):
    """Raised by a ``measure`` when the records at hand lack what it needs; says what is missing.

    ``evaluate`` turns it, and no other exception, into "not yet run".
    """


@dataclass(frozen=True)
class Claim:
    r"""One statement of a paper, with the means to check it.

    Args:
        id: paper, kind letter and number, such as ``P12-E7``.
        kind: ``figure``, ``table``, ``equation``, ``algorithm`` or ``statement``.
        where: place in the paper, such as ``section 2.1, equation 7``.
        statement: what the paper says, in our words; may hold ``$math$``.
        paper: the paper's value; may hold ``$math$``.
        ours: ``str.format`` template over the values of ``measure``; a brace of ``$math$`` is
            doubled.
        measure: for mathematics a function of nothing that takes under a second; with
            ``experiment`` a function of the list ``Records.best(experiment)`` (never empty: one
            record for each variant, at its largest scale; those of ``variants``, if given).
            Returns plain values by name, or raises ``NotMeasured``.
        judge: from these values to a verdict. It never sees the scale. It must refuse bad
            values, NaN included; ``WRONG`` means that it has checked the counterexample and
            the repaired statement.
        experiment: the name that ``rnnlib run`` takes; ``None`` for mathematics.
        variants: the variants of the experiment that the claim rests on, all of which must have
            been run; empty for whatever there is. Only their records reach ``measure``, and only
            they count for scale, cost and hardware.
        note: a remark for the ledger; why, where nothing can be checked.
        repair: the statement that holds, where the paper's is wrong as printed.

    Raises:
        ValueError: if the parts contradict each other.
    """

    id: str
    kind: str
    where: str
    statement: str
    paper: str = "–"
    ours: str = ""
    measure: Callable[..., Mapping[str, Value]] | None = None
    judge: Callable[[Mapping[str, Value]], Verdict] | None = None
    experiment: str | None = None
    note: str = ""
    repair: str = ""
    variants: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Z]\d\d-[A-Z]\d+[a-z]?", self.id):
            raise ValueError(f"id must look like P12-E7, got {self.id!r}")
        if self.kind not in KINDS:
            raise ValueError(f"{self.id}: kind must be one of {', '.join(KINDS)}")
        if (self.measure is None) != (self.judge is None):
            raise ValueError(f"{self.id}: measure and judge must come together")
        if self.measure is None and self.experiment is not None:
            raise ValueError(f"{self.id}: a claim about an experiment needs a measure")
        if self.variants and self.experiment is None:
            raise ValueError(f"{self.id}: variants belong to an experiment")
        if self.measure is None and not self.note:
            raise ValueError(f"{self.id}: a claim that is not checkable must say why in note")

    @property
    def paper_key(self) -> str:
        """The paper's name in files and pages, such as ``p12``."""
        return self.id.split("-")[0].lower()

    @property
    def anchor(self) -> str:
        """The row's id in the ledger, such as ``p12-e7``."""
        return self.id.lower()


@dataclass(frozen=True)
class Row:
    """A claim with its verdict and the evidence, as the ledger shows it."""

    claim: Claim
    verdict: Verdict
    ours: str
    values: Mapping[str, Value] = field(default_factory=dict)
    records: tuple[Record, ...] = ()
    scale: str = "–"
    cost: str = "–"
    hardware: str = "–"

    @property
    def record(self) -> Record | None:
        """The first record used, or ``None`` for mathematics and what has not been run."""
        return self.records[0] if self.records else None


def evaluate(claim: Claim, records: Records) -> Row:
    """Check ``claim`` against ``records`` and return its row of the ledger.

    "Reproduced" needs every record used to be at paper scale; otherwise it becomes
    "reproduced at reduced scale". An exception in ``measure`` or ``judge`` is a fault of the
    check and is not caught, except ``NotMeasured``.

    Raises:
        RecordError: naming the records, if they lack a condition or a metric.
        TypeError: if the check returns something else than plain values and a verdict.
        ValueError: for "wrong as printed" without a repaired statement.
    """
    if claim.measure is None or claim.judge is None:
        return Row(claim, Verdict.NOT_CHECKABLE, "–")
    if claim.experiment is None:
        values = claim.measure()
        return Row(
            claim,
            _judged(claim, values),
            claim.ours.format(**values),
            values,
            scale="mathematics",
            cost="< 1 s",
            hardware="any CPU",
        )
    used = [
        record
        for record in records.best(claim.experiment)
        if not claim.variants or record.variant in claim.variants
    ]
    if not used or {*claim.variants} - {record.variant for record in used}:
        return Row(claim, Verdict.NOT_RUN, "–")
    try:
        values = claim.measure(used)
    except NotMeasured as missing:
        return Row(claim, Verdict.NOT_RUN, str(missing) or "–")
    except (KeyError, IndexError) as error:
        names = ", ".join(record.name for record in used)
        raise RecordError(f"{claim.id}: {names}: lacks what the check reads: {error!r}") from error
    verdict = _judged(claim, values)
    scale = min((record.scale for record in used), key=SCALES.index)
    if verdict is Verdict.REPRODUCED and scale != "paper":
        verdict = Verdict.REDUCED
    return Row(
        claim,
        verdict,
        claim.ours.format(**values),
        values,
        tuple(used),
        scale,
        duration(sum(record.wall_time_s for record in used)),
        "; ".join(dict.fromkeys(record.hardware for record in used)),
    )


def duration(seconds: float) -> str:
    """Return a time as a reader says it: ``< 1 s``, ``42 s``, ``3.5 min``, ``2.1 h``."""
    if seconds < 1:
        return "< 1 s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def _judged(claim: Claim, values: Mapping[str, Value]) -> Verdict:
    for name, value in values.items():
        if not isinstance(value, bool | int | float | str):
            raise TypeError(f"{claim.id}: {name} must be a plain value, got {value!r}")
    assert claim.judge is not None
    verdict = claim.judge(values)
    if not isinstance(verdict, Verdict):
        raise TypeError(f"{claim.id}: judge must return a Verdict, got {verdict!r}")
    if verdict is Verdict.WRONG and not claim.repair:
        raise ValueError(f"{claim.id}: wrong as printed needs the repaired statement in repair")
    return verdict
