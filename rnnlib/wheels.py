"""Collect the wheels that rnnlib needs beside torch, for a machine without a package index.

    python -m rnnlib.wheels [--python 3.12] [--machine x86_64] [--also pytest ...] [--to FOLDER]

Further options are handed to ``pip download``.
What is needed follows from ``pyproject.toml`` and from what the packages installed here ask for;
the versions are those of ``requirements.txt``. torch and NumPy, and what torch alone asks for,
are the other machine's own and never among them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from rnnlib.checks import ArgumentError

ROOT = Path(__file__).resolve().parent.parent

ITS_OWN = {"torch", "numpy"}
"""What a machine with a torch has; another build could not use its GPU."""

LIMIT = 30e6
"""Bytes that wheels and source may have together: they must fit where little may be carried."""

_GLIBC = range(17, 29)  # torch itself needs 2.28


def pins(python: str = "", machine: str = "", also: Iterable[str] = ()) -> list[str]:
    """Return ``name==version`` for each package that rnnlib needs, sorted.

    Args:
        python: version it is for, such as "3.12"; empty: the running one.
        machine: processor of a Linux machine it is for, such as "x86_64"; empty: this machine.
        also: further packages, with what they need.

    Raises:
        ArgumentError: for a package that is not in ``requirements.txt`` or not installed here.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    locked: dict[str, str] = {
        canonicalize_name(line.split("==")[0]): line for line in lines if "==" in line
    }
    target: dict[str, str] = {}
    if python:
        target |= {"python_version": python, "python_full_version": f"{python}.0"}
    if machine:
        target |= {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
        target |= {"platform_machine": machine}
    found: set[tuple[str, str]] = set()
    todo = [(Requirement(line), "") for line in (*project["dependencies"], *also)]
    while todo:
        requirement, extra = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in ITS_OWN:
            continue
        if requirement.marker and not requirement.marker.evaluate({**target, "extra": extra}):
            continue
        if name not in locked:
            raise ArgumentError(f"packages must be in requirements.txt, got {name!r}")
        for wanted in ("", *requirement.extras):
            if (name, wanted) in found:
                continue
            found.add((name, wanted))
            try:
                asked = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                message = f"packages must be installed here to be asked, got {name!r}"
                raise ArgumentError(message) from None
            todo += [(Requirement(line), wanted) for line in asked]
    return sorted({locked[name] for name, _ in found})


def collect(
    folder: Path,
    python: str = "",
    machine: str = "",
    also: Iterable[str] = (),
    pip: Iterable[str] = (),
) -> list[Path]:
    """Fill ``folder`` with the wheels of `pins`, and with no others; return their paths.

    ``pip`` are further options of ``pip download``, such as an index.

    Raises:
        ArgumentError: as `pins` does.
        subprocess.CalledProcessError: if pip cannot get one of them; ``folder`` is as it was.
    """
    wanted = pins(python, machine, also)
    options = ["--no-deps", "--only-binary", ":all:", "--quiet"]
    if python:
        options += ["--python-version", python, "--implementation", "cp"]
    if machine:
        tags = [f"manylinux_2_{n}_{machine}" for n in _GLIBC] + [f"manylinux2014_{machine}"]
        options += [word for tag in tags for word in ("--platform", tag)]
    with tempfile.TemporaryDirectory() as fresh:
        command = [sys.executable, "-m", "pip", "download", "--dest", fresh, *options]
        subprocess.run([*command, *pip, *wanted], check=True)
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.whl"):
            old.unlink()
        for wheel in sorted(Path(fresh).glob("*.whl")):
            shutil.move(wheel, folder)
    return sorted(folder.glob("*.whl"))


def source_size() -> int:
    """Return the bytes of a clone, history included, or of the library where there is no git."""
    git = ["git", "-C", str(ROOT)]
    try:
        listed = subprocess.check_output([*git, "ls-files", "-z"], stderr=subprocess.DEVNULL)
        common = subprocess.check_output([*git, "rev-parse", "--git-common-dir"], text=True)
        paths = [ROOT / os.fsdecode(name) for name in listed.split(b"\0") if name]
        paths += (ROOT / common.strip() / "objects").rglob("*")
    except (OSError, subprocess.CalledProcessError):
        paths = list(Path(__file__).parent.rglob("*.py"))
    return sum(path.stat().st_size for path in paths if path.is_file())


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, collect the wheels, say and check how large it all is."""
    parser = argparse.ArgumentParser(prog="python -m rnnlib.wheels", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--python", default="", help="version of the other machine's Python")
    parser.add_argument("--machine", default="", help="its processor, if it is a Linux machine")
    parser.add_argument("--also", nargs="*", default=[], help="further packages")
    parser.add_argument("--to", type=Path, default=ROOT / "_build" / "wheels")
    options, pip = parser.parse_known_args(arguments)
    try:
        wheels = collect(options.to, options.python, options.machine, options.also, pip)
    except ArgumentError as error:
        parser.error(str(error))
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    size = sum(wheel.stat().st_size for wheel in wheels)
    source = source_size()
    print(
        f"{len(wheels)} wheels in {options.to}: {size / 1e6:.1f} MB; source {source / 1e6:.1f} MB"
    )
    if size + source > LIMIT:
        sys.exit(f"error: together they must stay below {LIMIT / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
