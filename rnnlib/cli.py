"""The command ``rnnlib``: experiments, ledger, benchmark of the kernels, data, this machine."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from rnnlib import atomic, bench, experiments, records_import
from rnnlib.checkpoint import Deadline, Stopped
from rnnlib.checks import ArgumentError, at_least, one_of
from rnnlib.claims import PAPERS, find, papers
from rnnlib.claims import ledger as pages
from rnnlib.claims.claim import Row, Verdict, duration, evaluate
from rnnlib.environment import check_device, describe
from rnnlib.experiments.jobs import Job
from rnnlib.experiments.plan import Calibration, Estimate, estimate, quantity, seconds_of
from rnnlib.experiments.runner import (
    SPEEDS,
    UNFINISHED,
    Means,
    WorkersLost,
    check_cluster,
    forget,
    share_done,
    tidy,
)
from rnnlib.experiments.runner import run as execute
from rnnlib.overrides import assignments, override, parse_seeds, same_choice
from rnnlib.provenance import hardware_name
from rnnlib.records import SCALES, Record, RecordError, Records, default_folder, read, write
from rnnlib.schema import to_json
from rnnlib.tasks.data import DATASETS, DataError, available, fetch

OWN_RUNS = Path("records")
"""Where smoke runs and runs with changed settings go: they must replace no record of the book."""

UNFINISHED_CODE = 3
"""Exit code of a run that stopped in order before it was done."""

CALIBRATION = 0.05
"""Share of a budget that may be spent on finding out what a run will take."""

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="List the data sets, or fetch one.", rich_markup_mode=None)
app.add_typer(data_app, name="data")
records_app = typer.Typer(help="List the records, or import some.", rich_markup_mode=None)
app.add_typer(records_app, name="records")


@app.callback(invoke_without_command=True)
def overview(context: typer.Context) -> None:
    """Experiments, records and verdicts of the book Why RNNs Are Hard to Train."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def run(
    name: Annotated[
        str, typer.Argument(help=f"One of: {', '.join(experiments.names())}.", show_default=False)
    ] = "",
    scale: Annotated[
        str,
        typer.Option(help=f"{', '.join(SCALES)}.", envvar="RNNLIB_SCALE", show_default="reduced"),
    ] = "",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seeds: Annotated[str, typer.Option(help="Such as 0-15 or 0,1,2.")] = "",
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="key=value; may be given again.")
    ] = None,
    out: Annotated[str, typer.Option(help="Folder for the record.")] = "",
    budget: Annotated[str, typer.Option(help="Stop in order after this long: 90s, 8m, 2h.")] = "",
    missing: Annotated[
        bool, typer.Option("--missing", help="What the book lacks at paper scale, best first.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes at a time; 0: one a core.")] = 0,
    cluster: Annotated[str, typer.Option(help="Address of a Dask scheduler.")] = "",
    every: Annotated[
        str,
        typer.Option(
            help="Time between checkpoints.", show_default="1m, at most a 20th of the budget"
        ),
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite records of other settings or seeds.")
    ] = False,
) -> None:
    """Run an experiment, write its records and say which claims they settle.

    Interrupted (Ctrl-C, a budget, a crash), the same command goes on where it stopped.
    """
    check_device(device, here=not cluster)
    at_least("workers", workers, 0)
    limit = seconds_of("budget", budget) if budget else math.inf
    interval = seconds_of("every", every) if every else min(60.0, limit / 20)
    means = Means(device=device, workers=workers, cluster=cluster, every=interval)
    deadline = Deadline(limit)
    if cluster:
        check_cluster(cluster)
    if missing:
        for given, what in ((name, "NAME"), (seeds, "--seeds"), (changes, "--set")):
            if given:
                raise ArgumentError(f"--missing must stand without {what}")
        if scale not in ("", "paper"):
            raise ArgumentError(f"--missing must have no --scale, or paper, got {scale!r}")
        folder = Path(out) if out else default_folder()
    else:
        if not name:
            raise ArgumentError(f"NAME must be one of {', '.join(experiments.names())}, got none")
        module = experiments.load(name)
        scale = one_of("scale", scale or "reduced", SCALES)
        settings, own = _settings(module.SETTINGS[scale], seeds, assignments(changes or []))
        folder = Path(out) if out else OWN_RUNS if own or scale == "smoke" else default_folder()
    _check_writable(folder)
    calibration = Calibration(
        folder / UNFINISHED / SPEEDS, total_s=CALIBRATION * limit, stop=deadline
    )
    with deadline.listening():
        try:
            if missing:
                jobs = _by_value(means, folder, calibration)
            else:
                jobs = module.jobs(settings, device)
                if not replace:
                    for job in jobs:
                        _check_same_run(job, folder)
            guesses = _say_plan(jobs, folder, means, calibration)
        except Stopped:
            if deadline.asked:
                raise _stopped(deadline, "nothing has been run.") from None
            raise ArgumentError(f"budget must leave time for a few updates, got {budget}") from None
        if not jobs:
            typer.echo(f"Nothing is missing in {folder}.")
            return
        least = 3 * guesses[0].update_s
        if not deadline.asked and deadline.left < least:
            raise ArgumentError(
                f"budget must leave time for a few updates of {jobs[0].name} ({duration(least)}), "
                f"got {budget}"
            )
        _run_all(jobs, folder, means, deadline, once=missing)
    for job in jobs:
        forget(job, folder, means)
    tidy(folder)


def _run_all(
    jobs: list[Job], folder: Path, means: Means, deadline: Deadline, *, once: bool
) -> None:
    """Run each job and say what it settles; stop in time.

    Args:
        once: after a stop, the command will not ask again for what it has done already.
    """
    for job in jobs:
        try:
            record = execute(job, folder, means, deadline)
        except Stopped as stopped:
            place = folder / UNFINISHED
            kept = f"What it has done is kept in {place}; the same command goes on from there."
            if not stopped.saved:
                kept = (
                    f"Not all of what it has done could be saved; what {place} holds is older, "
                    "and the same command goes on from there."
                )
            raise _stopped(deadline, f"{job.name} is unfinished. {kept}") from None
        typer.echo(f"Wrote {folder / record.name}.json: {_said_of(record)}.")
        _say_verdicts(job.experiment, [record], folder)
        if once:
            forget(job, folder, means)


def _stopped(deadline: Deadline, what: str) -> typer.Exit:
    typer.echo(f"Stopped {f'on {deadline.asked}' if deadline.asked else 'in time'}: {what}")
    return typer.Exit(UNFINISHED_CODE)


@app.command(name="plan")
def plan_all(
    scale: Annotated[str, typer.Option(help=f"{', '.join(SCALES)}.")] = "paper",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    workers: Annotated[int, typer.Option(help="Processes at a time; 0: one a core.")] = 0,
    out: Annotated[str, typer.Option(help="Folder of the records.")] = "",
) -> None:
    """Say what every experiment would take at a scale, and whether its record is there."""
    one_of("scale", scale, SCALES)
    check_device(device)
    at_least("workers", workers, 0)
    means, folder = Means(device=device, workers=workers), Path(out) if out else default_folder()
    deadline, guesses = Deadline(), []
    calibration = Calibration(stop=deadline)
    for name in experiments.names():
        module = experiments.load(name)
        try:
            jobs = module.jobs(module.SETTINGS[scale], device)
        except DataError as error:
            typer.echo(f"{name}: {error}")
            continue
        for job in jobs:
            try:
                with deadline.listening():
                    guess = estimate(job, means, calibration=calibration)
            except Stopped:
                raise KeyboardInterrupt from None
            state = "recorded" if _recorded(job, folder) else "missing"
            typer.echo(f"{_plan_line(job, guess)}  [{state}]")
            guesses.append(guess)
    _say_total(guesses, means)


def _by_value(means: Means, folder: Path, calibration: Calibration) -> list[Job]:
    """The missing paper-scale jobs: first those begun, then those that settle most an hour."""
    found: list[tuple[float, Job]] = []
    for name in experiments.names():
        module = experiments.load(name)
        claims = sum(c.experiment == name for each in papers().values() for c in each)
        try:
            jobs = module.jobs(module.SETTINGS["paper"], means.device)
        except DataError as error:
            typer.echo(f"{name}: left out: {error}")
            continue
        for job in jobs:
            if not _recorded(job, folder):
                found.append((claims / len(jobs), job))
    # Time to measure may be short: it goes first to what is likely to be run first.
    found.sort(key=lambda pair: -pair[0] / estimate(pair[1], means, calibrate_s=0).flops)
    guesses = _estimates([job for _, job in found], means, calibration)
    speeds = [guess.flops / guess.seconds for guess in guesses if guess.seconds]
    usual = statistics.median(speeds) if speeds else 1.0

    def rank(place: int) -> tuple[bool, float]:
        (claims, job), guess = found[place], guesses[place]
        seconds = guess.seconds or guess.flops / usual
        return not share_done(job, folder, means), -claims / max(seconds, 1.0)

    return [found[place][1] for place in sorted(range(len(found)), key=rank)]


def _estimates(jobs: list[Job], means: Means, calibration: Calibration) -> list[Estimate]:
    """What each job will take; the time for measuring is shared out among them."""
    guesses = []
    for i, job in enumerate(jobs):
        # A cluster's machines are not this one, and a smoke run is over before it is estimated.
        known = not means.cluster and job.scale != "smoke"
        seconds = min(1.0, calibration.left / (len(jobs) - i)) if known else 0.0
        guesses.append(estimate(job, means, calibrate_s=seconds, calibration=calibration))
    return guesses


def _say_plan(
    jobs: list[Job], folder: Path, means: Means, calibration: Calibration
) -> list[Estimate]:
    guesses = _estimates(jobs, means, calibration)
    for job, guess in zip(jobs, guesses, strict=True):
        share = share_done(job, folder, means)
        typer.echo(_plan_line(job, guess) + (f", {int(100 * share)} % of it done" if share else ""))
    _say_total(guesses, means)
    return guesses


def _plan_line(job: Job, guess: Estimate) -> str:
    facts = [
        f"{_count(guess.n_units, 'stack')} of replicas",
        f"{guess.n_updates:,} updates at most",
        quantity(guess.flops, "FLOP"),
        quantity(guess.n_bytes, "B"),
    ]
    if guess.seconds:
        facts.append(f"about {duration(guess.seconds)} at most")
    return f"{job.name}: {', '.join(facts)}"


def _say_total(guesses: list[Estimate], means: Means) -> None:
    """The last line of a plan of several jobs, which are run one after another."""
    if len(guesses) < 2:
        return
    facts = [
        _count(len(guesses), "job"),
        _count(sum(guess.n_units for guess in guesses), "stack"),
        quantity(sum(guess.flops for guess in guesses), "FLOP"),
    ]
    if all(guess.seconds for guess in guesses):
        facts.append(f"about {duration(sum(guess.seconds for guess in guesses))} at most")
    where = means.cluster or hardware_name(means.device)
    typer.echo(f"In all: {', '.join(facts)}, on {means.device} ({where})")


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


@app.command(name="bench")
def measure(
    operation: Annotated[str, typer.Argument(help="elman, scan, orbit or all.")] = "all",
    quick: Annotated[bool, typer.Option("--quick", help="Main sizes only, few repeats.")] = False,
    threads: Annotated[int, typer.Option(help="Cores to use and to be held to.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    backend: Annotated[str, typer.Option(help="all, torch, numba or triton.")] = "all",
    with_compile: Annotated[
        bool, typer.Option("--compile", help="With torch.compile: a C++ compiler and minutes.")
    ] = False,
    out: Annotated[str, typer.Option(help="Folder for the record.")] = "",
) -> None:
    """Time the kernels against their peers, every result checked, and write a record."""
    check_device(device)
    own = quick or threads != 1 or backend != "all"
    folder = Path(out) if out else OWN_RUNS if own else default_folder() / bench.FOLDER
    preset = "quick" if quick else "full"
    found = bench.run(
        operation,
        preset=preset,
        device=device,
        threads=threads,
        backend=backend,
        with_compile=with_compile,
        progress=True,
    )
    _check_writable(folder)
    for record in found:
        path = write(record, folder)
        typer.echo(f"Wrote {path}: {duration(record.wall_time_s)} on {record.hardware}.")


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


@records_app.callback(invoke_without_command=True)
def all_records(context: typer.Context) -> None:
    """List the records, or import some."""
    if context.invoked_subcommand is None:
        list_records()


@records_app.command("list")
def list_records(
    folder: Annotated[str, typer.Argument(help="Folder of the records; without: the book's.")] = "",
) -> None:
    """List the records: name, scale, day, what they ran on, how long they took."""
    for record in Records.load(_records_folder(folder)):
        cost = duration(record.wall_time_s)
        facts = f"{record.scale:8s} {record.utc[:10]} {cost:>9s}  {record.hardware}"
        typer.echo(f"{record.name:36s} {facts}")


@records_app.command("import")
def import_records(
    files: Annotated[list[Path], typer.Argument(help="Records, or folders of them.")],
    to: Annotated[str, typer.Option(help="Folder to put them in; without: the book's.")] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Put them in the place of other results.")
    ] = False,
    allow_dirty: Annotated[
        bool, typer.Option("--allow-dirty", help="Accept code that no commit holds.")
    ] = False,
) -> None:
    """Bring in records made elsewhere, all of them or, if one does not belong, none."""
    folder = Path(to) if to else default_folder()
    _check_writable(folder)
    found = records_import.examine(files, folder, replace=replace, allow_dirty=allow_dirty)
    for line in found.refused:
        typer.echo(f"refused: {line}", err=True)
    if found.refused:
        raise RecordError(f"nothing was imported: {_count(len(found.refused), 'refusal')}")
    records_import.merge(found, folder)
    for record in found.here:
        typer.echo(f"Already here: {record.name}")
    for record in found.new:
        verb = "Replaced" if record.name in {old.name for old in found.replaced} else "Imported"
        typer.echo(f"{verb} {folder / record.name}.json: {_said_of(record)}.")
    for old, new in found.changed:
        mark, name = new.verdict.mark, new.claim.id
        typer.echo(f"{mark} {name:8s} {new.verdict}, before: {old.verdict}")
    if found.new and not found.changed:
        typer.echo("No verdict changes.")


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
    except (ArgumentError, DataError, RecordError, WorkersLost) as error:
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
    own = not same_choice(settings, preset)
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


def _check_same_run(job: Job, folder: Path) -> None:
    """Refuse to put a run in the place of one with other settings or seeds."""
    path = folder / f"{job.name}.json"
    if not path.exists():
        return
    old, told = read(path), json.loads(to_json(job.settings))
    if old.settings != told or tuple(old.seeds) != job.seeds:
        raise ArgumentError(
            f"out must not hold a run of other settings or seeds under the name {job.name}, got "
            f"'{folder}'; choose another folder, or --replace"
        )


def _recorded(job: Job, folder: Path) -> bool:
    """Whether the folder holds this very run; what cannot be read counts as missing."""
    try:
        record = read(folder / f"{job.name}.json")
    except RecordError:
        return False
    return record.settings == json.loads(to_json(job.settings)) and tuple(record.seeds) == job.seeds


def _say_verdicts(name: str, new: list[Record], folder: Path) -> None:
    if all(record.scale == "smoke" for record in new):
        typer.echo("A smoke run settles no claim.")
        return
    try:
        records = Records.load(folder)
    except RecordError as error:  # another record's; ours is written, and more may be to run
        typer.echo(f"No verdicts: {error}", err=True)
        return
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


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'s' if n != 1 else ''}"


def _said_of(record: Record) -> str:
    size = f"{_count(len(record.seeds), 'seed')}, {_count(len(record.results), 'condition')}"
    return f"{record.scale}, {size}, {duration(record.wall_time_s)} on {record.hardware}"


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
