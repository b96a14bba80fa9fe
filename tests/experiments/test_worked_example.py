"""CONTRIBUTING.md's experiment runs as it stands there, by the path that the book's own take."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from rnnlib import experiments
from rnnlib.checkpoint import Deadline, Stopped
from rnnlib.checks import ArgumentError
from rnnlib.experiments import runner
from rnnlib.experiments.plan import estimate
from rnnlib.records import SCALES

NAME = "initial_scale"
GUIDE = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The example as a file."""
    pattern = rf"```python\n# rnnlib/experiments/{NAME}\.py\n(.*?)```"
    (code,) = re.findall(pattern, GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)
    path = tmp_path / f"{NAME}.py"
    path.write_text(code, encoding="utf-8")
    return path


@pytest.fixture
def example(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The example among the experiments."""
    monkeypatch.setattr(experiments, "_NAMES", (*experiments.names(), NAME))
    monkeypatch.setattr(experiments, "__path__", [*experiments.__path__, str(path.parent)])
    importlib.invalidate_caches()
    yield experiments.load(NAME)
    del sys.modules[f"rnnlib.experiments.{NAME}"]
    delattr(experiments, NAME)


class AfterTwoQuestions(Deadline):
    """Time is up in the middle of the first unit."""

    answers = iter((False, False))

    def __call__(self) -> bool:
        return next(self.answers, True)


def smoke(example: ModuleType) -> list:
    return list(experiments.run(NAME, example.SETTINGS["smoke"], workers=1, progress=False))


def test_the_example_is_short_and_in_style(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 80
    for check in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *check, "--config", GUIDE.parent / "pyproject.toml"]
        done = subprocess.run([*ruff, path], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_the_example_keeps_the_rules_of_an_experiment(example: ModuleType) -> None:
    assert example.TITLE
    assert tuple(example.SETTINGS) == SCALES
    for scale, settings in example.SETTINGS.items():
        assert settings.scale == scale
        assert bool(settings.reduced) == (scale != "paper")
        (job,) = example.jobs(settings, "cpu")
        assert estimate(job, runner.Means(), calibrate_s=0).flops > 0
    with pytest.raises(ArgumentError, match="init_std must be a finite number > 0, got -1"):
        example.jobs(example.Settings("smoke", (0,), (-1.0,), 3), "cpu")


def test_the_example_makes_a_complete_record_and_makes_it_again(example: ModuleType) -> None:
    (record,) = smoke(example)
    assert record.name == "initial_scale-smoke"
    assert [result.condition for result in record.results] == [{"init_std": 0.1}, {"init_std": 0.3}]
    losses = [result.metrics["loss"] for result in record.results]
    assert len({loss for row in losses for loss in row}) == 4  # seeds and scales differ
    assert record.same_result(smoke(example)[0])


def test_the_example_goes_on_where_it_was_stopped(example: ModuleType, tmp_path: Path) -> None:
    (job,) = example.jobs(example.SETTINGS["smoke"], "cpu")
    means = runner.Means(workers=1, progress=False)
    with pytest.raises(Stopped):
        runner.run(job, tmp_path, means, AfterTwoQuestions())
    assert list((tmp_path / runner.UNFINISHED).glob("*/unit-0*"))
    assert runner.run(job, tmp_path, means).same_result(smoke(example)[0])
