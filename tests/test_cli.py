"""The command: what it writes, and that a user's error is one line, code 2, nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from dataclasses import dataclass

import pytest

from rnnlib import cli, environment
from rnnlib.checks import ArgumentError
from rnnlib.claims.claim import Claim, Verdict
from rnnlib.records import Records, make, read
from rnnlib.tasks.data import DATASETS


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


def run_toy(settings, *, device="cpu", progress=True):
    toy.calls.append(settings)
    return [
        make(
            "toy",
            settings.scale,
            settings,
            settings.seeds,
            [{"condition": {}, "metrics": {"rate": [1.0] * len(settings.seeds)}}],
            wall_time_s=2.0,
            device=device,
            variant=part.name,
            reduced=settings.reduced,
        )
        for part in settings.parts
    ]


toy = types.SimpleNamespace(
    TITLE="a toy",
    SETTINGS={
        "smoke": Settings("smoke"),
        "reduced": Settings("reduced", reduced="everything"),
        "paper": Settings("paper"),
    },
    run=run_toy,
    calls=[],
)

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
    monkeypatch.setattr(cli, "default_folder", lambda: tmp_path / "book" / "records")
    toy.calls.clear()

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main(list(arguments))
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return call


def test_run_writes_the_record_and_says_what_follows(rnnlib, tmp_path):
    code, out, err = rnnlib("run", "toy")
    assert (code, err) == (0, "")
    folder = tmp_path / "book" / "records"
    assert sorted(os.listdir(folder)) == ["toy-a-reduced.json", "toy-b-reduced.json"]
    assert read(folder / "toy-a-reduced.json").seeds == [0, 1, 2]
    assert "toy-a-reduced.json: reduced, 3 seeds, 1 condition, 2 s on" in out
    assert "◐ P12-T1   reproduced at reduced scale  1.0" in out
    assert "P12-E7" not in out  # mathematics does not rest on this experiment


def test_scale_comes_from_the_option_or_the_environment(rnnlib, monkeypatch):
    _, out, _ = rnnlib("run", "toy", "--scale", "paper")
    assert "✓ P12-T1   reproduced  1.0" in out
    monkeypatch.setenv("RNNLIB_SCALE", "smoke")
    _, out, _ = rnnlib("run", "toy")
    assert "A smoke run settles no claim." in out
    assert [settings.scale for settings in toy.calls] == ["paper", "smoke"]


def test_smoke_runs_and_changed_settings_stay_out_of_the_books_folder(rnnlib, tmp_path):
    for arguments in (
        ("--scale", "smoke"),
        ("--seeds", "0-1"),
        ("--set", "learning_rate=0.2"),
    ):
        assert rnnlib("run", "toy", *arguments)[0] == 0
    assert not (tmp_path / "book").exists()
    assert (tmp_path / "records" / "toy-a-smoke.json").exists()
    record = read(tmp_path / "records" / "toy-a-reduced.json")
    assert record.settings["learning_rate"] == 0.2
    assert record.reduced == "everything; settings changed by hand: learning_rate=0.2"


def test_a_changed_paper_run_is_no_longer_at_paper_scale(rnnlib, tmp_path):
    code, out, _ = rnnlib("run", "toy", "--scale", "paper", "--seeds", "0,5", "--out", "here")
    assert code == 0
    assert sorted(os.listdir("here")) == ["toy-a-reduced.json", "toy-b-reduced.json"]
    assert read("here/toy-a-reduced.json").reduced == "settings changed by hand: seeds=0,5"
    assert "reproduced at reduced scale" in out


def test_choosing_parts_changes_no_result(rnnlib, tmp_path):
    assert rnnlib("run", "toy", "--scale", "paper", "--set", "parts=b")[0] == 0
    assert os.listdir(tmp_path / "book" / "records") == ["toy-b-paper.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "tyo"], "experiment must be one of toy, got 'tyo'; did you mean 'toy'?"),
        (["run"], "Missing argument"),
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
        (["walk"], "No such command 'walk'"),
        (["ledger", "P12-E8"], "claim must be one of the 2 ids"),
        (["ledger", "--paper", "p99"], "paper must be one of p12, got 'p99'"),
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
    assert toy.calls == []
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_device_that_is_not_there_is_an_error_before_anything_runs(rnnlib, monkeypatch, device):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, _, err = rnnlib("run", "toy", "--device", device)
    assert (code, toy.calls) == (2, [])
    assert f"device must be there to be used, got '{device}': " in err


def test_a_device_index_must_exist(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert environment.check_device("cuda:1") == "cuda:1"
    with pytest.raises(ArgumentError, match="index below 2, got 'cuda:2'"):
        environment.check_device("cuda:2")


def test_an_error_of_the_experiment_writes_nothing(rnnlib, monkeypatch, tmp_path):
    def refuse(settings, **_):
        raise ArgumentError("learning_rate must be a finite number > 0, got nan")

    monkeypatch.setattr(toy, "run", refuse)
    code, out, err = rnnlib("run", "toy", "--set", "learning_rate=nan")
    assert (code, out) == (2, "")
    assert err == "error: learning_rate must be a finite number > 0, got nan\n"
    assert os.listdir(tmp_path) == []


def test_an_interrupt_ends_with_130_and_writes_nothing(rnnlib, monkeypatch, tmp_path):
    def interrupted(settings, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(toy, "run", interrupted)
    code, out, err = rnnlib("run", "toy")
    assert (code, out) == (130, "")
    assert err == "interrupted; no record was written in part\n"
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_one_line(rnnlib, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "records/toy.json")

    monkeypatch.setattr("rnnlib.records.atomic.replace", full)
    code, _, err = rnnlib("run", "toy")
    assert (code, err) == (2, "error: records/toy.json: No space left on device\n")


def test_a_fault_of_ours_keeps_its_traceback(rnnlib, monkeypatch):
    def broken(settings, **_):
        raise ZeroDivisionError

    monkeypatch.setattr(toy, "run", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["run", "toy"])


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
    assert all(command in out for command in ("run", "ledger", "data", "env"))


def test_the_module_is_the_command_and_shows_no_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "rnnlib", "run", "temporal_ordr"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: experiment must be one of temporal_order")
    assert done.stderr.count("\n") == 1
