"""What a run says of itself arrives, adds up, and never stops it."""

import functools
import io
import math

import pytest
import torch
from tqdm import tqdm

from rnnlib import progress
from rnnlib.checkpoint import Survival
from rnnlib.models import Elman
from rnnlib.progress import Bar, Standing, noted, noting
from rnnlib.train import train


@pytest.fixture
def terminal(monkeypatch):
    """A terminal to read from."""
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr("tqdm.auto.tqdm", functools.partial(tqdm, file=screen))
    monkeypatch.setattr(progress, "TELL_S", 0.0)
    return screen


def test_a_note_reads_as_it_was_written(tmp_path):
    standing = Standing(3, 10, 0.25, 1, 4)
    noting(tmp_path / "note")(standing)
    assert noted(tmp_path / "note") == standing


def test_a_loss_that_is_not_a_number_survives_the_file(tmp_path):
    noting(tmp_path / "note")(Standing(3, 10, math.nan, 1, 4))
    assert math.isnan(noted(tmp_path / "note").loss)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "3"])
def test_a_note_that_cannot_be_read_is_none(tmp_path, text):
    (tmp_path / "note").write_text(text)
    assert noted(tmp_path / "note") is None
    assert noted(tmp_path / "missing") is None


def test_a_note_that_cannot_be_written_stops_nothing(tmp_path):
    noting(tmp_path / "no folder" / "note")(Standing(3, 10, 0.0, 1, 4))


def test_the_bar_adds_up_its_stacks(terminal):
    with Bar("job", {0: 100, 1: 50}) as bar:
        bar.tell(0, Standing(20, 100, 0.5, 1, 4))
        bar.tell(1, None)
        bar.tell(1, Standing(10, 50, 1.5, 0, 4))
    assert "30/150" in terminal.getvalue()
    assert "loss 1" in terminal.getvalue()
    assert "1/8 solved" in terminal.getvalue()


def test_a_stack_that_ends_early_counts_as_whole(terminal):
    with Bar("job", {0: 100, 1: 50}) as bar:
        bar.tell(0, Standing(20, 100, 0.5, 4, 4))
        bar.end(0, None)
        bar.end(1, Standing(50, 50, math.nan, 0, 4))
    assert "150/150" in terminal.getvalue()
    assert "4/8 solved" in terminal.getvalue()


def test_a_bar_that_is_not_shown_prints_nothing(terminal):
    with Bar("job", {0: 100}, shown=False) as bar:
        bar.tell(0, Standing(20, 100, 0.5, 4, 4))
        bar.end(0, None)
    assert terminal.getvalue() == ""


def test_training_tells_how_far_it_is():
    model = Elman(2, 3, 1, replicas=4).draw_(
        0.1, [torch.Generator().manual_seed(r) for r in range(4)]
    )
    told = []

    def objective(work, step, replicas, carry):
        loss = sum(p.square().flatten(1).sum(1) for p in work.parameters())
        return loss + replicas, None

    def check(work, step, replicas):
        return replicas == 0

    train(
        model,
        objective,
        learning_rate=0.1,
        n_updates=5,
        check=check,
        check_every=2,
        survival=Survival(report=told.append),
    )
    assert told[-1][:2] == (5, 5)
    assert (told[-1].finished, told[-1].networks) == (1, 4)
    assert 2 <= told[-1].loss < 3  # the middle one of replicas 1 to 3
