"""Records from elsewhere: what belongs is merged, what does not is refused, all or nothing."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rnnlib import cli, records, records_import
from rnnlib.checks import ArgumentError
from rnnlib.claims.claim import Claim, Verdict
from rnnlib.experiments.jobs import Job
from rnnlib.records import Record, RecordError, Records
from rnnlib.tasks.data import DataError

COMMIT = "0123456789" * 4


@dataclasses.dataclass(frozen=True)
class Settings:
    scale: str
    seeds: tuple[int, ...] = (0, 1, 2)
    parts: tuple[str, ...] = ("a", "b")
    limit: float = float("inf")
    rates: tuple[float, ...] = (0.1, 0.2)
    reduced: str = ""


def toy_jobs(settings: Settings, device: str) -> list[Job]:
    if "unavailable" in settings.parts:
        raise DataError("unavailable: cannot be had here")
    return [
        Job(
            experiment="toy",
            variant=part,
            scale=settings.scale,
            settings={"part": part, "limit": settings.limit, "rates": settings.rates},
            seeds=settings.seeds,
            units=(),
            conditions=[{}],
            collect=lambda parts: [],
            reduced=settings.reduced,
        )
        for part in settings.parts
    ]


TOY = types.SimpleNamespace(
    SETTINGS={
        "smoke": Settings("smoke", reduced="everything"),
        "reduced": Settings("reduced", seeds=(0, 1), reduced="two seeds"),
        "paper": Settings("paper"),
    },
    jobs=toy_jobs,
)

CLAIM = Claim(
    "P12-T1",
    "table",
    "table 1",
    "A toy.",
    ours="{rate}",
    measure=lambda found: {"rate": min(found[0].results[0].metrics["rate"])},
    judge=lambda v: Verdict.REPRODUCED if v["rate"] == 1 else Verdict.NOT_REPRODUCED,
    experiment="toy",
    variants=("a",),
)


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """One experiment, one claim that rests on it, and code that a commit holds."""
    monkeypatch.setattr("rnnlib.experiments._NAMES", ("toy",))
    monkeypatch.setitem(sys.modules, "rnnlib.experiments.toy", TOY)
    monkeypatch.setitem(sys.modules, "rnnlib.claims.p12", types.SimpleNamespace(CLAIMS=[CLAIM]))
    monkeypatch.setattr("rnnlib.records.git_state", lambda: (COMMIT, False))
    monkeypatch.setattr("rnnlib.records_import.has_commit", lambda commit: commit == COMMIT)


def a_record(scale: str = "paper", variant: str = "a", rate: float = 1.0, **changes) -> Record:
    known = TOY.SETTINGS[scale]
    jobs = {job.variant: job for job in toy_jobs(known, "cpu")}
    job = jobs.get(variant, jobs["a"])
    fields = {
        "experiment": "toy",
        "variant": variant,
        "scale": scale,
        "settings": job.settings,
        "seeds": job.seeds,
        "results": [{"condition": {}, "metrics": {"rate": [rate] * len(job.seeds)}}],
        "wall_time_s": 7200.0,
        "device": "cpu",
        "reduced": job.reduced,
    }
    return records.make(**fields | changes)


def edited(path: Path, **changes) -> Path:
    """Change fields of a record's file by hand."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | changes))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def refusal(path: Path, folder: Path, **options) -> str:
    """The one reason why ``path`` is refused; nothing may have been written."""
    before = contents(folder)
    found = records_import.examine([path], folder, **options)
    (line,) = found.refused
    with pytest.raises(RecordError):
        records_import.merge(found, folder)
    assert contents(folder) == before
    assert "\n" not in line
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


@pytest.fixture
def away(tmp_path: Path) -> Path:
    """Where the records were made."""
    return tmp_path / "away"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where they are to go."""
    return tmp_path / "home"


def test_records_and_their_curves_are_merged_and_verdicts_follow(away: Path, home: Path) -> None:
    records.write(a_record("reduced"), home)
    records.write(a_record(curves={"norm": np.arange(3.0)}), away)
    records.write(a_record(variant="b"), away)
    found = records_import.examine([away], home)
    assert [record.name for record in found.new] == ["toy-a-paper", "toy-b-paper"]
    assert (found.here, found.refused, found.replaced) == ((), (), ())
    (change,) = found.changed
    assert [row.verdict for row in change] == [Verdict.REDUCED, Verdict.REPRODUCED]
    assert list(contents(home)) == ["toy-a-reduced.json"]  # so far nothing is written
    records_import.merge(found, home)
    for name, content in contents(away).items():
        assert (home / name).read_bytes() == content
    assert len(Records.load(home)) == 3


def test_what_is_here_already_stays_whatever_the_clock_said(away: Path, home: Path) -> None:
    records.write(a_record(wall_time_s=5.0), home)
    before = contents(home)
    records.write(a_record(), away)
    for replace in (False, True):
        found = records_import.examine([away], home, replace=replace)
        assert [record.name for record in found.here] == ["toy-a-paper"]
        assert (found.new, found.refused, found.verdicts) == ((), (), ())
        records_import.merge(found, home)
        assert contents(home) == before


def test_another_result_is_refused_unless_it_is_to_replace(away: Path, home: Path) -> None:
    records.write(a_record(curves={"norm": np.arange(3.0)}), home)
    path = records.write(a_record(rate=0.0), away)
    assert refusal(path, home) == (f"{home} has another result under this name; see --replace")
    found = records_import.examine([path], home, replace=True)
    assert [row.verdict for row in found.changed[0]] == [
        Verdict.REPRODUCED,
        Verdict.NOT_REPRODUCED,
    ]
    records_import.merge(found, home)
    assert contents(home) == contents(away)  # the old curves are gone


def test_a_file_given_twice_is_one_and_two_results_of_a_name_are_none(
    away: Path, home: Path, tmp_path: Path
) -> None:
    path = records.write(a_record(), away)
    found = records_import.examine([path, away], home)
    assert (len(found.new), found.refused) == (1, ())
    other = records.write(a_record(rate=0.5), tmp_path / "other")
    found = records_import.examine([path, other], home, replace=True)
    assert found.refused == (f"{other}: another file given has another result under this name",)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"experiment": "tyo"}, "experiment must be one of toy, got 'tyo'; did you mean 'toy'?"),
        ({"variant": "c"}, "variant must be one of a, b, got 'c'"),
        ({"scale": "smoke"}, "scale must be reduced or paper, got 'smoke'"),
        ({"seeds": (0, 1, 3)}, "seeds.2 must be 2 at this scale, got 3"),
        ({"seeds": (2, 1, 0)}, "seeds.0 must be 0 at this scale, got 2"),
        (
            {"settings": {"part": "a", "limit": float("inf"), "rates": (0.1, 0.3)}},
            "settings.rates.1 must be 0.2 at this scale, got 0.3",
        ),
        (
            {"settings": {"part": "a", "limit": 3.0, "rates": (0.1, 0.2)}},
            "settings.limit must be 'Infinity' at this scale, got 3.0",
        ),
        (
            {"settings": {"part": "a"}},
            "settings must be {'part': 'a', 'limit': 'Infinity', 'rates': [0.1, 0.2]} at this "
            "scale, got {'part': 'a'}",
        ),
    ],
)
def test_what_is_not_of_this_version_is_refused(
    away: Path, home: Path, changes: dict[str, object], reason: str
) -> None:
    assert refusal(records.write(a_record(**changes), away), home, allow_dirty=True) == reason


def test_fewer_and_more_seeds_are_refused(away: Path, home: Path) -> None:
    for seeds in ((0, 1), (0, 1, 2, 3)):
        result = [{"condition": {}, "metrics": {"rate": [1.0] * len(seeds)}}]
        path = records.write(a_record(seeds=seeds, results=result), away)
        reason = f"seeds must be [0, 1, 2] at this scale, got {list(seeds)}"
        assert refusal(path, home) == reason


def test_a_run_with_settings_changed_by_hand_is_refused(away: Path, home: Path) -> None:
    said = "two seeds; settings changed by hand: rates=0.1,0.2"
    path = records.write(a_record("reduced", reduced=said), away)
    assert refusal(path, home) == f"reduced must be 'two seeds' at this scale, got {said!r}"


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ((None, None), "no commit"),
        ((COMMIT, True), "changes that no commit holds"),
        ((COMMIT, None), "changes that no commit holds"),
    ],
)
def test_code_that_no_commit_holds_must_be_allowed(
    away: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: tuple[str | None, bool | None],
    found: str,
) -> None:
    monkeypatch.setattr("rnnlib.records.git_state", lambda: state)
    path = records.write(a_record(), away)
    assert refusal(path, home) == f"code must be that of a commit, got {found}; see --allow-dirty"
    assert records_import.examine([path], home, allow_dirty=True).refused == ()


def test_what_is_no_valid_record_is_refused(away: Path, home: Path) -> None:
    path = records.write(a_record(curves={"norm": np.arange(3.0)}), away)
    (curves,) = away.glob("*.npz")
    curves.write_bytes(curves.read_bytes()[:-1])
    assert "must have SHA-256" in refusal(path, home)
    curves.unlink()
    assert "No such file" in refusal(path, home)
    path = records.write(a_record(), away)
    for field, value in (("hostname", "x"), ("seeds", []), ("schema_version", 2)):
        assert field in refusal(edited(path, **{field: value}), home)
        records.write(a_record(), away)
    renamed = path.rename(away / "toy-a-paper (1).json")
    assert refusal(renamed, home) == "its content asks for the name toy-a-paper.json"
    renamed.write_text('{"schema_version": 1,')
    assert refusal(renamed, home).startswith("not a JSON file: ")


def test_settings_that_cannot_be_compared_here_are_refused(
    away: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only if the record's own data set is not there."""
    settings = dataclasses.replace(TOY.SETTINGS["paper"], parts=("a", "unavailable"))
    path = records.write(a_record(), away)
    other = records.write(a_record(variant="unavailable"), away)
    monkeypatch.setitem(TOY.SETTINGS, "paper", settings)
    assert records_import.examine([path], home).refused == ()
    assert refusal(other, home) == "unavailable: cannot be had here"


def test_results_that_no_claim_can_read_are_refused(away: Path, home: Path) -> None:
    """Otherwise every later look at the ledger would fail."""
    result = [{"condition": {}, "metrics": {"rat": [1.0] * 3}}]
    path = records.write(a_record(results=result), away)
    found = records_import.examine([path], home)
    (line,) = found.refused
    assert line.startswith("P12-T1 cannot be judged with them: RecordError: P12-T1: toy-a-paper")
    assert line.endswith("lacks what the check reads: KeyError('rate')")


def test_one_that_does_not_belong_keeps_all_out(away: Path, home: Path) -> None:
    records.write(a_record(), away)
    bad = records.write(a_record("smoke"), away)
    found = records_import.examine([away], home)
    assert [line.partition(": ")[0] for line in found.refused] == [str(bad)]
    with pytest.raises(RecordError, match="scale must be reduced or paper"):
        records_import.merge(found, home)
    assert contents(home) == {}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_the_folder_as_it_was(
    away: Path, home: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    curves = {"norm": np.arange(3.0)}
    records.write(a_record(curves=curves), home)
    before = contents(home)
    records.write(a_record("reduced", curves=curves), away)
    records.write(a_record(rate=0.0, curves={"norm": np.arange(4.0)}), away)
    records.write(a_record(variant="b"), away)
    found = records_import.examine([away], home, replace=True)
    assert len(found.new) == 3
    write: Callable[[Record, Path], Path] = records.write

    def fail_at_the_last(record: Record, folder: Path) -> Path:
        if record.variant == "b":
            raise error
        return write(record, folder)

    monkeypatch.setattr(records, "write", fail_at_the_last)
    with pytest.raises(type(error)):
        records_import.merge(found, home)
    assert contents(home) == before


@pytest.mark.parametrize("name", ["absent.json", "empty"])
def test_a_path_without_a_record_is_an_error(tmp_path: Path, home: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArgumentError, match=f"FILE must .*{name}"):
        records_import.examine([tmp_path / name], home)


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Path
) -> Callable[..., tuple[object, str, str]]:
    monkeypatch.setattr(cli, "default_folder", lambda: home)

    def call(*arguments: object) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["records", *map(str, arguments)])
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return call


def test_the_command_says_what_it_did(command, away: Path, home: Path) -> None:
    path = records.write(a_record(), away)
    code, out, err = command("import", away)
    assert (code, err) == (0, "")
    assert f"Imported {home / path.name}: paper, 3 seeds, 1 condition, 2.0 h on " in out
    assert out.endswith("✓ P12-T1   reproduced, before: not yet run\n")
    assert command("import", path)[1] == "Already here: toy-a-paper\n"
    records.write(a_record(variant="b"), away)
    assert command("import", away)[1].endswith("No verdict changes.\n")
    records.write(a_record(rate=0.0), away)
    assert "Replaced" in command("import", path, "--replace")[1]
    to = home / "elsewhere"
    assert command("import", away, "--to", to)[0] == 0
    assert contents(to) == contents(away)


def test_the_command_refuses_a_line_each(command, away: Path, home: Path) -> None:
    records.write(a_record(), away)
    records.write(a_record("smoke"), away)
    records.write(a_record("smoke", variant="b"), away)
    code, out, err = command("import", away)
    assert (code, out) == (2, "")
    refused = err.splitlines()
    assert [line.startswith("refused: ") for line in refused] == [True, True, False]
    assert refused[-1] == "error: nothing was imported: 2 refusals"
    assert not home.exists()


def test_the_command_lists_the_records(command, home: Path) -> None:
    assert command("list") == (0, "", "")
    records.write(a_record(), home)
    record = records.write(a_record("reduced", variant="b", wall_time_s=90.0), home)
    code, out, _ = command("list")
    assert code == 0
    name, scale, day, number, unit = out.splitlines()[1].split()[:5]
    assert (name, scale, number, unit) == (record.stem, "reduced", "90", "s")
    assert day == records.read(record).utc[:10]
    assert records.read(record).hardware in out
    assert command()[1] == out
    assert command("list", home)[1] == out
    assert command("list", home / "absent")[0] == 2


def test_the_books_own_records_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preset that has changed since its record was made must not go unnoticed."""
    monkeypatch.undo()
    checked = 0
    for record in Records.load(records.default_folder()):
        try:
            records_import.check_belongs(record)
        except DataError:
            continue  # the data set is not on this machine
        checked += 1
    assert checked >= 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"results": [{"condition": c, "metrics": {"rate": [1.0] * 3}} for c in ({}, {"n": 1})]},
            "conditions must be [{}] at this scale, got [{}, {'n': 1}]",
        ),
        (
            {"results": [{"condition": {"dataset": "b"}, "metrics": {"rate": [1.0] * 3}}]},
            "conditions.0 must be {} at this scale, got {'dataset': 'b'}",
        ),
        ({"versions": {"rnnlib": "0.0.1"}}, "versions.rnnlib must be "),
        ({"versions": {}}, "versions.rnnlib must be "),
        ({"device": "teapot"}, "device must be one of cpu, cuda, got 'teapot'"),
        ({"utc": "2999-01-01T00:00:00Z"}, "utc must not lie in the future, got '2999"),
        ({"utc": "2026-13-01T00:00:00Z"}, "utc must be a date and time, got '2026-13"),
        ({"git_commit": "0" * 40}, "git_commit must be one of this repository, got 0000"),
    ],
)
def test_what_no_run_of_this_version_can_have_said_is_refused(
    away: Path, home: Path, changes: dict, message: str
) -> None:
    path = edited(records.write(a_record(), away), **changes)
    assert refusal(path, home).startswith(message)


def test_a_metric_that_one_condition_lacks_is_refused(
    away: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [{"n": 1}, {"n": 2}]
    monkeypatch.setattr(
        TOY, "jobs", lambda *a: [dataclasses.replace(j, conditions=both) for j in toy_jobs(*a)]
    )
    metrics = ({"rate": [1.0] * 3, "norm": [1.0] * 3}, {"rate": [1.0] * 3})
    results = [{"condition": c, "metrics": m} for c, m in zip(both, metrics, strict=True)]
    path = records.write(a_record(results=results), away)
    assert refusal(path, home).startswith("metrics must be the same in all conditions, got [['n")
