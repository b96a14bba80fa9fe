"""The benchmark: turns, ratios, and that a wrong result is caught. No test reads a clock."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rnnlib import bench, cli, figures
from rnnlib.bench import machine as machines
from rnnlib.bench import measure, report, summary
from rnnlib.bench.machine import Machine, pinned
from rnnlib.bench.measure import Case, Problem, Variant, compare, interleave, spread, worst_error
from rnnlib.checks import ArgumentError
from rnnlib.claims import ledger
from rnnlib.kernels import backends
from rnnlib.records import Records, Result, make, read, write

mpl.use("Agg")
F64 = torch.float64


class Clock(Machine):
    """A machine whose calls take the seconds that they say, and whose control is scripted."""

    def __init__(self, control: tuple[float, float] = (1.0, 1.0)) -> None:
        super().__init__("cpu", small=True)
        self._control = iter(control)

    def timed(self, call: Callable[[], Any], expected_s: float | None = None) -> tuple[float, Any]:
        result = call()
        return getattr(call, "seconds", 1.0), result

    def control(self, n: int = 5) -> dict[str, float]:
        return {"copy": 1.0, "product": next(self._control)}

    def gauged(self, call: Callable[[], Any]) -> tuple[float, Any, float | None]:
        return *self.timed(call), 7.0


def doubled(tensors: Any) -> dict[str, Tensor]:
    return {"y": 2 * tensors["x"]}


def variant(name: str, rule: Any = doubled, seconds: float = 1.0, **options: Any) -> Variant:
    """A variant that takes ``seconds`` on the clock above."""

    def bind(tensors: Any) -> Any:
        def call() -> Any:
            return rule(tensors)

        call.seconds = seconds  # type: ignore[attr-defined]
        return call

    return Variant(name, bind, **options)


def problem(*variants: Variant, dtype: str = "float32") -> Problem:
    def inputs(seed: int) -> dict[str, Tensor]:
        rng = torch.Generator().manual_seed(seed)
        return {"x": torch.randn(5, generator=rng).to(getattr(torch, dtype))}

    case = Case("elman", "gradient", {"n": 5}, dtype)
    return Problem(case, inputs, doubled, variants, flop=10.0, n_bytes=20.0)


def results(entries: list[dict[str, Any]]) -> list[Result]:
    return [Result.model_validate(entry) for entry in entries]


BEST = {"product": 1.0, "copy": 10.0}


def test_variants_take_turns_on_fresh_inputs_and_the_last_round_is_checked() -> None:
    log: list[tuple[str, str, int]] = []

    def logged(name: str) -> Variant:
        def bind(seed: int) -> Any:
            log.append(("bind", name, seed))
            return lambda: log.append(("call", name, seed))

        return Variant(name, bind)  # type: ignore[arg-type]

    def check(variant: Variant, result: Any) -> None:
        log.append(("check", variant.name, 0))

    turns = [logged("a"), logged("b")]
    times = interleave(turns, 3, lambda seed: seed, Clock(), check)  # type: ignore[arg-type, return-value]
    assert log == [
        (what, name, seed)
        for seed in (1, 2, 0)
        for name in "ab"
        for what in ("bind", "call", "check")[: 3 if seed == 0 else 2]
    ]
    assert {name: len(each) for name, each in times.items()} == {"a": 3, "b": 3}


def test_only_the_call_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(machines.time, "perf_counter", lambda: now[0])

    def bind(_: Any) -> Any:
        now[0] += 100
        return lambda: now.__setitem__(0, now[0] + 3)

    def check(*_: Any) -> None:
        now[0] += 1000

    machine = Machine("cpu", small=True)
    assert interleave([Variant("a", bind)], 2, lambda _: {}, machine, check) == {"a": [3.0, 3.0]}


def test_ratio_share_and_spread() -> None:
    given_ = problem(
        variant("ours", seconds=2.0, ours=True),
        variant("good", seconds=6.0),
        variant("poor", seconds=9.0),
        variant("part", seconds=1.0, share=0.25),
    )
    entries, left_out = compare(given_, Clock((1.0, 1.05)), budget_s=0.0)
    found = {row.variant: row for row in summary.rows(results(entries), BEST)}
    assert left_out == {}
    assert {name: row.time_s for name, row in found.items()} == {
        "ours": 2.0, "good": 6.0, "poor": 9.0, "part": 4.0
    }  # fmt: skip
    row = found["ours"]
    assert (row.peer, row.ratio) == ("part", 2.0)
    assert row.ratios == {"good": 3.0, "poor": 4.5, "part": 2.0}
    assert (row.bound, row.share) == ("product", 10.0 / 2.0)  # 10 flop at 1 a second: 10 s
    assert found["part"].ratio == 1.0
    assert (found["part"].scaled, row.scaled) == (True, False)
    assert (row.peak_bytes, found["part"].peak_bytes) == (7.0, None)  # a part says nothing of all
    assert row.steady
    assert summary.ours(found.values()) == [row]


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=6), st.floats(1e-6, 1e3))
def test_a_ratio_above_one_means_faster_than_every_peer(peers: list[float], own: float) -> None:
    entries = [entry(f"peer {i}", t) for i, t in enumerate(peers)] + [entry("own", own, ours=True)]
    *others, row = summary.rows(results(entries), BEST)
    assert row.ratio == pytest.approx(min(peers) / own)
    assert row.ratios[row.peer] == row.ratio == min(row.ratios.values())
    assert max(other.ratio or 0 for other in others) == 1.0


def entry(variant: str, seconds: float, *, ours: bool = False, n: int = 5) -> dict[str, Any]:
    condition = {"operation": "elman", "task": "gradient", "dtype": "float32", "n": n}
    metrics = {
        **spread([seconds]),
        "error": 1e-7,
        "correct": True,
        "first_call_s": seconds,
        "peak_bytes": None,
        "flop": 10.0,
        "bytes": 20.0,
        "drift": 0.0,
    }
    return {
        "condition": {**condition, "variant": variant, "ours": ours, "share": 1.0},
        "metrics": {name: [value] for name, value in metrics.items()},
    }


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_spread_is_numpys(times: list[float]) -> None:
    found = spread(times)
    low, median, high = np.quantile(times, (0.25, 0.5, 0.75))
    assert [found["time_q1_s"], found["time_s"], found["time_q3_s"]] == pytest.approx(
        [low, median, high]
    )
    assert (found["time_min_s"], found["n_repeats"]) == (min(times), len(times))


def stale() -> Callable[[Any], dict[str, Tensor]]:
    """A result that is right the first time and never renewed, as of a graph replayed blindly."""
    kept: dict[str, Tensor] = {}

    def rule(tensors: Any) -> dict[str, Tensor]:
        return kept or kept.setdefault("all", doubled(tensors))  # type: ignore[return-value]

    def first(tensors: Any) -> dict[str, Tensor]:
        found = rule(tensors)
        return found.get("all", found)  # type: ignore[return-value]

    return first


@pytest.mark.parametrize(
    "rule",
    [
        lambda tensors: {"y": 2.01 * tensors["x"]},
        lambda tensors: {"y": 2 * tensors["x"][:4]},
        lambda tensors: {"y": 2 * tensors["x"] / (tensors["x"] * 0)},
        lambda tensors: {"z": 2 * tensors["x"]},
        lambda tensors: {},
        stale(),
    ],
    ids=["other values", "another shape", "not finite", "another name", "nothing", "stale"],
)
def test_a_wrong_variant_is_caught_and_not_timed(rule: Any) -> None:
    fastest = variant("wrong", rule, seconds=0.001)
    given_ = problem(variant("ours", ours=True), fastest, variant("peer", seconds=3.0))
    entries, _ = compare(given_, Clock(), budget_s=0.0)
    found = {row.variant: row for row in summary.rows(results(entries), BEST)}
    wrong = found["wrong"]
    assert (wrong.time_s, wrong.ratio, wrong.share) == (None, None, None)
    assert wrong.error > measure.TOLERANCE["float32"]
    assert found["ours"].peer == "peer"  # what is wrong sets no standard
    table = report.text_table(list(found.values()))
    assert "wrong" in table
    assert "WRONG, not timed" in table
    assert "0.001" not in table
    assert "wrong" not in report.html_table(found.values())


def test_the_error_is_relative_to_the_largest_true_value() -> None:
    truth = {"a": torch.tensor([1.0, -4.0], dtype=F64), "b": torch.zeros(2, dtype=F64)}
    found = {"a": torch.tensor([1.5, -4.0]), "b": torch.tensor([0.0, 0.25])}
    assert worst_error({"a": found["a"], "b": truth["b"]}, truth) == 0.125
    assert worst_error(found, truth) == 0.25
    z = torch.tensor([3 + 4j], dtype=torch.complex128)
    assert worst_error({"z": z + 1j}, {"z": z}) == pytest.approx(0.2)


def test_a_peer_that_fails_is_left_out_with_the_reason_and_ours_is_a_fault() -> None:
    def fails(_: Any) -> Any:
        raise RuntimeError("no such instruction\nand a long story")

    entries, left_out = compare(
        problem(variant("ours", ours=True), variant("peer", fails)), Clock(), budget_s=0.0
    )
    assert left_out == {"peer": "RuntimeError: no such instruction"}
    (row,) = summary.rows(results(entries), BEST)
    assert (row.variant, row.ratio, row.peer) == ("ours", None, "")
    assert "–" in report.text_table([row])
    with pytest.raises(RuntimeError, match="no such instruction"):
        compare(problem(variant("ours", fails, ours=True)), Clock(), budget_s=0.0)


@pytest.mark.parametrize(("after", "steady"), [(1.09, True), (1.2, False), (0.8, False)])
def test_a_case_is_unsteady_if_the_control_moved(after: float, steady: bool) -> None:
    entries, _ = compare(problem(variant("ours", ours=True)), Clock((1.0, after)), budget_s=0.0)
    (row,) = summary.rows(results(entries), BEST)
    assert row.steady is steady
    assert ("UNSTEADY" in report.text_table([row])) is not steady
    assert ("unsteady" in report.html_table([row])) is not steady


@pytest.mark.parametrize(
    ("round_s", "budget_s", "n"), [(1.0, 0.0, 3), (1.0, 10.0, 10), (1e-4, 10.0, 25), (9.0, 1.0, 3)]
)
def test_repeats_follow_from_the_budget(round_s: float, budget_s: float, n: int) -> None:
    entries, _ = compare(
        problem(variant("ours", seconds=round_s, ours=True)), Clock(), budget_s=budget_s
    )
    assert entries[0]["metrics"]["n_repeats"] == [n]


def test_peak_memory_is_what_a_call_adds() -> None:
    gauge = Machine("cpu", small=True)
    kept = torch.ones(2**22)
    _, _, peak = gauge.gauged(lambda: (kept + 1).sum())
    if peak is None:
        pytest.skip("the resident set cannot be read here")
    assert 0.9 * kept.nbytes < peak < 2 * kept.nbytes


def test_ceilings_are_rates_of_this_machine() -> None:
    found = Machine("cpu", small=True).ceilings(3)
    assert set(found) == {"copy", "product"}
    assert all(math.isfinite(rate) and rate > 0 for rate in found.values())


def test_pinned_holds_the_process_and_lets_go() -> None:
    threads = torch.get_num_threads()
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    with pinned(1):
        assert torch.get_num_threads() == 1
        if allowed:
            assert len(os.sched_getaffinity(0)) == 1
    assert torch.get_num_threads() == threads
    if allowed:
        assert os.sched_getaffinity(0) == allowed


@pytest.fixture(scope="module", params=bench.OPERATIONS)
def smoke(request: pytest.FixtureRequest) -> Any:
    """The record of a smoke run of one operation, with every path that is here."""
    (record,) = bench.run(request.param, preset="smoke")
    return record


def test_a_smoke_run_checks_every_variant_against_the_definition(smoke: Any) -> None:
    found = summary.main_rows(smoke)
    assert len({repr(row.condition) for row in found}) == (1 if "orbit" in smoke.variant else 2)
    for row in found:
        assert row.time_s is not None, row
        assert row.error < 1e-5
    paths = {row.variant for row in found if row.ours}
    assert paths == {f"rnnlib, {path}" for path in smoke.settings["backends"]}
    absent = set(smoke.settings["left_out"].values())
    assert all("jax" in reason for reason in absent), absent


def test_a_record_comes_back_as_it_was_written(smoke: Any, tmp_path: Any) -> None:
    again = read(write(smoke, tmp_path))
    assert again == smoke
    assert again.name == f"bench-{smoke.variant}-smoke"
    assert summary.main_rows(again) == summary.main_rows(smoke)
    assert bench.load(tmp_path) == {}  # a smoke run is no evidence
    assert summary.ceilings(again)["product"] > 0


def full(operation: str = "elman", **changes: Any) -> Any:
    """A record as a full run leaves it, from made-up times."""
    machine = [
        {
            "condition": {"operation": "machine", "variant": kind},
            "metrics": {"per_second": [rate]},
        }
        for kind, rate in BEST.items()
    ]
    entries = [
        entry(name, seconds * n, ours=name == "rnnlib, numba", n=n)
        for n in (5, 50)
        for name, seconds in (("rnnlib, numba", 1.0), ("a peer", 4.0 if n == 5 else 0.5))
    ]
    accuracy = [
        {
            "condition": {"operation": operation, "task": "accuracy", "dtype": "float32", "T": T}
            | {"variant": "definition", "ours": False},
            "metrics": {"error": [T * 1e-8]},
        }
        for T in (100, 10)
    ]
    settings = {"main": {"n": 5}, "threads": 1}
    return make(
        "bench",
        "reduced",
        settings,
        [0],
        machine + entries + accuracy,
        wall_time_s=1.0,
        device="cpu",
        variant=f"{operation}-cpu",
        reduced="made up",
    )


def test_curves_errors_and_the_conclusion_come_from_the_record() -> None:
    record = full()
    assert summary.curves(record, "n", task="gradient") == {
        "rnnlib, numba": [(5, 5.0), (50, 50.0)],
        "a peer": [(5, 20.0), (50, 25.0)],
    }
    single = [(10, 1e-7), (100, 1e-6)]
    assert summary.errors(record, "float32") == {"definition": single}
    both = summary.errors(record, "float32", "float32")["definition"]
    assert both[:2] == both[3:] == single
    assert all(math.isnan(part) for part in both[2])
    text = report.conclusion(record, task="gradient")
    assert text.startswith("2 sizes: between 0.5 and 4.0 times as fast as the best peer")
    assert "slower at n=50: 0.5 x a peer" in text


def test_the_book_finds_its_records_and_the_ledger_does_not(tmp_path: Any) -> None:
    write(full(), tmp_path / bench.FOLDER)
    assert set(bench.load(tmp_path / bench.FOLDER)) == {"elman"}
    assert bench.load(tmp_path / bench.FOLDER, "cuda") == {}
    assert bench.load(tmp_path / "absent") == {}
    assert len(Records.load(tmp_path)) == 0
    beside = Records.load(tmp_path / bench.FOLDER)
    rows = ledger.evaluate_all(beside, "p12")
    assert rows == ledger.evaluate_all(Records(), "p12")


def test_the_table_of_the_page_has_a_label_for_every_cell() -> None:
    html = report.html_table(summary.ours(summary.main_rows(full())))
    assert html.count("<tr>") == 2
    assert html.count("data-label=") == html.count("<th>") == 7
    assert "4.0 ×" in html
    assert "a peer" in html


def test_the_figure_shows_every_curve_in_one_look_per_variant() -> None:
    gap = (math.nan, math.nan)
    panels = {
        "one": {"rnnlib, numba": [(1, 0.5), gap, (10, 5.0)], "a peer": [(1, 1.0), (10, 0.0)]},
        "two": {"a peer": [(2, 3.0)], "definition": [(2, -1.0)]},
    }
    figure = figures.over_size(panels, ylabel="seconds")
    one, two = (ax for ax in figure.axes if ax.get_visible())
    assert (one.get_xscale(), one.get_yscale(), one.get_xlabel()) == ("log", "log", "one")
    ours, peer = one.lines
    np.testing.assert_array_equal(ours.get_xydata(), [[1, 0.5], gap, [10, 5.0]])
    assert [tick.get_text() for tick in one.get_xticklabels()] == ["1", "10"]
    assert peer.get_xydata().tolist() == [[1, 1.0]]  # a logarithm of zero is left out
    assert two.lines[0].get_marker() == peer.get_marker() != ours.get_marker()
    assert two.lines[0].get_linestyle() == peer.get_linestyle() != ours.get_linestyle()
    assert len(two.lines[1].get_xydata()) == 0
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == ["rnnlib, numba", "a peer", "definition"]
    plt.close(figure)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.5, "2.5 s"), (0.0123, "12.3 ms"), (0.9996, "1 s"), (4.56e-5, "45.6 µs"), (8e-9, "8 ns")],
)
def test_durations_have_three_digits(seconds: float, text: str) -> None:
    assert report.duration(seconds) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "elmann"], "operation must be one of elman, scan, orbit, all, got 'elmann'"),
        (["bench", "--threads", "0"], "threads must be an integer >= 1, got 0"),
        (["bench", "--threads", "100000"], "threads must be at most the"),
        (["bench", "--backend", "numpy"], "backend must be one of all, torch, numba, triton"),
        (["bench", "--backend", "triton"], "backend must be usable here, got 'triton'"),
        (["bench", "--device", "tpu"], "device must be one of cpu, cuda, got 'tpu'"),
        (["bench", "--quick", "--out", "file/below"], "out must be a folder"),
    ],
)
def test_an_error_is_one_line_and_nothing_is_measured(
    arguments: list[str],
    message: str,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "_entries", lambda *_: pytest.fail("measured"))
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert os.listdir(tmp_path) == ["file"]


def test_a_backend_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "missing", lambda name: "not here" if name != "torch" else "")
    assert bench._paths("all", "cpu") == ("torch",)
    with pytest.raises(ArgumentError, match="got 'numba': not here"):
        bench.run("elman", backend="numba")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The command in an empty folder, where the main size is that of a smoke run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rnnlib.bench.elman.MAIN", {"R": 2, "B": 3, "T": 5, "H": 4, "I": 2})
    monkeypatch.setattr(bench.machine, "_COPIED", {"cpu": 2**16})
    monkeypatch.setattr(bench.machine, "_SIDE", {"cpu": 32})


@pytest.mark.usefixtures("quick")
def test_the_command_prints_its_tables_and_writes_the_record(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench", "elman", "--quick", "--backend", "torch"])
    printed = capsys.readouterr()
    assert ended.value.code == 0
    assert "elman, gradient, float32: R=2 B=3 T=5 H=4 I=2" in printed.out
    assert "* rnnlib, torch" in printed.out
    assert "torch.nn.RNN, replica by replica" in printed.out
    path = os.path.join("records", "bench-elman-cpu-smoke.json")
    assert f"Wrote {path}: " in printed.out
    record = read(path)
    assert record.settings["backends"] == ["torch"]
    assert record.settings["threads"] == 1
