"""The committed notebooks say what the chapters say, and nbval notices a number that moved."""

from __future__ import annotations

import ast
import copy
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

import notebooks

CHAPTERS = notebooks.chapters()

by_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)


def committed(chapter: Path) -> NotebookNode:
    return nbformat.read(chapter.with_suffix(".ipynb"), as_version=4)


def plain(notebook: NotebookNode) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Id, kind, source and metadata of each cell, the address left out."""
    address = notebooks.ADDRESS_LINE
    return [
        (cell.id, cell.cell_type, address.sub("ADDRESS", cell.source), dict(cell.metadata))
        for cell in notebook.cells
    ]


def test_there_are_chapters() -> None:
    assert "01_exploding_gradient" in {path.stem for path in CHAPTERS}


@by_chapter
def test_same_cells(chapter: Path) -> None:
    fresh = notebooks.from_text(chapter)
    assert plain(committed(chapter)) == plain(fresh), "run 'make notebooks'"


@by_chapter
def test_the_notebook_was_run_to_its_end(chapter: Path) -> None:
    code = [cell for cell in committed(chapter).cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code if cell.source.strip()]
    assert counts == list(range(1, len(counts) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert outputs


@by_chapter
def test_the_notebook_holds_nothing_of_the_machine(chapter: Path) -> None:
    text = chapter.with_suffix(".ipynb").read_text(encoding="utf-8")
    for trace in (r"/(home|root|tmp|Users)/\w", r"\d{4}-\d\d-\d\dT\d\d:\d\d"):
        assert not re.search(trace, text), trace


@by_chapter
def test_the_chapter_starts_with_the_contributors_cell(chapter: Path, root: Path) -> None:
    guide = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (cell,) = re.findall(
        r"```\{code-cell\} ipython3\n:tags: \[remove-cell\]\n\n(.*?)\n```", guide, flags=re.DOTALL
    )
    first = next(c for c in notebooks.from_text(chapter).cells if c.cell_type == "code")
    assert first.source == cell
    assert first.metadata.tags == ["remove-cell"]
    assert len(notebooks.ADDRESS_LINE.findall(cell)) == 1


@by_chapter
def test_marked_numbers(chapter: Path) -> None:
    """Each chapter has numbers that are compared."""
    assert len(marked(committed(chapter))) >= 5


def marked(notebook: NotebookNode) -> list[int]:
    """The cells that nbval compares and that print a number."""
    return [
        index
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code"
        and "nbval-check-output" in cell.metadata.get("tags", [])
        and any(re.search(r"\d", o.get("text", "")) for o in cell.outputs)
    ]


def with_one_digit_changed(notebook: NotebookNode, index: int) -> NotebookNode:
    """A copy in which the last digit that cell ``index`` printed is another."""
    changed = copy.deepcopy(notebook)
    output = next(o for o in changed.cells[index].outputs if re.search(r"\d", o.get("text", "")))
    *_, last = re.finditer(r"\d", output.text)
    other = str((int(last[0]) + 1) % 10)
    output.text = output.text[: last.start()] + other + output.text[last.end() :]
    return changed


@pytest.fixture
def nbval(root: Path, tmp_path: Path) -> Callable[[NotebookNode], subprocess.CompletedProcess[str]]:
    """Run `make test`'s nbval on a copy that sees the book's other files beside it."""
    for entry in (root / "book").iterdir():
        if entry.suffix != ".ipynb":
            (tmp_path / entry.name).symlink_to(entry)

    def check(notebook: NotebookNode) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "copy.ipynb"
        nbformat.write(notebook, path)
        options = ["-q", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env"]
        sanitize = root / "tests" / "book" / "sanitize.cfg"
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                *options,
                f"--nbval-sanitize-with={sanitize}",
                f"--rootdir={tmp_path}",
                "-c",
                "/dev/null",
                str(path),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return check


def test_nbval_fails_when_a_number_changes(nbval: Any) -> None:
    printed = new_output("stream", name="stdout", text="slope 0.0488 after 50 steps, 12 s\n")
    cell = new_code_cell(
        "print('slope 0.0488 after 50 steps,', 13, 's')",
        outputs=[printed],
        execution_count=1,
        metadata={"tags": ["nbval-check-output"]},
    )
    notebook = new_notebook(cells=[cell], metadata=notebooks.METADATA)
    good = nbval(notebook)
    assert good.returncode == 0, good.stdout  # the time differs, and is not compared
    printed.text = printed.text.replace("0.0488", "0.0489")
    bad = nbval(notebook)
    assert bad.returncode == 1, bad.stdout
    assert "0.0489" in bad.stdout


@by_chapter
def test_nbval_guards_the_committed_numbers(chapter: Path, nbval: Any) -> None:
    """Cut the notebook after its first marked cell; it passes, and with another digit fails."""
    notebook = committed(chapter)
    first = marked(notebook)[0]
    notebook.cells = notebook.cells[: first + 1]
    good = nbval(notebook)
    assert good.returncode == 0, good.stdout
    bad = nbval(with_one_digit_changed(notebook, first))
    assert bad.returncode == 1, bad.stdout
    assert "1 failed" in bad.stdout


def first_cell(root: Path) -> str:
    guide = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return guide.split(":tags: [remove-cell]\n\n")[1].split("\n```")[0]


@pytest.fixture
def colab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """A machine without rnnlib: the commands that the first cell runs are kept, not run."""
    commands: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rnnlib-book" / "book").mkdir(parents=True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("subprocess.run", lambda command, check: commands.append(command))
    return commands


def test_the_first_cell_installs_the_stamped_revision(
    root: Path, colab: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BOOK_REPOSITORY_URL", "https://example.org/a/b.git/")
    monkeypatch.setenv("BOOK_REVISION", "0123abc")
    stamped = notebooks.with_address(new_notebook(cells=[new_code_cell(first_cell(root))]))
    exec(stamped.cells[0].source, {})
    assert colab[1][-2:] == ["https://example.org/a/b", "0123abc"]
    pip = [command for command in colab if "pip" in command]
    assert pip[-1][-2:] == ["--no-deps", "./rnnlib-book"]
    assert not [word for command in pip for word in command if word.startswith(("torch", "numpy"))]
    assert Path.cwd() == tmp_path / "rnnlib-book" / "book"


def test_the_first_cell_covers_the_core_dependencies(root: Path) -> None:
    import tomllib

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    core = {re.split(r"\W", line)[0] for line in project["dependencies"]} - {"torch", "numpy"}
    words = {n.value for n in ast.walk(ast.parse(first_cell(root))) if isinstance(n, ast.Constant)}
    assert core <= words


def test_without_an_address_the_first_cell_says_what_to_set(
    root: Path, colab: list[list[str]]
) -> None:
    with pytest.raises(ImportError, match="write its repository's address"):
        exec(first_cell(root), {})
    assert colab == []


def test_the_first_cell_does_nothing_where_rnnlib_is(root: Path) -> None:
    before = Path.cwd()
    exec(first_cell(root), {})
    assert Path.cwd() == before
