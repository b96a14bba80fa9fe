"""P12, sections 4.1, 4.2 and 5: music, characters, and what the two tables together say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rnnlib.claims.claim import Claim, NotMeasured, Verdict
from rnnlib.claims.judging import partly
from rnnlib.claims.p12_unrolled import Values
from rnnlib.claims.scores import Arm, mean, read
from rnnlib.records import Record
from rnnlib.statistics import welch

Score = tuple[float, float]  # mean and standard deviation over 5 runs

# Tables 1 and 2 as printed: (plain, rescaled) for train and test.
MUSIC: dict[str, dict[str, tuple[Score, Score]]] = {
    "piano-midi": {
        "train": ((7.06, 0.052), (7.12, 0.027)),
        "test": ((7.79, 0.013), (7.77, 0.019)),
    },
    "nottingham": {
        "train": ((4.12, 0.330), (3.71, 0.059)),
        "test": ((4.57, 0.718), (4.05, 0.052)),
    },
    "musedata": {
        "train": ((7.99, 0.768), (7.02, 0.031)),
        "test": ((8.00, 0.426), (7.24, 0.037)),
    },
}
CHARACTERS: dict[str, dict[str, tuple[Score, Score]]] = {
    "text8": {"train": ((1.66, 0.010), (1.67, 0.006)), "test": ((1.82, 0.067), (1.80, 0.021))},
    "ptb": {"train": ((2.25, 0.960), (1.41, 0.120)), "test": ((2.24, 0.942), (1.44, 0.006))},
}
_ROWS = [*MUSIC.values(), *CHARACTERS.values()]


def _arm(record: Record, unit: str, *, rescaled: bool, **condition: Any) -> Arm:
    found = [
        result
        for result in record.select(**condition)
        if (result.condition["threshold"] is not None) is rescaled
        and result.condition.get("clipping", "norm") == "norm"
    ]
    if len(found) != 1:
        raise NotMeasured(f"record {record.name} must hold one arm with and one without rescaling")
    return read(found[0], unit)


def _music(records: Sequence[Record]) -> Values:
    values: Values = {}
    texts, gaps = [], []
    for record in sorted(records, key=lambda r: [*MUSIC].index(r.variant)):
        plain = _arm(record, "nll", rescaled=False)
        rescaled = _arm(record, "nll", rescaled=True)
        name = record.variant.replace("-", "_")
        values[f"{name}_gain"] = plain.mean - rescaled.mean
        values[f"{name}_clipped"] = rescaled.clipped
        values[f"{name}_lost"] = rescaled.diverged - plain.diverged
        texts.append(f"{record.variant} {plain} / {rescaled}")
        for arm, (printed, _) in zip((plain, rescaled), MUSIC[record.variant]["test"], strict=True):
            gaps.append(abs(arm.mean - printed))
    at_paper_scale = all(record.scale == "paper" for record in records)
    return values | {
        "table": "; ".join(texts),
        "largest_gap": max(gaps),
        "gap_counts": at_paper_scale,
    }


def _judge_music(v: Mapping[str, Any]) -> Verdict:
    # Where nothing was clipped both arms are the same run, which supports nothing.
    better = [
        v[f"{name}_gain"] >= 0 and v[f"{name}_clipped"] > 0 and v[f"{name}_lost"] <= 0
        for name in ("nottingham", "musedata")
    ]
    even = abs(v["piano_midi_gain"]) < 0.05
    near = v["largest_gap"] < 0.3 or not v["gap_counts"]
    if all(better) and even and near:
        return Verdict.REPRODUCED
    return Verdict.PARTLY if any(better) else Verdict.NOT_REPRODUCED


def _printed(table: dict[str, dict[str, tuple[Score, Score]]]) -> str:
    return "; ".join(
        f"{name} {rows['test'][0][0]:.2f} ± {rows['test'][0][1]:g} / "
        f"{rows['test'][1][0]:.2f} ± {rows['test'][1][1]:g}"
        for name, rows in table.items()
    )


T1 = Claim(
    "P12-T1",
    "table",
    "table 1 and section 4.1",
    "On polyphonic music, rescaling lowers the test error on Nottingham and MuseData and leaves "
    "Piano-midi.de about even.",
    paper=_printed(MUSIC) + " (test NLL a step, plain / rescaled)",
    ours="{table}; largest distance to the table {largest_gap:.2f}",
    measure=_music,
    judge=_judge_music,
    experiment="music",
    variants=("musedata", "nottingham", "piano-midi"),
    note="Reproduced if rescaling is at least as good on Nottingham and MuseData, with something "
    "clipped, and Piano-midi.de differs by less than 0.05; at the paper's scale values must also "
    "lie within 0.3 nats of the table. Reduced runs are too short for that, so there the distance "
    "is shown and not required. Runs that diverged are counted beside the mean, not inside it.",
)

C24 = Claim(
    "P12-C24",
    "statement",
    "section 4.1",
    "The music results improve on the state of the art for recurrent networks "
    "(Boulanger-Lewandowski et al., 2012).",
    paper="7.77 / 4.05 / 7.24",
    note="A comparison with another paper's table, which we could confirm only in part. Against "
    "its plain RNN (8.37 / 4.46 / 8.13, as listed second-hand) all three are lower. That paper "
    "also trained an RNN with Hessian-free optimisation; those values we could not confirm, so "
    "the comparison stays open.",
)


def _characters(records: Sequence[Record]) -> Values:
    (record,) = records
    rates = sorted({r.condition.get("learning_rate") for r in record.results}, key=str)
    rows = []
    for rate in rates:
        at = {} if rate is None else {"learning_rate": rate}
        plain = _arm(record, "bits", rescaled=False, **at)
        rescaled = _arm(record, "bits", rescaled=True, **at)
        clearly = plain.mean - rescaled.mean > 0.1 and plain.spread > rescaled.spread
        more_lost = plain.diverged - rescaled.diverged
        held = more_lost > 0 or (clearly and more_lost == 0)
        rows.append(((plain.diverged, mean(plain.valid)), rate, plain, rescaled, held))
    rows.sort(key=lambda row: row[0])
    _, rate, plain, rescaled, held = rows[0]
    return {
        "rate": "–" if rate is None else f"{rate:g}",
        "gain": plain.mean - rescaled.mean,
        "plain": str(plain),
        "rescaled": str(rescaled),
        "plain_diverged": plain.diverged,
        "rescaled_diverged": rescaled.diverged,
        "holds_at_best": held,
        "holds_at_others": sum(row[-1] for row in rows[1:]),
        "others": "; ".join(f"at {row[1]:g}: {row[2]} / {row[3]}" for row in rows[1:])
        or "no other",
    }


def _judge_characters(v: Mapping[str, Any]) -> Verdict:
    if v["holds_at_best"] is True:
        return Verdict.REPRODUCED
    return Verdict.PARTLY if v["holds_at_others"] > 0 else Verdict.NOT_REPRODUCED


T2 = Claim(
    "P12-T2",
    "table",
    "table 2 and section 4.2",
    "On next-character prediction, rescaling makes Penn Treebank far better and far less variable "
    "than plain descent; on text8 the two are about even.",
    paper=_printed(CHARACTERS) + " (test bits a character, plain / rescaled)",
    ours="Penn Treebank at the rate best for plain ({rate}): {plain} / {rescaled}; {others}",
    measure=_characters,
    judge=_judge_characters,
    experiment="characters",
    variants=("ptb-chars",),
    note="Reproduced if plain exceeds rescaled by more than 0.1 bit with the larger spread, or "
    "diverges more often, at the learning rate with which plain does best on the validation set; "
    "partly if only at another rate. The paper prints no rate, and its plain spread of 0.94 says "
    "that some runs were lost. text8 counts only where the whole corpus can be used.",
)


def _improvements() -> Values:
    better = {
        fold: sum(row[fold][1][0] < row[fold][0][0] for row in _ROWS) for fold in ("train", "test")
    }
    return {"train": better["train"], "test": better["test"], "rows": len(_ROWS)}


C25 = Claim(
    "P12-C25",
    "statement",
    "section 4.2",
    "Rescaling solves an optimisation problem and does not act as a regulariser, since training "
    "and test error both improve in general.",
    ours="from the printed tables: rescaled is lower in {test} of {rows} test scores and in "
    "{train} of {rows} training scores",
    measure=_improvements,
    judge=partly(lambda v: v["test"] == v["rows"] and v["rows"] / 2 < v["train"] < v["rows"]),
    note="Piano-midi.de (7.06 against 7.12) and text8 (1.66 against 1.67) train better without "
    "rescaling. On the other three both errors fall, which is what the sentence is about.",
)


def _other_clipping(records: Sequence[Record]) -> Values:
    (record,) = records
    found = [r for r in record.results if r.condition.get("clipping") == "elementwise"]
    if not found:
        raise NotMeasured("needs runs with element-wise clipping beside those with rescaling")
    at = {k: v for k, v in found[0].condition.items() if k == "learning_rate"}
    by_norm = _arm(record, "bits", rescaled=True, **at)
    return {"by_norm": by_norm.mean, "by_element": read(found[0], "bits").mean}


def _judge_other_clipping(v: Mapping[str, Any]) -> Verdict:
    close = abs(v["by_norm"] - v["by_element"]) < 0.02
    return Verdict.REPRODUCED if close else Verdict.NOT_REPRODUCED


C26 = Claim(
    "P12-C26",
    "statement",
    "section 4.2",
    "On Penn Treebank the result reaches the state of the art, which was had with another "
    "clipping (element-wise); the two behave similarly.",
    paper="1.44",
    ours="rescaled {by_norm:.2f}, element-wise {by_element:.2f} bits",
    measure=_other_clipping,
    judge=_judge_other_clipping,
    experiment="characters",
    variants=("ptb-chars",),
    note="Checked as far as it is about this model: test scores of the two kinds of clipping "
    "within 0.02 bits.",
)

C27 = Claim(
    "P12-C27",
    "statement",
    "section 4.2",
    "For text8 the model is much smaller than the state of the art's, hence the higher numbers.",
    paper="1.80",
    note="An explanation for a difference to another paper's result; the larger model was not "
    "trained here or there.",
)


def _significance() -> Values:
    values: Values = {}
    improved = inside = 0
    for name, rows in (*MUSIC.items(), *CHARACTERS.items()):
        (plain, plain_sd), (rescaled, rescaled_sd) = rows["test"]
        values[f"p_{name.replace('-', '_')}"] = welch(plain, plain_sd, 5, rescaled, rescaled_sd, 5)
        improved += rescaled < plain
        inside += plain - rescaled < plain_sd
    p = [float(v) for v in values.values()]
    return values | {
        "improved": improved,
        "significant": sum(x < 0.05 for x in p),
        "inside": inside,
    }


def _judge_significance(v: Mapping[str, Any]) -> Verdict:
    p = [value for name, value in v.items() if name.startswith("p_")]
    if not (v["improved"] == len(p) and all(0 <= x <= 1 for x in p)):
        return Verdict.NOT_REPRODUCED
    return Verdict.REPRODUCED if all(x < 0.05 for x in p) else Verdict.PARTLY


C30 = Claim(
    "P12-C30",
    "statement",
    "section 5",
    "Rescaling improves performance on all 6 tasks that were tested.",
    paper="6 of 6",
    ours="of the 5 test scores in the tables {improved} are lower; with 5 runs each Welch's "
    "test finds {significant} of them significant: p = {p_piano_midi:.2f} Piano-midi.de, "
    "{p_nottingham:.2f} Nottingham, {p_musedata:.3f} MuseData, {p_text8:.2f} text8, {p_ptb:.2f} "
    "Penn Treebank",
    measure=_significance,
    judge=_judge_significance,
    note="Arithmetic on the printed means and deviations; the sixth task is figure 7. The means "
    "are lower throughout, as stated; three of the five differences are smaller than the plain "
    "arm's own deviation, so 5 runs cannot tell them from chance.",
)
