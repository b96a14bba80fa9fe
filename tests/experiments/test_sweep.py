"""Spreading work over processes: order, failures, and what the number of cores may not change."""

import time

import pytest
import torch

from rnnlib.checks import ArgumentError
from rnnlib.experiments.sweep import cpu_workers, shares, spread


def square(x):
    assert torch.get_num_threads() == 1
    return x * x


def sleep_or_fail(seconds):
    if seconds < 0:
        raise ArgumentError("seconds must be above zero")
    time.sleep(seconds)


@pytest.mark.parametrize("workers", [1, 2])
def test_values_come_in_the_order_of_the_items(workers):
    threads = torch.get_num_threads()
    assert spread(square, [3, 1, 2], workers=workers) == [9, 1, 4]
    assert torch.get_num_threads() == threads


def test_a_failure_does_not_wait_for_the_others():
    started = time.monotonic()
    with pytest.raises(ArgumentError, match="seconds must be above zero"):
        spread(sleep_or_fail, [300, -1], workers=2)
    assert time.monotonic() - started < 200  # processes may start slowly on a busy machine


def test_shares_follow_from_the_items_and_the_type_of_device():
    assert shares(range(5), 2, "cpu") == [(0, 3), (1, 4), (2,)]
    assert shares(range(5), 2, "cpu:0") == shares(range(5), 2, "cpu")
    assert shares(range(5), 2, "cuda:0") == [(0, 1, 2, 3, 4)]


def test_one_process_a_core_on_a_cpu_and_one_for_a_gpu(monkeypatch):
    monkeypatch.setattr("rnnlib.experiments.sweep.usable_cores", lambda: 7)
    assert [cpu_workers(d) for d in ("cpu", "cpu:0", "cuda", "cuda:1")] == [7, 7, 1, 1]
