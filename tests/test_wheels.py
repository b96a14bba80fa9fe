"""A machine without a package index: the wheels it needs are named, fetched, and enough."""

from __future__ import annotations

import importlib.metadata
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rnnlib import environment, wheels
from rnnlib.checks import ArgumentError
from rnnlib.records import Records

ROOT = wheels.ROOT


def asked(name: str) -> set[str]:
    """The installed packages that ``name`` asks for on this machine."""
    found = set()
    for line in importlib.metadata.requires(name) or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found.add(canonicalize_name(requirement.name))
    return found


def with_all_it_needs(*names: str) -> set[str]:
    found, todo = set(), set(names)
    while todo:
        name = todo.pop()
        found.add(name)
        todo |= asked(name) - found
    return found


def names(pins: list[str]) -> set[str]:
    return {canonicalize_name(pin.split("==")[0]) for pin in pins}


def test_pins_are_what_the_library_needs_beside_torch() -> None:
    found = names(wheels.pins())
    assert found >= {"pydantic", "pydantic-core", "typer", "tqdm", "pooch", "filelock", "requests"}
    assert not found & {"torch", "numpy", "sympy", "networkx", "setuptools", "triton", "music21"}
    for name in found:
        assert asked(name) <= found | wheels.ITS_OWN, name
    assert set(wheels.pins()) <= set((ROOT / "requirements.txt").read_text().splitlines())


def test_pins_follow_the_other_machine_and_what_is_added() -> None:
    assert wheels.pins("3.12", "aarch64") == wheels.pins("3.12", "x86_64")
    more = names(wheels.pins(also=["pytest", "hypothesis"])) - names(wheels.pins())
    assert more >= {"pytest", "hypothesis", "pluggy", "sortedcontainers"}


def test_a_marker_is_judged_for_the_other_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        importlib.metadata,
        "requires",
        lambda name: ['idna; python_version < "3.12"', "six; extra == 'old'"],
    )
    assert "idna" in names(wheels.pins("3.11"))
    assert "idna" not in names(wheels.pins("3.12"))


def test_a_package_without_a_pin_or_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ArgumentError, match=r"must be in requirements.txt, got 'no-such-thing'"):
        wheels.pins(also=["no_such_thing"])

    def absent(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", absent)
    with pytest.raises(ArgumentError, match="must be installed here to be asked, got 'filelock'"):
        wheels.pins()


def test_pip_fetches_exactly_the_pins_and_old_wheels_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[list[str]] = []

    def download(command: list[str], **_: object) -> None:
        called.append(command)
        folder = Path(command[command.index("--dest") + 1])
        (folder / "new.whl").write_bytes(b"1" * 1000)

    monkeypatch.setattr(wheels.subprocess, "run", download)
    monkeypatch.setattr(wheels, "source_size", lambda: 2_000_000)
    (tmp_path / "old.whl").write_bytes(b"")
    (tmp_path / "mine.txt").write_bytes(b"")
    options = ["--python", "3.12", "--machine", "aarch64", "--to", str(tmp_path), "--pre"]
    wheels.main(options)
    assert sorted(os.listdir(tmp_path)) == ["mine.txt", "new.whl"]
    (command,) = called
    assert command[-len(wheels.pins("3.12")) :] == wheels.pins("3.12")
    assert {"--no-deps", "--pre", "3.12", "manylinux_2_28_aarch64"} <= {*command}
    assert capsys.readouterr().out == f"1 wheels in {tmp_path}: 0.0 MB; source 2.0 MB\n"
    monkeypatch.setattr(wheels, "LIMIT", 2_000_999)
    with pytest.raises(SystemExit, match="must stay below 2 MB"):
        wheels.main(options)


def test_a_failed_download_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **_: object) -> None:
        raise subprocess.CalledProcessError(7, command)

    monkeypatch.setattr(wheels.subprocess, "run", fail)
    (tmp_path / "old.whl").write_bytes(b"")
    with pytest.raises(SystemExit) as ended:
        wheels.main(["--to", str(tmp_path)])
    assert ended.value.code == 7
    assert os.listdir(tmp_path) == ["old.whl"]


def test_the_size_of_the_source_is_that_of_a_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its history, which holds what the last commit no longer does."""
    tree, clone = tmp_path / "tree", tmp_path / "clone"
    (tree / "rnnlib").mkdir(parents=True)
    (tree / "rnnlib" / "a.py").write_bytes(b"1" * 1000)
    (tree / "old").write_bytes(random.Random(0).randbytes(100_000))
    (tree / "untracked").write_bytes(b"1" * 5000)
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (
        ["init", "-q", "."],
        ["add", "rnnlib", "old"],
        [*who, "commit", "-qm", "One"],
        ["rm", "-q", "old"],
        [*who, "commit", "-qm", "Two"],
        ["clone", "-q", ".", str(clone)],
    ):
        subprocess.run(["git", "-C", str(tree), *command], check=True)
    monkeypatch.setattr(wheels, "ROOT", tree)
    objects = [path for path in (clone / ".git" / "objects").rglob("*") if path.is_file()]
    carried = [clone / "rnnlib" / "a.py", *objects]
    assert wheels.source_size() == sum(path.stat().st_size for path in carried) > 101_000


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (("0123456789abcdef", False), "0123456789ab"),
        (("0123456789abcdef", True), "0123456789ab, with changes that no commit holds"),
        ((None, None), "unknown: no git, or no repository; records will not say what made them"),
    ],
)
def test_a_machine_says_which_commit_its_records_would_name(
    monkeypatch: pytest.MonkeyPatch, state: tuple[str | None, bool | None], said: str
) -> None:
    monkeypatch.setattr(environment, "git_state", lambda: state)
    assert ("commit", said) in environment.describe()


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with torch, NumPy, what they ask for, and the collected wheels; no more.

    ``python -S`` sees no site-packages of its own; torch's lie in a folder of links.
    """
    folder = tmp_path_factory.mktemp("offline")
    got = subprocess.run(
        [sys.executable, "-m", "rnnlib.wheels", "--to", str(folder / "wheels")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    if got.returncode:
        message = f"pip cannot fetch the wheels here: {got.stderr.strip().splitlines()[-1]}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    found = sorted(map(str, (folder / "wheels").glob("*.whl")))
    subprocess.run([*pip, "--target", str(folder / "site"), *found], check=True, timeout=300)
    (folder / "torch").mkdir()
    for name in with_all_it_needs("torch", "numpy"):
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # asked for by a build of torch for another machine
        for top in {file.parts[0] for file in distribution.files or []} - {".."}:
            link = folder / "torch" / top
            if not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))))
    path = [ROOT, folder / "site", folder / "torch"]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "RNNLIB", "COV"))}
    return kept | {"PYTHONPATH": os.pathsep.join(map(str, path)), "OMP_NUM_THREADS": "1"}


def python(offline: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-S", *arguments],
        capture_output=True,
        text=True,
        env=offline,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheels_and_a_torch_are_enough(offline: dict[str, str], tmp_path: Path) -> None:
    """In an interpreter that can import nothing else, a run leaves a record that is read here."""
    bare = (
        "import importlib.util as u, torch, pydantic; print(u.find_spec('pytest'), torch.__path__)"
    )
    seen = python(offline, "-c", bare)
    assert seen.startswith("None ")
    assert "/torch/torch" in seen
    assert "\ntorch " in python(offline, "-m", "rnnlib", "env")
    run = ("-m", "rnnlib", "run", "temporal_order", "--scale", "smoke", "--workers", "2")
    out = python(offline, *run, "--out", str(tmp_path))
    assert "A smoke run settles no claim." in out
    assert {record.scale for record in Records.load(tmp_path)} == {"smoke"}
