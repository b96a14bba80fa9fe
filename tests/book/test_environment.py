"""One list of versions for everybody: pyproject.toml, requirements.txt, environment.yml agree."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PLATFORM = re.compile(r"^(nvidia-|cuda-|triton$|colorama$|appnope$|pywin|greenlet$)")
"""Packages that torch and others ask for on some machines only; pip chooses them itself."""


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def lock(root: Path) -> dict[str, str]:
    pins: dict[str, str] = {}
    for line in (root / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line)
        assert match, f"every line must be NAME==VERSION, got {line!r}"
        name = canonicalize_name(match[1])
        assert name not in pins, f"{name} is pinned twice"
        pins[name] = match[2]
    return pins


def asked_for(project: dict[str, Any], *extras: str) -> list[Requirement]:
    """What the project itself and these extras ask for; an extra of ours is followed."""
    lines = [*project["dependencies"]]
    lines += [line for extra in extras for line in project["optional-dependencies"][extra]]
    found = []
    for requirement in map(Requirement, lines):
        if requirement.name == project["name"]:
            found += asked_for(project, *requirement.extras)
        else:
            found.append(requirement)
    return found


def test_the_lock_fits_the_project(project: dict[str, Any], lock: dict[str, str]) -> None:
    for requirement in asked_for(project, "book", "test"):
        version = lock[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} but {version} is pinned"


def test_the_lock_is_complete(project: dict[str, Any], lock: dict[str, str]) -> None:
    """Follow what the installed packages ask for; each must be pinned."""
    todo = asked_for(project, "book", "test")
    seen = set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if PLATFORM.match(name):
            continue
        assert name in lock, f"{name} is needed and not in requirements.txt"
        try:
            needed = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{name} is not installed here")
        for extra in requirement.extras or {""}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                nested = map(Requirement, needed)
                todo += [r for r in nested if not r.marker or r.marker.evaluate({"extra": extra})]
    assert len(seen) > 50


def test_the_lock_leaves_triton_out(lock: dict[str, str]) -> None:
    assert "triton" not in lock
    assert Version(lock["torch"]) >= Version("2.6")


def test_conda_users_get_the_locked_versions(root: Path, project: dict[str, Any]) -> None:
    environment = yaml.safe_load((root / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == project["name"]
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    # By reference: pip reads the very file that make installs, so the two cannot differ.
    assert pip == ["-r requirements.txt", "-e ."]
    assert "pip" in conda
    (python,) = [entry for entry in conda if entry.startswith("python=")]
    assert Requirement(f"x{project['requires-python']}").specifier.contains(
        python.removeprefix("python=") + ".0"
    )


def test_no_upper_bound_can_replace_a_torch(project: dict[str, Any]) -> None:
    """Colab and GPU machines bring a torch and a numpy; ours must accept them."""
    for requirement in map(Requirement, project["dependencies"]):
        assert {s.operator for s in requirement.specifier} == {">="}, str(requirement)


def test_versions_agree(root: Path, project: dict[str, Any]) -> None:
    import rnnlib

    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    assert project["dynamic"] == ["version"]
    assert citation["version"] == rnnlib.__version__


def test_widget_scripts_are_package_data(root: Path) -> None:
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["setuptools"]["package-data"]["rnnlib.widgets"] == ["*.js"]


def test_the_readme_example_runs(root: Path) -> None:
    (example,) = re.findall(
        r"```python\n(.*?)```", (root / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL
    )
    exec(compile(example, "README.md", "exec"), {})


def test_the_readme_shows_an_existing_picture(root: Path) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    (picture,) = re.findall(r"!\[[^\]]{40,}\]\(([^)]+)\)", text)
    assert (root / picture).exists()
