"""The command: what it writes, and that a user's error is one line, code 2, nothing written."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import types
from dataclasses import dataclass

import pytest

from rnnlib import cli, environment
from rnnlib.checkpoint import Deadline, Stopped
from rnnlib.checks import ArgumentError
from rnnlib.claims.claim import Claim, Verdict
from rnnlib.experiments import plan
from rnnlib.experiments.jobs import Job, Unit
from rnnlib.experiments.runner import WorkersLost
from rnnlib.provenance import hardware_name
from rnnlib.records import Records, read
from rnnlib.tasks.data import DATASETS, DataError


@dataclass(frozen=True)
class Part:
    name: str
    size: int = 1


@dataclass(frozen=True)
class Settings:
    scale: str
    seeds: tuple[int, ...] = (0, 1, 2)
    learning_rate: float = 0.1
    hidden_size: int = 4
    thresholds: tuple[float | None, ...] = (None, 1.0)
    carry: bool = True
    label: str = "x"
    limit: int | None = None
    parts: tuple[Part, ...] = (Part("a"), Part("b"))
    reduced: str = ""


@dataclass(frozen=True)
class Work:
    experiment: str
    settings: Settings
    part: Part

    def __call__(self, *, survival):
        toy.ran.append((self.settings.scale, self.part.name))
        while self.part.name in toy.endless:
            survival.pause(dict)
        return [{"rate": 1.0} for _ in self.settings.seeds]


def experiment(name):
    """One job a part, one unit a job, one update a unit."""

    def jobs(settings, device):
        return [
            Job(
                experiment=name,
                variant=part.name,
                scale=settings.scale,
                settings=dataclasses.asdict(settings) | {"parts": [dataclasses.asdict(part)]},
                seeds=settings.seeds,
                units=(Unit(Work(name, settings, part), 7, 3e9, 2.0**21),),
                conditions=[{}],
                collect=lambda parts: [{"rate": [row["rate"] for row in parts[0]]}],
                reduced=settings.reduced,
            )
            for part in settings.parts
        ]

    return types.SimpleNamespace(
        TITLE="a toy",
        SETTINGS={
            "smoke": Settings("smoke"),
            "reduced": Settings("reduced", reduced="everything"),
            "paper": Settings("paper"),
        },
        jobs=jobs,
        ran=[],  # (scale, part) of every unit that was begun
        endless=set(),  # parts whose units only end if they are stopped
    )


toy = experiment("toy")

CLAIMS = [
    Claim(
        "P12-T1",
        "table",
        "table 1",
        "A toy.",
        ours="{rate:.1f}",
        measure=lambda found: {"rate": found[0].results[0].metrics["rate"][0]},
        judge=lambda v: Verdict.REPRODUCED if v["rate"] == 1 else Verdict.NOT_REPRODUCED,
        experiment="toy",
    ),
    Claim(
        "P12-E7",
        "equation",
        "equation 7",
        "One is one.",
        ours="{x}",
        measure=lambda: {"x": 1},
        judge=lambda v: Verdict.REPRODUCED if v["x"] == 1 else Verdict.NOT_REPRODUCED,
    ),
]


@pytest.fixture
def rnnlib(monkeypatch, tmp_path, capsys):
    """Call the command in an empty folder with one toy experiment and two claims."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RNNLIB_SCALE", raising=False)
    monkeypatch.setattr("rnnlib.experiments._NAMES", ("toy",))
    monkeypatch.setitem(sys.modules, "rnnlib.experiments.toy", toy)
    monkeypatch.setitem(sys.modules, "rnnlib.claims.p12", types.SimpleNamespace(CLAIMS=CLAIMS))
    monkeypatch.setitem(sys.modules, "rnnlib.claims.p13", types.SimpleNamespace(CLAIMS=[]))
    monkeypatch.setattr(cli, "default_folder", lambda: tmp_path / "book" / "records")
    # A calibration would begin the units as well; how it works is another test's.
    monkeypatch.setattr(plan, "seconds_an_update", lambda unit, seconds, stop: 0.01)
    monkeypatch.setattr(toy, "ran", [])
    monkeypatch.setattr(toy, "endless", set())

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main(list(arguments))
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return call


def test_run_writes_the_record_and_says_what_follows(rnnlib, tmp_path):
    code, out, err = rnnlib("run", "toy")
    assert code == 0
    assert "toy-b-reduced: 100%" in err
    folder = tmp_path / "book" / "records"
    assert sorted(os.listdir(folder)) == ["toy-a-reduced.json", "toy-b-reduced.json"]
    assert read(folder / "toy-a-reduced.json").seeds == [0, 1, 2]
    assert "toy-a-reduced.json: reduced, 3 seeds, 1 condition, < 1 s on" in out
    assert "◐ P12-T1   reproduced at reduced scale  1.0" in out
    assert "P12-E7" not in out  # mathematics does not rest on this experiment


def test_scale_comes_from_the_option_or_the_environment(rnnlib, monkeypatch):
    _, out, _ = rnnlib("run", "toy", "--scale", "paper")
    assert "✓ P12-T1   reproduced  1.0" in out
    monkeypatch.setenv("RNNLIB_SCALE", "smoke")
    _, out, _ = rnnlib("run", "toy")
    assert "A smoke run settles no claim." in out
    assert toy.ran == [("paper", "a"), ("paper", "b"), ("smoke", "a"), ("smoke", "b")]


def test_smoke_runs_and_changed_settings_stay_out_of_the_books_folder(rnnlib, tmp_path):
    for arguments in (
        ("--scale", "smoke"),
        ("--seeds", "0-1"),
        ("--set", "learning_rate=0.2", "--replace"),
    ):
        assert rnnlib("run", "toy", *arguments)[0] == 0
    assert not (tmp_path / "book").exists()
    assert (tmp_path / "records" / "toy-a-smoke.json").exists()
    record = read(tmp_path / "records" / "toy-a-reduced.json")
    assert record.settings["learning_rate"] == 0.2
    assert record.reduced == "everything; settings changed by hand: learning_rate=0.2"


def test_a_run_takes_the_place_of_its_like_alone(rnnlib):
    assert rnnlib("run", "toy", "--seeds", "0-1", "--out", "here")[0] == 0
    assert rnnlib("run", "toy", "--seeds", "0-1", "--out", "here")[0] == 0
    kept = read("here/toy-a-reduced.json")
    for others in (("--seeds", "0-2"), ("--seeds", "0-1", "--set", "learning_rate=0.2")):
        code, _, err = rnnlib("run", "toy", *others, "--out", "here")
        assert code == 2
        assert "out must not hold a run of other settings or seeds" in err
        assert "toy-a-reduced, got 'here'; choose another folder, or --replace" in err
    assert read("here/toy-a-reduced.json").same_result(kept)
    assert rnnlib("run", "toy", "--seeds", "0-2", "--out", "here", "--replace")[0] == 0
    assert read("here/toy-a-reduced.json").seeds == [0, 1, 2]


def test_what_cannot_be_read_counts_as_missing(rnnlib, tmp_path):
    folder = tmp_path / "book" / "records"
    folder.mkdir(parents=True)
    (folder / "toy-a-paper.json").write_text("garbage")
    assert rnnlib("plan")[1].count("[missing]") == 2


def test_a_changed_paper_run_is_no_longer_at_paper_scale(rnnlib, tmp_path):
    code, out, _ = rnnlib("run", "toy", "--scale", "paper", "--seeds", "0,5", "--out", "here")
    assert code == 0
    assert sorted(os.listdir("here")) == ["toy-a-reduced.json", "toy-b-reduced.json"]
    assert read("here/toy-a-reduced.json").reduced == "settings changed by hand: seeds=0,5"
    assert "reproduced at reduced scale" in out


def test_choosing_parts_changes_no_result(rnnlib, tmp_path):
    assert rnnlib("run", "toy", "--scale", "paper", "--set", "parts=b")[0] == 0
    assert os.listdir(tmp_path / "book" / "records") == ["toy-b-paper.json"]


def test_a_change_of_all_parts_is_a_change_of_settings(rnnlib, tmp_path):
    assert rnnlib("run", "toy", "--scale", "paper", "--set", "size=3", "--set", "parts=b")[0] == 0
    assert not (tmp_path / "book").exists()
    record = read(tmp_path / "records" / "toy-b-reduced.json")
    assert record.settings["parts"] == [{"name": "b", "size": 3}]
    assert record.reduced == "settings changed by hand: size=3, parts=b"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "tyo"], "experiment must be one of toy, got 'tyo'; did you mean 'toy'?"),
        (["run"], "NAME must be one of toy, got none"),
        (["run", "toy", "--scale", "papr"], "scale must be one of smoke, reduced, paper"),
        (["run", "toy", "--device", "tpu"], "device must be one of cpu, cuda, got 'tpu'"),
        (["run", "toy", "--seeds", "a"], "seeds must be an integer, got 'a'"),
        (["run", "toy", "--seeds", "3-1"], "seeds must count upwards in a range, got '3-1'"),
        (["run", "toy", "--seeds", "1,1"], "seeds must be different integers >= 0, got '1,1'"),
        (["run", "toy", "--set", "learning"], "--set must be key=value, got 'learning'"),
        (["run", "toy", "--set", "carry=1", "--set", "carry=2"], "each key once, got 'carry'"),
        (["run", "toy", "--set", "learning_rat=1"], "did you mean 'learning_rate'?"),
        (["run", "toy", "--set", "learning_rate=big"], "learning_rate must be a number"),
        (["run", "toy", "--set", "hidden_size=1.5"], "hidden_size must be an integer"),
        (["run", "toy", "--set", "carry=perhaps"], "carry must be one of true, false"),
        (["run", "toy", "--set", "scale=paper"], "setting must be one of seeds, learning_rate"),
        (["run", "toy", "--set", "parts=c"], "parts must be one of a, b, got 'c'"),
        (["run", "toy", "--out", "file/below"], "out must be a folder that can be written to"),
        (["run", "toy", "--speed", "9"], "No such option: --speed"),
        (["run", "toy", "--workers", "-1"], "workers must be an integer >= 0, got -1"),
        (["run", "toy", "--workers", "all"], "Invalid value for '--workers'"),
        (["run", "toy", "--budget", "8"], "budget must be a time such as 90s, 8m or 1h30m, got"),
        (["run", "toy", "--budget", "-8m"], "budget must be a time such as"),
        (["run", "toy", "--every", "often"], "every must be a time such as"),
        (["run", "toy", "--missing"], "--missing must stand without NAME"),
        (["run", "--missing", "--seeds", "0"], "--missing must stand without --seeds"),
        (["run", "--missing", "--set", "carry=true"], "--missing must stand without --set"),
        (["run", "--missing", "--scale", "reduced"], "--missing must have no --scale, or paper,"),
        (["run", "--missing", "--out", "file/below"], "out must be a folder that can be written"),
        (["plan", "--scale", "papr"], "did you mean 'paper'?"),
        (["plan", "--device", "tpu"], "device must be one of cpu, cuda, got 'tpu'"),
        (["plan", "--workers", "-1"], "workers must be an integer >= 0, got -1"),
        (["walk"], "No such command 'walk'"),
        (["ledger", "P12-E8"], "claim must be one of the 2 ids"),
        (["ledger", "--paper", "p99"], "paper must be one of p12, p13, got 'p99'"),
        (["ledger", "--verdict", "right"], "verdict must be one of reproduced, "),
        (["ledger", "--records", "absent"], "records must be a folder, got 'absent'"),
        (["ledger", "--write", "absent/x.md"], "--write must name a file in a folder that exists"),
        (["ledger", "--write", "x.md", "--paper", "p12"], "--write must stand without"),
        (["data", "fetch", "notingham"], "did you mean 'nottingham'?"),
    ],
)
def test_an_error_is_one_line_code_2_and_nothing_is_run_or_written(
    rnnlib, tmp_path, arguments, message
):
    (tmp_path / "file").write_text("", encoding="utf-8")
    code, out, err = rnnlib(*arguments)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert out == ""
    assert toy.ran == []
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_device_that_is_not_there_is_an_error_before_anything_runs(rnnlib, monkeypatch, device):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, _, err = rnnlib("run", "toy", "--device", device)
    assert (code, toy.ran) == (2, [])
    assert f"device must be there to be used, got '{device}': " in err


def test_a_device_index_must_exist(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert environment.check_device("cuda:1") == "cuda:1"
    with pytest.raises(ArgumentError, match="index below 2, got 'cuda:2'"):
        environment.check_device("cuda:2")


def test_an_error_of_the_experiment_writes_nothing(rnnlib, monkeypatch, tmp_path):
    def refuse(settings, device):
        raise ArgumentError("learning_rate must be a finite number > 0, got nan")

    monkeypatch.setattr(toy, "jobs", refuse)
    code, out, err = rnnlib("run", "toy", "--set", "learning_rate=nan")
    assert (code, out) == (2, "")
    assert err == "error: learning_rate must be a finite number > 0, got nan\n"
    assert os.listdir(tmp_path) == []


def test_an_interrupt_ends_with_130_and_writes_no_record(rnnlib, monkeypatch, tmp_path):
    def interrupted(self, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Work, "__call__", interrupted)
    code, _, err = rnnlib("run", "toy")
    assert code == 130
    assert err.endswith("interrupted; no record was written in part\n")
    assert list(tmp_path.glob("book/records/*.json")) == []


def test_a_full_disk_is_one_line(rnnlib, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device", ".toy.json.1234.tmp")

    monkeypatch.setattr("rnnlib.records.atomic.replace", full)
    code, _, err = rnnlib("run", "toy")
    assert code == 2
    path = tmp_path / "book" / "records" / "toy-a-reduced.json"
    assert err.splitlines()[-1] == f"error: {path}: No space left on device"


def test_workers_that_are_lost_are_one_line(rnnlib, monkeypatch):
    def lost(self, **_):
        raise WorkersLost("toy-a-reduced lost its processes 3 times in a row")

    monkeypatch.setattr(Work, "__call__", lost)
    code, _, err = rnnlib("run", "toy")
    assert code == 2
    assert err.splitlines()[-1] == "error: toy-a-reduced lost its processes 3 times in a row"


def test_a_fault_of_ours_keeps_its_traceback(rnnlib, monkeypatch):
    def broken(self, **_):
        raise ZeroDivisionError

    monkeypatch.setattr(Work, "__call__", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["run", "toy"])


# What a run will take, and how it is stopped


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), ", about < 1 s at most"),
        (("--scale", "smoke"), ""),  # over before it is estimated
    ],
)
def test_the_plan_is_said_first(rnnlib, arguments, says):
    _, out, _ = rnnlib("run", "toy", *arguments)
    scale = arguments[-1] if arguments else "reduced"
    first = f"toy-a-{scale}: 1 stack of replicas, 7 updates at most, 3.0 GFLOP, 2.0 MiB{says}"
    assert out.splitlines()[0] == first


def test_plan_lists_what_there_is_and_runs_nothing(rnnlib, monkeypatch, tmp_path):
    rnnlib("run", "toy", "--scale", "paper", "--set", "parts=b")
    toy.ran.clear()
    monkeypatch.setattr(plan, "seconds_an_update", lambda unit, seconds, stop: 600.0)
    code, out, _ = rnnlib("plan")
    assert code == 0
    facts = "1 stack of replicas, 7 updates at most, 3.0 GFLOP, 2.0 MiB, about 70.0 min at most"
    assert out.splitlines() == [
        f"toy-a-paper: {facts}  [missing]",
        f"toy-b-paper: {facts}  [recorded]",
        "In all: 2 jobs, 2 stacks, 6.0 GFLOP, about 2.3 h at most, "
        f"on cpu ({hardware_name('cpu')})",
    ]
    assert rnnlib("plan", "--out", "elsewhere")[1].count("[missing]") == 2
    assert toy.ran == []
    assert os.listdir(tmp_path) == ["book"]

    def nothing(settings, device):
        raise DataError("music21 is not installed")

    monkeypatch.setattr(toy, "jobs", nothing)
    assert rnnlib("plan")[:2] == (0, "toy: music21 is not installed\n")


def test_a_plan_of_several_jobs_ends_with_their_total(rnnlib):
    out = rnnlib("run", "toy")[1].splitlines()
    assert [line.partition(":")[0] for line in out[:3]] == [
        "toy-a-reduced",
        "toy-b-reduced",
        "In all",
    ]
    assert out[2].startswith("In all: 2 jobs, 2 stacks, 6.0 GFLOP, about < 1 s at most, on cpu (")
    assert "In all" not in rnnlib("run", "toy", "--set", "parts=b")[1]


def test_a_run_that_goes_on_says_how_much_is_done(rnnlib, monkeypatch):
    def half(self, *, survival):
        survival.restore()
        survival.pause(lambda: {"done": 4})
        return [{"rate": 1.0} for _ in self.settings.seeds]

    monkeypatch.setattr(Work, "__call__", half)
    monkeypatch.setattr(cli, "Deadline", Over)
    out = rnnlib("run", "toy")[1]
    assert "done" not in out.splitlines()[0]
    monkeypatch.setattr(cli, "Deadline", Deadline)
    out = rnnlib("run", "toy")[1].splitlines()
    assert out[0].endswith(", 57 % of it done")  # 4 of 7 updates
    assert "done" not in out[1]


class Over(Deadline):
    """Passes at the second question once a job runs; the first is whether to begin it."""

    def __init__(self, seconds):
        super().__init__(seconds)
        self.questions = 0

    def __call__(self):
        self.questions += 1
        return self.questions > 3  # two calibrations ask as well


def test_what_could_not_be_saved_is_not_said_to_be(rnnlib, monkeypatch):
    def stopped(*_):
        raise Stopped(saved=False)

    monkeypatch.setattr(cli, "execute", stopped)
    code, out, _ = rnnlib("run", "toy")
    assert code == 3
    assert "Not all of what it has done could be saved; what " in out.splitlines()[-1]
    assert "is kept" not in out


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ((), 60),
        (("--budget", "10m"), 30),
        (("--budget", "5h"), 60),
        (("--budget", "10m", "--every", "2m"), 120),
    ],
)
def test_a_budget_bounds_the_interval_between_checkpoints(rnnlib, monkeypatch, options, seconds):
    seen, really = [], cli.execute
    monkeypatch.setattr(
        cli,
        "execute",
        lambda job, folder, means, deadline: (
            seen.append(means.every),
            really(job, folder, means, deadline),
        )[1],
    )
    assert rnnlib("run", "toy", *options)[0] == 0
    assert seen == [seconds, seconds]


def test_what_was_measured_is_kept_until_all_is_done(rnnlib, monkeypatch, tmp_path):
    measured = []
    monkeypatch.setattr(
        plan, "seconds_an_update", lambda unit, *_: measured.append(unit.work.part.name) or 0.01
    )
    toy.endless.add("b")
    assert rnnlib("run", "toy", "--budget", "1s")[0] == 3
    unfinished = tmp_path / "book" / "records" / "unfinished"
    assert sorted(json.loads((unfinished / "speeds.json").read_text()).values()) == [0.01, 0.01]
    toy.endless.clear()
    assert rnnlib("run", "toy", "--budget", "1h")[0] == 0
    assert measured == ["a", "b"]
    assert not unfinished.exists()


def test_a_budget_that_passes_before_an_update_is_made_is_an_error(rnnlib, monkeypatch):
    """Its size is said as it was given; to stop in order would be to do so for ever."""

    def endless(unit, seconds, stop):
        while not stop():
            pass
        return 0.0

    monkeypatch.setattr(plan, "seconds_an_update", endless)
    monkeypatch.setattr(cli, "CALIBRATION", 99.0)
    code, out, err = rnnlib("run", "toy", "--budget", "0.2s")
    assert (code, out) == (2, "")
    assert err == "error: budget must leave time for a few updates, got 0.2s\n"


def test_a_twentieth_of_a_budget_is_for_all_measurements_together(rnnlib, monkeypatch):
    seen = []

    class Noted(plan.Calibration):
        def __init__(self, path, **given):
            seen.append(given["total_s"])
            super().__init__(path, **given)

    monkeypatch.setattr(cli, "Calibration", Noted)
    asked = []
    monkeypatch.setattr(
        plan, "seconds_an_update", lambda unit, seconds, stop: asked.append(seconds) or 0.01
    )
    assert rnnlib("run", "toy", "--budget", "20s")[0] == 0
    assert seen == [1.0]
    assert asked == pytest.approx([0.5, 1.0], abs=0.1)  # half each; what a leaves b may take


def test_a_budget_too_small_for_a_few_updates_is_an_error(rnnlib, monkeypatch, tmp_path):
    monkeypatch.setattr(plan, "seconds_an_update", lambda unit, seconds, stop: 100.0)
    code, _, err = rnnlib("run", "toy", "--budget", "10s")
    assert (code, toy.ran) == (2, [])
    assert err.startswith(
        "error: budget must leave time for a few updates of toy-a-reduced (5.0 min), got 10s\n"
    )
    assert list(tmp_path.glob("book/records/*.json")) == []
    assert rnnlib("run", "toy", "--budget", "1h")[0] == 0


def test_a_sweep_goes_on_with_the_job_in_which_it_was_stopped(rnnlib, tmp_path):
    toy.endless.add("b")
    code, out, err = rnnlib("run", "toy", "--budget", "0.5s")
    folder = tmp_path / "book" / "records"
    assert code == cli.UNFINISHED_CODE == 3
    assert out.splitlines()[-1] == (
        "Stopped in time: toy-b-reduced is unfinished. What it has done is kept in "
        f"{folder / 'unfinished'}; the same command goes on from there."
    )
    assert "error" not in err
    assert [name for _, name in toy.ran] == ["a", "b"]
    toy.endless.clear()
    assert rnnlib("run", "toy")[0] == 0
    assert [name for _, name in toy.ran] == ["a", "b", "b"]
    assert sorted(os.listdir(folder)) == ["toy-a-reduced.json", "toy-b-reduced.json"]
    assert rnnlib("run", "toy")[0] == 0  # which begins from the beginning
    assert [name for _, name in toy.ran] == ["a", "b", "b", "a", "b"]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_stops_a_run_in_order(rnnlib, monkeypatch, name):
    def asked(self, *, survival):
        signal.raise_signal(getattr(signal, name))
        survival.pause(dict)
        raise AssertionError("it went on")

    monkeypatch.setattr(Work, "__call__", asked)
    code, out, _ = rnnlib("run", "toy")
    assert code == 3
    assert f"Stopped on {name}: toy-a-reduced is unfinished." in out


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("arguments", [("toy",), ("--missing",)])
def test_a_signal_in_a_calibration_stops_in_order(rnnlib, monkeypatch, name, arguments):
    """It ends at the next update, whatever else has swallowed the signal."""

    def calibrate(unit, seconds, stop):
        signal.raise_signal(getattr(signal, name))
        assert stop()
        return 0.0

    monkeypatch.setattr(plan, "seconds_an_update", calibrate)
    code, out, err = rnnlib("run", *arguments)
    assert (code, err, toy.ran) == (3, "", [])
    assert out == f"Stopped on {name}: nothing has been run.\n"


def test_a_signal_ends_the_plan_at_the_next_update(rnnlib, monkeypatch):
    calibrated = []

    def calibrate(unit, seconds, stop):
        calibrated.append(unit)
        signal.raise_signal(signal.SIGINT)
        assert stop()
        return 0.0

    monkeypatch.setattr(plan, "seconds_an_update", calibrate)
    code, out, _ = rnnlib("plan")
    assert (code, out, len(calibrated)) == (130, "", 1)


def test_a_record_of_another_version_costs_only_the_verdicts(rnnlib, tmp_path):
    folder = tmp_path / "book" / "records"
    folder.mkdir(parents=True)
    (folder / "toy-z-paper.json").write_text('{"schema_version": 99}', encoding="utf-8")
    code, out, err = rnnlib("run", "toy")
    assert code == 0
    assert out.count("Wrote ") == 2
    assert err.count("No verdicts: ") == 2
    assert "toy-z-paper.json: schema_version must be 1, got 99 (a newer rnnlib wrote it" in err
    assert read(folder / "toy-b-reduced.json").seeds == [0, 1, 2]
    code, _, err = rnnlib("ledger")
    assert (code, err.count("\n")) == (2, 1)


# What is missing


@pytest.fixture
def two(rnnlib, monkeypatch):
    """Two experiments: toy with one claim, a of ten hours, b of one; game with two, of five."""
    game = experiment("game")
    game.SETTINGS["paper"] = dataclasses.replace(game.SETTINGS["paper"], parts=(Part("c"),))
    more = [dataclasses.replace(CLAIMS[0], id=f"P12-G{n}", experiment="game") for n in (1, 2)]
    hours = {"a": 10, "b": 1, "c": 5}
    monkeypatch.setattr("rnnlib.experiments._NAMES", ("toy", "game"))
    monkeypatch.setitem(sys.modules, "rnnlib.experiments.game", game)
    monkeypatch.setattr(sys.modules["rnnlib.claims.p12"], "CLAIMS", [*CLAIMS, *more])
    monkeypatch.setattr(
        plan, "seconds_an_update", lambda unit, *_: hours[unit.work.part.name] * 3600 / 7
    )
    return game


def names_ran():
    return [name for _, name in toy.ran]


def test_missing_runs_what_settles_most_claims_an_hour_first(rnnlib, two, tmp_path):
    """b: half a claim an hour; c: two in five; a: half a claim in ten. All at paper scale."""
    code, out, _ = rnnlib("run", "--missing")
    assert code == 0
    assert toy.ran == [("paper", "b"), ("paper", "c"), ("paper", "a")]
    assert "toy-b-paper: 1 stack of replicas, 7 updates at most" in out.splitlines()[0]
    folder = tmp_path / "book" / "records"
    assert sorted(os.listdir(folder)) == [
        "game-c-paper.json",
        "toy-a-paper.json",
        "toy-b-paper.json",
    ]
    assert rnnlib("run", "--missing")[:2] == (0, f"Nothing is missing in {folder}.\n")
    (folder / "toy-a-paper.json").unlink()
    rnnlib("run", "--missing")
    assert names_ran() == ["b", "c", "a", "a"]


def test_missing_goes_on_where_it_was_stopped(rnnlib, two, monkeypatch, tmp_path):
    toy.endless.add("c")
    really = cli.execute

    def stop_in_c(job, folder, means, deadline):
        if job.variant == "c":
            deadline.asked = "SIGTERM"
        return really(job, folder, means, deadline)

    monkeypatch.setattr(cli, "execute", stop_in_c)
    code, _, _ = rnnlib("run", "--missing")
    folder = tmp_path / "book" / "records"
    assert code == 3
    assert sorted(os.listdir(folder)) == ["toy-b-paper.json", "unfinished"]
    waiting = [path.name for path in (folder / "unfinished").iterdir() if path.is_dir()]
    assert [name.rpartition("-")[0] for name in waiting] == ["game-c-paper"]
    monkeypatch.setattr(cli, "execute", really)
    toy.endless.clear()
    assert rnnlib("run", "--missing")[0] == 0
    assert names_ran() == ["b", "c", "a"]
    assert "unfinished" not in os.listdir(folder)


def test_missing_begins_with_what_is_unfinished(rnnlib, two, monkeypatch, tmp_path):
    """a, which comes last once it is known how long it takes."""

    def begin(self, *, survival):
        survival.stop = lambda: True
        survival.pause(lambda: {"done": 1})

    with monkeypatch.context() as patch:
        patch.setattr(Work, "__call__", begin)
        patch.setattr(
            plan, "seconds_an_update", lambda unit, *_: 0.01 if unit.work.part.name == "a" else 1e6
        )
        assert rnnlib("run", "--missing")[0] == 3
    (tmp_path / "book" / "records" / "unfinished" / "speeds.json").unlink()
    assert rnnlib("run", "--missing")[0] == 0
    assert names_ran() == ["a", "b", "c"]


def test_missing_estimates_by_operations_what_there_is_no_time_to_measure(
    rnnlib, two, monkeypatch, tmp_path
):
    """All of one size: only claims count, and the order of the experiments."""
    monkeypatch.setattr(cli, "CALIBRATION", 0.0)
    monkeypatch.setattr(plan, "seconds_an_update", lambda *_: pytest.fail("no time"))
    assert rnnlib("run", "--missing", "--budget", "1h")[0] == 0
    assert names_ran() == ["c", "a", "b"]


def test_missing_measures_nothing_here_for_a_cluster(rnnlib, two, monkeypatch):
    """A login node has neither the workers' speed nor their device."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(cli, "check_cluster", lambda address: None)
    monkeypatch.setattr(plan, "seconds_an_update", lambda *_: pytest.fail("on this machine"))

    def stopped(*_):
        raise Stopped

    monkeypatch.setattr(cli, "execute", stopped)
    options = ("--device", "cuda", "--cluster", "tcp://here:1")
    code, out, _ = rnnlib("run", "--missing", *options)
    assert code == 3
    assert out.splitlines()[3] == "In all: 3 jobs, 3 stacks, 9.0 GFLOP, on cuda (tcp://here:1)"


def test_missing_leaves_out_what_has_no_data(rnnlib, two, monkeypatch):
    def nothing(settings, device):
        raise DataError("music21 is not installed")

    monkeypatch.setattr(two, "jobs", nothing)
    code, out, _ = rnnlib("run", "--missing")
    assert code == 0
    assert out.splitlines()[0] == "game: left out: music21 is not installed"
    assert names_ran() == ["b", "a"]


# The ledger, the data, this machine


def test_ledger_lists_and_filters(rnnlib):
    code, out, _ = rnnlib("ledger")
    assert code == 0
    assert "… P12-T1   not yet run" in out
    assert "✓ P12-E7   reproduced  1" in out
    for word in ("not-yet-run", "Not yet run"):
        _, out, _ = rnnlib("ledger", "--paper", "P12", "--verdict", word)
        assert "P12-T1" in out
        assert "P12-E7" not in out
        assert "…   1 not yet run" in out


def test_ledger_shows_one_claim_with_its_facts(rnnlib):
    rnnlib("run", "toy")
    _, out, _ = rnnlib("ledger", "p12-t1")
    assert "P12-T1      table, table 1" in out
    assert "verdict     ◐ reproduced at reduced scale" in out
    assert "to run      rnnlib run toy --scale paper" in out


def test_ledger_reads_the_folder_it_is_given_and_names_a_bad_record(rnnlib, tmp_path):
    rnnlib("run", "toy", "--scale", "paper", "--out", "mine")
    assert "✓ P12-T1   reproduced" in rnnlib("ledger", "--records", "mine")[1]
    (tmp_path / "mine" / "toy-a-paper.json").write_text("{}", encoding="utf-8")
    code, _, err = rnnlib("ledger", "--records", "mine")
    assert code == 2
    assert "toy-a-paper.json: schema_version must be 1" in err


def test_ledger_writes_the_page_and_the_summary_in_another(rnnlib, tmp_path):
    other = tmp_path / "index.md"
    other.write_text(f"# Title\n\n{cli.pages.BEGIN}\n{cli.pages.END}\n\nEnd.\n", encoding="utf-8")
    _, out, _ = rnnlib("ledger", "--write", "ledger.md", "--write", "index.md")
    assert out == "Wrote ledger.md\nWrote index.md\n"
    rows = cli.pages.evaluate_all(Records())
    assert (tmp_path / "ledger.md").read_text(encoding="utf-8") == cli.pages.render(rows)
    text = other.read_text(encoding="utf-8")
    assert text.startswith("# Title\n")
    assert text.endswith("End.\n")
    assert cli.pages.summary(rows) in text
    assert rnnlib("ledger", "--write", "index.md")[1] == "Up to date: index.md\n"


def test_data_lists_every_data_set(rnnlib):
    listed = [line.split()[0] for line in rnnlib("data")[1].splitlines()]
    assert listed == list(DATASETS)
    assert rnnlib("data", "list")[1] == rnnlib("data")[1]


def test_data_fetch_says_where_the_data_set_is(rnnlib):
    code, out, _ = rnnlib("data", "fetch", "pydoc-topics")
    assert code == 0
    assert os.path.exists(out.strip())


def test_env_says_what_is_there_and_why_not(rnnlib, monkeypatch):
    monkeypatch.setenv("RNNLIB_DATA", "/some/where")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    found = environment.importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "numba" else found(name)
    )
    code, out, _ = rnnlib("env")
    said = {line.split()[0]: line for line in out.splitlines()}
    assert code == 0
    assert set(said) >= {"python", "rnnlib", "torch", "cpu", "cuda", "triton", "music21"}
    assert "no: " in said["cuda"]
    assert 'not installed (compiled CPU kernels; pip install "rnnlib[numba]")' in said["numba"]
    assert said["RNNLIB_DATA"].endswith("/some/where")
    assert said["RNNLIB_SCALE"].endswith("not set")


def test_env_speaks_of_a_module_whose_package_has_another_name(monkeypatch):
    """Some builds of torch bring triton in a package called pytorch-triton."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())

    def unknown(name):
        raise environment.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", unknown)
    assert environment._optional("triton").startswith("yes")


def test_without_a_command_the_help_is_shown(rnnlib):
    code, out, err = rnnlib()
    assert (code, err) == (0, "")
    assert all(command in out for command in ("run", "plan", "ledger", "data", "env"))


def test_the_module_is_the_command_and_shows_no_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "rnnlib", "run", "temporal_ordr"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: experiment must be one of temporal_order")
    assert done.stderr.count("\n") == 1
