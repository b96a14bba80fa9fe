"""Records survive the round trip, refuse what is invalid by name, and are written in one step."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnlib import atomic, records
from rnnlib.checks import ArgumentError
from rnnlib.records import Record, RecordError, Records, Result, load_curves, make, read, write


def a_record(**changes) -> Record:
    fields = {
        "experiment": "temporal_order",
        "scale": "reduced",
        "settings": {"hidden_size": 50, "threshold": math.inf},
        "seeds": [0, 1],
        "results": [
            {
                "condition": {"reading": "literal", "threshold": None},
                "metrics": {"solved": [True, False], "error_rate": [0.5, math.nan]},
            },
            {
                "condition": {"reading": "literal", "threshold": 1.0},
                "metrics": {"solved": [True, True], "error_rate": [0.0, -math.inf]},
            },
        ],
        "wall_time_s": 12.5,
        "device": "cpu",
        "reduced": "2 seeds instead of 50",
    }
    return make(**(fields | changes))


def no_leftovers(folder) -> bool:
    return not [name for name in os.listdir(folder) if name.endswith(".tmp")]


numbers = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats())
plain = st.recursive(
    st.one_of(numbers, st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def any_record(draw):
    seeds = draw(st.lists(st.integers(0, 10**6), min_size=1, max_size=4, unique=True))
    per_seed = st.lists(numbers, min_size=len(seeds), max_size=len(seeds))
    return a_record(
        settings=draw(st.dictionaries(st.text(max_size=6), plain, max_size=4)),
        seeds=seeds,
        results=[
            {
                "condition": {"index": i, "x": draw(st.one_of(numbers, st.text(max_size=5)))},
                "metrics": draw(st.dictionaries(st.text(max_size=6), per_seed, max_size=3)),
            }
            for i in range(draw(st.integers(1, 3)))
        ],
        wall_time_s=draw(st.floats(0, 1e9)),
        variant=draw(st.sampled_from(["", "nottingham", "piano-midi"])),
    )


@settings(max_examples=40, deadline=None)
@given(record=any_record())
def test_what_is_written_is_what_is_read(record, tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    path = write(record, folder)
    again = read(path)
    assert again.same_result(record)
    assert again.dump() == record.dump()
    assert json.loads(path.read_text(encoding="utf-8"))["schema_version"] == 1


def test_nan_and_infinities_and_whole_numbers_keep_their_kind(tmp_path):
    again = read(write(a_record(), tmp_path))
    plain_run, clipped = again.results
    assert plain_run.metrics["solved"] == [True, False]
    assert all(type(value) is bool for value in plain_run.metrics["solved"])
    assert math.isnan(plain_run.metrics["error_rate"][1])
    assert clipped.metrics["error_rate"] == [0.0, -math.inf]
    assert again.settings["threshold"] == math.inf
    assert type(again.settings["hidden_size"]) is int


def test_settings_may_be_a_dataclass():
    @dataclass(frozen=True)
    class Settings:
        lengths: tuple[int, ...] = (10, 20)
        rate: float = 0.1

    assert a_record(settings=Settings()).settings == {"lengths": [10, 20], "rate": 0.1}


def test_name_says_experiment_variant_and_scale():
    assert a_record().name == "temporal_order-reduced"
    assert a_record(experiment="music", variant="nottingham").name == "music-nottingham-reduced"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"experiment": "Temporal Order"}, "experiment: "),
        ({"variant": "a/b"}, "variant: "),
        ({"seeds": []}, "seeds: "),
        ({"seeds": [0, 0]}, "seeds must differ"),
        ({"seeds": [0, -1]}, "seeds.1: "),
        ({"seeds": [0]}, "results.0.metrics.solved must hold one value for each of the 1 seeds"),
        ({"results": []}, "results: "),
        ({"results": [{"condition": {}}]}, "results.0.metrics: field required"),
        ({"results": [{"condition": {}, "metrics": {}, "mean": 1}]}, "results.0.mean: "),
        (
            {"results": [{"condition": {}, "metrics": {"loss": [1.0, "low"]}}]},
            "results.0.metrics.loss.1: must be a number, true, false or null, got 'low'",
        ),
        (
            {"results": [{"condition": {"T": [1, 2]}, "metrics": {}}]},
            "results.0.condition.T: must be a single number or text",
        ),
        (
            {"results": [{"condition": {"T": 1}, "metrics": {}}] * 2},
            "results.1.condition must be unique",
        ),
        ({"wall_time_s": -1.0}, "wall_time_s: "),
        ({"wall_time_s": math.nan}, "wall_time_s: "),
        ({"settings": {"f": object()}}, "settings: must be plain data"),
        ({"settings": 3}, "settings: "),
        ({"reduced": ""}, "reduced must say what was reduced"),
        ({"scale": "paper"}, "reduced must be empty at paper scale"),
        ({"curves": {"x": np.array([object()])}}, "curves.x must be numbers"),
    ],
)
def test_an_invalid_record_is_refused_with_the_fields_name(change, message):
    with pytest.raises(RecordError) as caught:
        a_record(**change)
    text = str(caught.value)
    assert message in text
    assert text.startswith("record ")
    assert "\n" not in text


def test_an_unknown_scale_is_refused():
    with pytest.raises(ArgumentError, match="scale must be one of smoke, reduced, paper"):
        a_record(scale="full")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.pop("hardware"), "hardware: field required"),
        (lambda c: c.update(device=3), "device: "),
        (lambda c: c.update(note="x"), "note: extra inputs"),
        (lambda c: c.update(utc="yesterday"), "utc: "),
        (lambda c: c.update(git_commit="abc"), "git_commit: "),
        (lambda c: c["results"][0]["metrics"]["solved"].pop(), "results.0.metrics.solved"),
        (lambda c: c.update(schema_version=2), "schema_version must be 1, got 2 (a newer"),
        (lambda c: c.update(schema_version=0), "schema_version must be 1, got 0 (run the"),
        (lambda c: c.pop("schema_version"), "schema_version must be 1, got None"),
    ],
)
def test_a_file_that_does_not_validate_is_refused_with_file_and_field(tmp_path, edit, message):
    path = write(a_record(), tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RecordError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "\x00"])
def test_a_file_that_is_no_record_is_refused(tmp_path, content):
    path = tmp_path / "temporal_order-reduced.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RecordError, match=r"temporal_order-reduced\.json"):
        read(path)
    with pytest.raises(RecordError, match="cannot be read"):
        read(tmp_path / "absent.json")


def test_select_takes_conditions_by_value():
    record = a_record()
    assert record.select(threshold=None) == [record.results[0]]
    assert record.select(reading="literal", threshold=1.0) == [record.results[1]]
    assert record.select(threshold=2.0) == []
    assert len(record.select()) == 2
    with pytest.raises(ArgumentError, match="did you mean 'threshold'"):
        record.select(thresholds=1.0)


def test_same_result_sees_every_deterministic_field_and_no_other():
    record = a_record()
    assert record.same_result(a_record(wall_time_s=99.0))
    nan = {"condition": {}, "metrics": {"m": [math.nan, 1.0]}}
    assert a_record(results=[nan]).same_result(a_record(results=[nan]))
    last_bit = {"condition": {}, "metrics": {"m": [math.nan, math.nextafter(1.0, 2.0)]}}
    assert not a_record(results=[nan]).same_result(a_record(results=[last_bit]))
    for change in (
        {"seeds": [0, 2]},
        {"settings": {"hidden_size": 51}},
        {"experiment": "other"},
        {"variant": "b"},
        {"reduced": "other"},
        {"curves": {"x": np.zeros(2)}},
    ):
        assert not record.same_result(a_record(**change)), change


def test_curves_come_back_bit_for_bit_and_are_the_same_file_each_time(tmp_path):
    curves = {"norm": np.array([1.0, np.nan, np.inf]), "step": np.arange(3)}
    record = a_record(curves=curves)
    assert record.same_result(a_record(curves=curves))
    again = read(write(record, tmp_path))
    for name, array in load_curves(again).items():
        np.testing.assert_array_equal(array, curves[name])
        assert array.dtype == curves[name].dtype
    assert load_curves(a_record()) == {}
    # A record that was read carries its curves to another folder.
    elsewhere = tmp_path / "elsewhere"
    assert load_curves(read(write(again, elsewhere))).keys() == curves.keys()


def test_damaged_or_missing_curves_are_named(tmp_path):
    path = write(a_record(curves={"x": np.arange(4)}), tmp_path)
    (curves,) = tmp_path.glob("*.npz")
    curves.write_bytes(curves.read_bytes()[:-1])
    with pytest.raises(RecordError, match=rf"{curves.name} must have SHA-256"):
        read(path)
    curves.unlink()
    with pytest.raises(RecordError, match=curves.name):
        read(path)


def test_new_curves_replace_the_old_and_leave_those_of_others(tmp_path):
    other = a_record(experiment="music", variant="x", curves={"x": np.arange(1)})
    write(other, tmp_path)
    write(a_record(curves={"x": np.arange(2)}), tmp_path)
    write(a_record(curves={"x": np.arange(3)}), tmp_path)
    assert len(list(tmp_path.glob("temporal_order*.npz"))) == 1
    write(a_record(), tmp_path)
    assert [path.name for path in tmp_path.glob("*.npz")] == [other.curves.file]


# The curves are written first, then the JSON file. After each the folder is synchronised as well
# (call 1 of fsync), where a failure does no harm.
@pytest.mark.parametrize(
    ("where", "failing_call"), [("fsync", 0), ("fsync", 2), ("replace", 0), ("replace", 1)]
)
def test_a_failure_in_the_middle_leaves_the_old_record(tmp_path, monkeypatch, where, failing_call):
    old = a_record(curves={"x": np.arange(3)})
    path = write(old, tmp_path)
    calls = iter(range(100))
    genuine = getattr(os, where)

    def fail(*arguments):
        if next(calls) == failing_call:
            raise OSError(28, "No space left on device")
        return genuine(*arguments)

    monkeypatch.setattr(atomic.os, where, fail)
    new = a_record(curves={"x": np.arange(4)}, wall_time_s=99.0)
    with pytest.raises(OSError, match="No space"):
        write(new, tmp_path)
    monkeypatch.undo()
    assert read(path).same_result(old)
    assert read(path).wall_time_s == old.wall_time_s
    assert no_leftovers(tmp_path)


def test_an_interrupt_in_the_middle_leaves_the_old_record(tmp_path, monkeypatch):
    path = write(a_record(), tmp_path)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(a_record(wall_time_s=99.0), tmp_path)
    monkeypatch.undo()
    assert read(path).wall_time_s == 12.5
    assert no_leftovers(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_a_killed_writer_leaves_a_whole_record_old_or_new(tmp_path):
    path = write(a_record(wall_time_s=1.0, curves={"x": np.zeros(200_000)}), tmp_path)
    program = textwrap.dedent(
        """
        import sys
        import numpy as np
        from rnnlib.records import read, write
        record = read(sys.argv[1])
        print("ready", flush=True)
        while True:
            write(record, sys.argv[2])
        """
    )
    source = tmp_path / "source"
    new = write(a_record(wall_time_s=2.0, curves={"x": np.ones(200_000)}), source)
    for moment in (0.02, 0.05, 0.11):
        writer = subprocess.Popen(
            [sys.executable, "-c", program, str(new), str(tmp_path)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(moment)
        writer.kill()
        assert writer.wait() == -signal.SIGKILL
        writer.stdout.close()
        assert read(path).wall_time_s in (1.0, 2.0)
    assert len(Records.load(tmp_path)) == 1


def test_find_sorts_paper_first_and_best_leaves_smoke_out():
    def music(variant, scale):
        reduced = "" if scale == "paper" else "epochs"
        return a_record(experiment="music", variant=variant, scale=scale, reduced=reduced)

    collected = Records(
        [
            music("b", "smoke"),
            music("a", "reduced"),
            music("b", "paper"),
            music("a", "paper"),
            music("b", "reduced"),
            music("c", "reduced"),
            music("d", "smoke"),
            a_record(),
        ]
    )
    names = [record.name for record in collected.find("music")]
    assert names == [
        *("music-a-paper", "music-b-paper"),
        *("music-a-reduced", "music-b-reduced", "music-c-reduced"),
        *("music-b-smoke", "music-d-smoke"),
    ]
    assert [r.name for r in collected.find("music", variant="b", scale="smoke")] == [
        "music-b-smoke"
    ]
    assert [r.name for r in collected.best("music")] == [
        "music-a-paper",
        "music-b-paper",
        "music-c-reduced",
    ]
    assert collected.find("characters") == []
    assert collected.best("characters") == []
    assert len(collected) == 8


def test_load_reads_a_folder_and_refuses_a_file_of_another_name(tmp_path):
    assert len(Records.load(tmp_path / "absent")) == 0
    path = write(a_record(), tmp_path)
    assert [record.name for record in Records.load(tmp_path)] == ["temporal_order-reduced"]
    (tmp_path / "copy.json").write_bytes(path.read_bytes())
    with pytest.raises(RecordError, match=r"copy\.json: its content asks for the name temporal"):
        Records.load(tmp_path)
    with pytest.raises(RecordError, match="got temporal_order-reduced twice"):
        Records([a_record(), a_record()])


def test_provenance_names_no_host_and_no_path():
    record = a_record()
    assert set(record.versions) - {"numba", "triton"} == {"python", "rnnlib", "torch", "numpy"}
    everything = record.dump()
    for private in (os.uname().nodename if hasattr(os, "uname") else "", os.getcwd()):
        assert not private or private not in everything
    assert record.hardware.endswith(("core", "cores"))


def test_default_folder_is_the_books():
    folder = records.default_folder()
    assert folder.parts[-2:] == ("book", "records")


def test_results_given_as_objects_or_mappings_are_the_same():
    result = Result(condition={"T": 10}, metrics={"solved": [True, False]})
    assert a_record(results=[result]).same_result(a_record(results=[result.model_dump()]))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_a_file_that_is_no_json_is_named(tmp_path, content):
    path = tmp_path / "x-smoke.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"x-smoke.json: not a JSON file: ") as refusal:
        read(path)
    assert "\n" not in str(refusal.value)
