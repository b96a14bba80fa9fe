"""Say which cell of a chapter is running, so that a build of minutes does not look stuck."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Callable
from typing import Any

import jupyter_cache.executors.utils as executors
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode


def reporter(notebook: NotebookNode) -> Callable[..., None]:
    """A hook for nbclient's ``on_cell_execute``: one line a code cell, with the time so far."""
    total = sum(cell.cell_type == "code" for cell in notebook.cells)
    begun = time.monotonic()
    count = 0

    def report(*, cell: NotebookNode, cell_index: int) -> None:
        nonlocal count
        if cell.cell_type != "code":
            return
        count += 1
        lines = [line for line in cell.source.splitlines() if line.strip()]
        code = next((line for line in lines if not line.lstrip().startswith(("#", "%"))), "")
        elapsed = time.monotonic() - begun
        print(f"  {elapsed:5.0f} s  cell {count} of {total}: {code[:60]}", file=sys.stderr)

    return report


def report_during_build() -> None:
    """Make jupyter-cache report its cells; leave out widget states, which no page of ours reads."""
    plain = executors.executenb

    def execute(notebook: NotebookNode, **options: Any) -> NotebookNode:
        options.setdefault("store_widget_state", False)
        try:
            return plain(notebook, on_cell_execute=reporter(notebook), **options)
        except CellExecutionError as error:
            # Sphinx prints three tracebacks after this one; what matters comes last as well.
            atexit.register(print, f"\n{error}", file=sys.stderr)
            raise

    executors.executenb = execute
