"""Write each chapter as an executed notebook beside it: Colab's target and nbval's reference.

    python book/_ext/notebooks.py [NAME ...]    run these chapters (all if none is named)
    python book/_ext/notebooks.py --stamp       put address and revision in, run nothing

The same chapter, code and machine give the same bytes: cell ids come from the position, and
times, widget states and the machine's own metadata are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from pathlib import Path

import jupytext
import nbformat
import yaml
from nbclient import NotebookClient
from nbformat import NotebookNode

import repository
from progress import reporter

BOOK = repository.ROOT / "book"

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

ADDRESS_LINE = re.compile(r'^REPOSITORY, REVISION = "[^"]*", "[^"]*"$', flags=re.MULTILINE)
"""The one line of a chapter's first cell that is written here and may differ from the text."""


def chapters() -> list[Path]:
    """The pages of ``_toc.yml`` that hold code cells, in the book's order."""
    toc = yaml.safe_load((repository.ROOT / "_toc.yml").read_text(encoding="utf-8"))
    names = [toc["root"], *(entry["file"] for entry in toc["chapters"])]
    pages = [repository.ROOT / f"{name}.md" for name in names]
    return [p for p in pages if p.exists() and "```{code-cell}" in p.read_text(encoding="utf-8")]


def from_text(path: Path) -> NotebookNode:
    """Read a chapter as a notebook without outputs, with stable ids and bare metadata."""
    notebook = jupytext.read(path)
    for index, cell in enumerate(notebook.cells):
        cell["id"] = hashlib.sha256(f"{path.stem} {index}".encode()).hexdigest()[:12]
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def with_address(notebook: NotebookNode) -> NotebookNode:
    """Put the repository's address and revision into the first code cell, in place."""
    line = f'REPOSITORY, REVISION = "{repository.address()}", "{repository.revision()}"'
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = ADDRESS_LINE.sub(lambda _: line, cell.source, count=1)
            break
    return notebook


def executed(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Run every cell in ``folder`` and keep what it shows, nothing about when or how fast."""
    NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
        on_cell_execute=reporter(notebook),
    ).execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [shown(output) for output in joined(cell.outputs)]
    return notebook


def joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join neighbouring pieces of one stream: how a stream is cut depends on timing."""
    merged: list[NotebookNode] = []
    for output in outputs:
        previous = merged[-1] if merged else None
        if (
            previous is not None
            and output.output_type == previous.output_type == "stream"
            and output.name == previous.name
        ):
            previous.text += output.text
        else:
            merged.append(output)
    return merged


def shown(output: NotebookNode) -> NotebookNode:
    """Drop what a reader without our kernel cannot use and what changes from run to run."""
    if "data" in output:
        # A live widget needs its kernel; its plain-HTML or picture twin stays.
        output.data.pop("application/vnd.jupyter.widget-view+json", None)
    if output.output_type == "stream":
        # A progress bar's last state is what a reader would have seen.
        output.text = "\n".join(line.rsplit("\r", 1)[-1] for line in output.text.split("\n"))
    return output


def write(notebook: NotebookNode, path: Path) -> None:
    """Write ``notebook`` if it differs from what lies at ``path``."""
    nbformat.validate(notebook)
    text = nbformat.writes(notebook) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        print(f"{path.name}: unchanged", file=sys.stderr)
        return
    path.write_text(text, encoding="utf-8")
    print(f"{path.name}: written", file=sys.stderr)


def main() -> None:
    """Read the command line and write the notebooks."""
    parser = argparse.ArgumentParser(description="Write the chapters as notebooks.")
    parser.add_argument("names", nargs="*", help="chapters such as 01_exploding_gradient")
    parser.add_argument("--stamp", action="store_true", help="only renew address and revision")
    options = parser.parse_args()
    known = {path.stem: path for path in chapters()}
    for name in options.names:
        if name not in known:
            parser.error(f"name must be one of {', '.join(known)}, got {name!r}")
    if not repository.address():
        print(repository.UNKNOWN, file=sys.stderr)
    for name in options.names or known:
        target = BOOK / f"{name}.ipynb"
        print(f"{name}:", file=sys.stderr)
        if options.stamp:
            write(with_address(nbformat.read(target, as_version=4)), target)
        else:
            write(executed(with_address(from_text(known[name])), BOOK), target)


if __name__ == "__main__":
    main()
