"""Where a result comes from: the commit of the code, the hardware, the time."""

from __future__ import annotations

import re
import subprocess

import pytest

from rnnlib import provenance


def test_git_state_tells_a_commit_from_changes_and_from_no_repository(tmp_path):
    assert provenance.git_state(tmp_path) == (None, None)

    def git(*arguments):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True
        )

    try:
        git("init")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    package = tmp_path / "package"
    package.mkdir()
    (package / "a.py").write_text("1\n", encoding="utf-8")
    assert provenance.git_state(package) == (None, None)  # no commit yet
    git("add", ".")
    git("commit", "-m", "x")
    commit, dirty = provenance.git_state(package)
    assert commit is not None
    assert len(commit) == 40
    assert dirty is False
    assert provenance.has_commit(commit, package) is True
    assert provenance.has_commit("0" * 40, package) is False
    assert provenance.has_commit(commit, tmp_path.parent) is None
    (tmp_path / "record.json").write_text("{}", encoding="utf-8")
    assert provenance.git_state(package) == (commit, False)  # beside the code: does not count
    (package / "a.py").write_text("2\n", encoding="utf-8")
    assert provenance.git_state(package) == (commit, True)
    installed = tmp_path / "site-packages"
    installed.mkdir()
    assert provenance.git_state(installed) == (None, None)  # inside, but not tracked


def test_a_gpu_is_called_by_its_name(monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: f"a GPU, {device}")
    assert provenance.hardware_name("cuda:1") == "a GPU, cuda:1"
    assert re.fullmatch(r".+, \d+ cores?", provenance.hardware_name("cpu"))


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.git_state() == (None, None)


def test_time_is_utc_to_the_second():
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", provenance.utc_now())
