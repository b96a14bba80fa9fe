"""The command ``rnnlib``: run an experiment, print the ledger, fetch data, describe the machine."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rnnlib import atomic, experiments
from rnnlib.checks import ArgumentError, one_of
from rnnlib.claims import PAPERS, find, papers
from rnnlib.claims import ledger as pages
from rnnlib.claims.claim import Row, Verdict, duration, evaluate
from rnnlib.environment import check_device, describe
from rnnlib.overrides import assignments, override, parse_seeds, selections
from rnnlib.records import SCALES, Record, RecordError, Records, default_folder, write
from rnnlib.tasks.data import DATASETS, DataError, available, fetch

OWN_RUNS = Path("records")
"""Where smoke runs and runs with changed settings go: they must replace no record of the book."""

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="List the data sets, or fetch one.", rich_markup_mode=None)
app.add_typer(data_app, name="data")


@app.callback(invoke_without_command=True)
def overview(context: typer.Context) -> None:
    """Experiments, records and verdicts of the book Why RNNs Are Hard to Train."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def run(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(experiments.names())}.")],
    scale: Annotated[
        str, typer.Option(help=f"{', '.join(SCALES)}.", envvar="RNNLIB_SCALE")
    ] = "reduced",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seeds: Annotated[str, typer.Option(help="Such as 0-15 or 0,1,2.")] = "",
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="key=value; may be given again.")
    ] = None,
    out: Annotated[str, typer.Option(help="Folder for the record.")] = "",
) -> None:
    """Run an experiment, write its record and say which claims it settles."""
    module = experiments.load(name)
    one_of("scale", scale, SCALES)
    check_device(device)
    preset = module.SETTINGS[scale]
    settings, own = _settings(preset, seeds, assignments(changes or []))
    folder = Path(out) if out else OWN_RUNS if own or scale == "smoke" else default_folder()
    _check_writable(folder)
    records = []
    for record in module.run(settings, device=device, progress=True):
        records.append(record)
        path = write(record, folder)  # at once: what is finished is not lost with what is not
        size = f"{_count(record.seeds, 'seed')}, {_count(record.results, 'condition')}"
        cost = f"{duration(record.wall_time_s)} on {record.hardware}"
        typer.echo(f"Wrote {path}: {record.scale}, {size}, {cost}.")
    _say_verdicts(name, records, folder)


@app.command()
def ledger(
    claim: Annotated[str, typer.Argument(help="A claim such as P12-E7; without: all.")] = "",
    paper: Annotated[str, typer.Option(help=f"{', '.join(PAPERS)}.")] = "",
    verdict: Annotated[str, typer.Option(help="Such as reproduced or wrong-as-printed.")] = "",
    records: Annotated[str, typer.Option(help="Folder of the records.")] = "",
    write_to: Annotated[
        list[str] | None,
        typer.Option("--write", help="Write the ledger page, or renew the summary in another."),
    ] = None,
) -> None:
    """Check the claims against the records and print the verdicts."""
    if write_to and (claim or paper or verdict):
        raise ArgumentError("--write must stand without CLAIM, --paper and --verdict")
    for page in write_to or []:
        if not Path(page).absolute().parent.is_dir():
            raise ArgumentError(f"--write must name a file in a folder that exists, got {page!r}")
    if paper:
        one_of("paper", paper.lower(), PAPERS)
    wanted = _verdict(verdict) if verdict else None
    chosen = find(claim) if claim else None
    known = Records.load(_records_folder(records))
    if chosen is not None:
        _print_claim(evaluate(chosen, known))
        return
    rows = pages.evaluate_all(known, paper.lower() or None)
    if write_to:
        for page in write_to:
            _write_page(Path(page), rows)
        return
    for row in rows:
        if wanted in (None, row.verdict):
            typer.echo(_line(row))
    typer.echo()
    for each in Verdict:
        n = sum(row.verdict is each for row in rows)
        if n and wanted in (None, each):
            typer.echo(f"{each.mark} {n:3d} {each}")


@data_app.callback(invoke_without_command=True)
def data(context: typer.Context) -> None:
    """List the data sets, or fetch one."""
    if context.invoked_subcommand is None:
        list_data()


@data_app.command("list")
def list_data() -> None:
    """List the data sets and whether they are on this machine."""
    for name, dataset in DATASETS.items():
        state = "here" if available(name) else "not here"
        typer.echo(f"{name:15s} {state:9s} {dataset.what}")


@data_app.command("fetch")
def fetch_data(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(DATASETS)}.")],
) -> None:
    """Make a data set present, checked against its pinned hash, and say where it is."""
    typer.echo(str(fetch(one_of("data set", name, DATASETS))))


@app.command()
def env() -> None:
    """Say what this machine and this installation can do."""
    for name, text in describe():
        typer.echo(f"{name:13s} {text}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; a user's error is one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a mark shows a question mark instead of failing.
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
    try:
        code = app(arguments, prog_name="rnnlib", standalone_mode=False)
    except (ArgumentError, DataError, RecordError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'file'}: {error.strerror or error}")
    except Exception as error:
        # Wrong options: some versions of typer bring their own click, so no class can be named.
        if not hasattr(error, "format_message"):
            raise
        _fail(error.format_message())
    if code == 130:
        print("interrupted; no record was written in part", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def _settings(preset: Any, seeds: str, changes: dict[str, str]) -> tuple[Any, bool]:
    """Return the settings to run and whether they differ from the book's.

    A run at paper scale with other settings is no longer the paper's: it is labelled reduced.
    """
    settings = override(preset, changes)
    if seeds:
        settings = dataclasses.replace(settings, seeds=parse_seeds(seeds))
    kept = {field: getattr(settings, field) for field in selections(preset)}
    own = dataclasses.replace(preset, **kept) != settings
    if own and getattr(preset, "scale", "smoke") != "smoke":
        said = [f"{key}={value}" for key, value in changes.items()]
        said += [f"seeds={seeds}"] if seeds else []
        reduced = f"settings changed by hand: {', '.join(said)}"
        if preset.reduced:
            reduced = f"{preset.reduced}; {reduced}"
        settings = dataclasses.replace(settings, scale="reduced", reduced=reduced)
    return settings, own


def _check_writable(folder: Path) -> None:
    """Refuse a folder that cannot take a record before hours are spent on it."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError:
        message = f"out must be a folder that can be written to, got {str(folder)!r}"
        raise ArgumentError(message) from None


def _say_verdicts(name: str, new: list[Record], folder: Path) -> None:
    if all(record.scale == "smoke" for record in new):
        typer.echo("A smoke run settles no claim.")
        return
    records = Records.load(folder)
    rows = [
        evaluate(claim, records)
        for claims in papers().values()
        for claim in claims
        if claim.experiment == name
    ]
    typer.echo(f"Claims that rest on {name}, by the records in {folder}:")
    for row in rows:
        typer.echo(f"  {_line(row)}")


def _records_folder(given: str) -> Path:
    folder = Path(given) if given else default_folder()
    if given and not folder.is_dir():
        raise ArgumentError(f"records must be a folder, got {given!r}")
    return folder


def _verdict(text: str) -> Verdict:
    slug = text.strip().lower().replace(" ", "-")
    one_of("verdict", slug, [verdict.slug for verdict in Verdict])
    return next(verdict for verdict in Verdict if verdict.slug == slug)


def _write_page(path: Path, rows: list[Row]) -> None:
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    text = pages.embed(old, rows) if pages.BEGIN in old else pages.render(rows)
    if text != old:
        atomic.replace(path, text.encode())
    typer.echo(f"{'Wrote' if text != old else 'Up to date:'} {path}")


def _count(things: Sequence[object], word: str) -> str:
    return f"{len(things)} {word}{'s' if len(things) != 1 else ''}"


def _line(row: Row) -> str:
    ours = f"  {row.ours}" if row.ours not in ("", "–") else ""
    return f"{row.verdict.mark} {row.claim.id:8s} {row.verdict}{ours}"


def _print_claim(row: Row) -> None:
    claim = row.claim
    facts = {
        claim.id: f"{claim.kind}, {claim.where}",
        "statement": claim.statement,
        "paper": claim.paper,
        "ours": row.ours,
        "verdict": f"{row.verdict.mark} {row.verdict}",
        "what holds": claim.repair,
        "note": claim.note,
        "scale": row.scale,
        "cost": f"{row.cost} on {row.hardware}",
        "to run": f"rnnlib run {claim.experiment} --scale paper" if claim.experiment else "",
    }
    for name, text in facts.items():
        if text:
            typer.echo(f"{name:11s} {text}")
