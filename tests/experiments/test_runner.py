"""Runs that are interrupted in every way there is: their records are those of unbroken ones."""

import contextlib
import dataclasses
import errno
import itertools
import json
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import rnnlib
from rnnlib import checkpoint, cli, experiments
from rnnlib.checkpoint import Deadline, Stopped, Survival
from rnnlib.checks import ArgumentError
from rnnlib.experiments import arms, characters, jobs, runner, temporal_order
from rnnlib.experiments.jobs import Unit
from rnnlib.experiments.runner import Means, WorkersLost
from rnnlib.provenance import hardware_name
from rnnlib.records import read

ALONE = Means(workers=1, progress=False)
TWO = Means(workers=2, progress=False)


def job(n_epochs=40, **changes):
    """Two stacks of small networks on a text that is always there."""
    settings = dataclasses.replace(characters.SETTINGS["smoke"], n_epochs=n_epochs, **changes)
    (found,) = characters.jobs(settings)
    assert len(found.units) == 2
    return found


LONG, ENDLESS = 100, 100_000


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The records of runs that nothing interrupts, and the seconds that each took."""
    known = {}

    def run(n_epochs):
        if n_epochs not in known:
            begun = time.monotonic()
            record = runner.run(job(n_epochs), tmp_path_factory.mktemp("unbroken"), ALONE)
            known[n_epochs] = record, time.monotonic() - begun
        return known[n_epochs]

    return run


def place(folder, it, means=ALONE):
    return folder / "unfinished" / f"{it.name}-{it.digest(means.device)}"


def reached(folder, it):
    """How many updates of ``it`` are safe in ``folder``."""
    updates = 0
    for i, unit in enumerate(it.units):
        if (place(folder, it) / f"unit-{i}.done").exists():
            updates += unit.n_updates
        else:
            saved = Survival(place(folder, it) / f"unit-{i}").restore()
            updates += saved["done"] if saved else 0
    return updates


def eventually(what, seconds=120.0):
    """Wait until ``what()`` is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def begun(folder, it):
    """Whether a checkpoint of any unit is there."""
    return any((place(folder, it) / f"unit-{i}").exists() for i in range(len(it.units)))


def stamps(folder, it):
    """What tells one checkpoint from the next."""
    found = {}
    for path in place(folder, it).glob("unit-*"):
        try:
            found[path.name] = path.stat().st_mtime_ns
        except FileNotFoundError:  # it has just been renamed
            continue
    return found


def nothing():
    """What a progress bar would do."""


def always():
    return True


def never():
    return False


class Until(Deadline):
    """A deadline that passes when something has happened."""

    def __init__(self, happened):
        super().__init__()
        self.happened = happened

    def __call__(self):
        return self.happened()


def command(folder, n_epochs, *options):
    """The arguments for `job`, its record to be in ``folder``."""
    given = f"run characters --scale smoke --set n_epochs={n_epochs} --every 0.05s"
    return [*given.split(), "--out", str(folder), *options]


def start(*arguments, **options):
    """The real command, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(Path(rnnlib.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-m", "rnnlib", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


# Killed


@pytest.mark.slow
def test_a_run_killed_at_twenty_random_moments_ends_as_if_it_had_not_been(tmp_path, unbroken):
    """``kill -9``: nothing is told, nothing can be tidied up, and no bit of the record changes.

    A fifth of the kills land anywhere from the start on, the others at a random moment after the
    first checkpoint of a sitting, among updates, writes and renames.
    """
    record, seconds = unbroken(LONG)
    it, chance = job(LONG), random.Random(20)
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":  # imports are paid for once
        context.set_forkserver_preload(["rnnlib.cli", "rnnlib.kernels.cpu.elman"])
    arguments = command(tmp_path, LONG, "--workers", "1")
    landed, safe = 0, [0]
    for _ in range(20):
        sitting = context.Process(target=cli.main, args=(arguments,))
        before = stamps(tmp_path, it)
        sitting.start()
        if chance.random() < 0.2:
            time.sleep(chance.uniform(0, 1))
        else:
            while stamps(tmp_path, it) == before and sitting.is_alive():
                time.sleep(0.01)
            time.sleep(chance.uniform(0, seconds / 60))
        landed += sitting.is_alive()
        sitting.kill()
        sitting.join()
        safe.append(reached(tmp_path, it))
    assert safe == sorted(safe)  # what was safe stays so
    assert landed >= 15
    assert 0 < safe[-1] < sum(unit.n_updates for unit in it.units)
    print(f"{landed} kills before the end; safe updates after each: {safe[1:]}")
    assert runner.run(it, tmp_path, ALONE).same_result(record)
    assert read(tmp_path / f"{record.name}.json").same_result(record)


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(tmp_path, unbroken):
    psutil = pytest.importorskip("psutil")
    it = job(LONG)
    parent = start(*command(tmp_path, LONG, "--workers", "2"))
    eventually(lambda: begun(tmp_path, it))
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2
    parent.kill()
    parent.communicate()
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert reached(tmp_path, it) > 0
    assert runner.run(it, tmp_path, ALONE).same_result(unbroken(LONG)[0])


def killing(pid_of, when):
    """Kill a process once ``when()`` is true: the thread that does it, and whom it has killed."""
    killed = []

    def wait_and_kill():
        eventually(when)
        killed.append(pid_of())
        os.kill(killed[0], getattr(signal, "SIGKILL", signal.SIGTERM))

    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    return thread, killed


def test_a_worker_that_is_killed_costs_a_retry(tmp_path, unbroken, caplog):
    it, others = job(LONG), multiprocessing.active_children()
    thread, killed = killing(
        lambda: next(p.pid for p in multiprocessing.active_children() if p not in others),
        lambda: begun(tmp_path, it),
    )
    record = runner.run(it, tmp_path, dataclasses.replace(TWO, every=0.05))
    thread.join()
    assert killed
    assert caplog.messages == ["a process was lost; what it was at goes on from its checkpoint"]
    assert record.same_result(unbroken(LONG)[0])


@dataclasses.dataclass(frozen=True)
class Dying:
    """Dies so many times before it does the work of another."""

    work: object
    folder: Path
    times: int

    def __call__(self, *, survival):
        n = len(list(self.folder.iterdir()))
        if n < self.times:
            (self.folder / str(n)).touch()
            os._exit(9)
        return self.work(survival=survival)


@pytest.fixture
def importable(monkeypatch):
    """Let other processes find this module, for what they are sent of it."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setitem(sys.modules, "test_runner", sys.modules[__name__])
    monkeypatch.setattr(Dying, "__module__", "test_runner")


@pytest.mark.parametrize(("times", "survives"), [(1, True), (99, False)])
def test_losing_processes_again_and_again_ends_the_run_with_one_line(
    tmp_path, importable, unbroken, monkeypatch, times, survives
):
    """With two attempts one loss is borne, not two in a row; what had been done is kept."""
    monkeypatch.setattr(runner, "ATTEMPTS", 2)
    it, deaths = job(), tmp_path / "deaths"
    deaths.mkdir()
    fatal = dataclasses.replace(it.units[0], work=Dying(it.units[0].work, deaths, times))
    doomed = dataclasses.replace(it, units=(fatal, it.units[1]))
    if survives:
        assert runner.run(doomed, tmp_path, TWO).same_result(unbroken(40)[0])
        return
    with pytest.raises(WorkersLost, match=r"2 times in a row .* is kept, and fewer --workers"):
        runner.run(doomed, tmp_path, TWO)
    assert len(os.listdir(deaths)) in (2, 3)  # the other unit may end after the first
    assert runner.run(it, tmp_path, ALONE).same_result(unbroken(40)[0])


# Asked to stop


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
@pytest.mark.parametrize(
    ("name", "workers", "group"),
    [("SIGTERM", 1, False), ("SIGTERM", 2, True), ("SIGINT", 2, True)],
)
def test_a_signal_ends_a_run_in_order(tmp_path, unbroken, name, workers, group):
    """To the process alone, or (Ctrl-C, a scheduler) to those that it has started as well."""
    it = job(ENDLESS)
    sitting = start(*command(tmp_path, ENDLESS, "--workers", str(workers)), start_new_session=True)
    eventually(lambda: begun(tmp_path, it))
    send = os.killpg if group else os.kill
    send(sitting.pid, getattr(signal, name))
    out, err = sitting.communicate(timeout=120)
    assert sitting.returncode == cli.UNFINISHED_CODE
    assert f"Stopped on {name}: {it.name} is unfinished." in out
    assert "the same command goes on from there" in out
    assert "Traceback" not in err
    assert reached(tmp_path, it) > 0
    assert list(tmp_path.glob("*.json")) == []


def test_a_run_in_many_short_sittings_ends_as_if_it_had_not_been_stopped(tmp_path, unbroken):
    record, seconds = unbroken(LONG)
    it, safe = job(LONG), [0]
    while True:
        try:
            found = runner.run(it, tmp_path, ALONE, Deadline(seconds / 8))
        except Stopped:
            safe.append(reached(tmp_path, it))
        else:
            break
    assert len(safe) > 2
    assert safe == sorted(set(safe))  # every sitting got further
    assert found.same_result(record)


def test_workers_save_and_stop_when_time_is_up(tmp_path, unbroken):
    it = job(LONG)
    before = stamps(tmp_path, it)
    deadline = Until(lambda: stamps(tmp_path, it) != before)
    with pytest.raises(Stopped):
        runner.run(it, tmp_path, dataclasses.replace(TWO, every=0.05), deadline)
    assert 0 < reached(tmp_path, it) < sum(unit.n_updates for unit in it.units)
    assert runner.run(it, tmp_path, TWO).same_result(unbroken(LONG)[0])


@pytest.mark.slow
def test_the_command_keeps_to_its_budget(tmp_path):
    """Of a run that would take hours."""
    it = job(ENDLESS)
    sitting = start(*command(tmp_path, ENDLESS, "--workers", "1", "--budget", "6s"))
    out, err = sitting.communicate(timeout=120)
    assert (sitting.returncode, "Stopped in time" in out) == (cli.UNFINISHED_CODE, True), err
    assert reached(tmp_path, it) > 0


def test_nothing_is_begun_when_time_is_up(tmp_path, monkeypatch):
    monkeypatch.setattr(arms._Group, "__call__", lambda *_, **__: pytest.fail("it began"))
    with pytest.raises(Stopped):
        runner.run(job(), tmp_path, ALONE, Deadline(0))


@pytest.mark.parametrize("name", experiments.names())
def test_every_experiment_can_be_stopped_after_any_update(name, tmp_path):
    """Each unit in as many sittings as it has updates; its result is the same to the last bit."""
    module = experiments.load(name)
    for it in module.jobs(module.SETTINGS["smoke"]):
        for i, unit in enumerate(it.units):
            whole = unit.work(survival=Survival())
            path, sittings = tmp_path / f"{it.name}-{i}", 0
            while True:
                sittings += 1
                try:
                    found = unit.work(survival=Survival(path, stop=lambda: True))
                except Stopped:
                    continue
                break
            assert sittings > 2
            assert json.dumps(found) == json.dumps(whole)


# Two at once


@pytest.mark.slow
def test_two_processes_do_not_disturb_each_other(tmp_path, unbroken, capsys):
    """The same run: the second is refused in one line. Another experiment: both go through."""
    it = job(LONG)
    first = start(*command(tmp_path, LONG, "--workers", "1"))
    eventually(lambda: begun(tmp_path, it))

    with pytest.raises(SystemExit) as ended:
        cli.main(command(tmp_path, LONG, "--workers", "1"))
    refusal = capsys.readouterr().err
    assert ended.value.code == 2
    assert refusal == (
        f"error: {it.name} must be run by one process at a time in {tmp_path}, got a second one\n"
    )
    runner.forget(it, tmp_path, ALONE)  # somebody else is at it: nothing is touched

    settings = temporal_order.SETTINGS["smoke"].only("literal")
    (other,) = temporal_order.jobs(settings)
    record = runner.run(other, tmp_path, ALONE)
    (expected,) = experiments.run("temporal_order", settings, workers=1, progress=False)
    assert record.same_result(expected)
    assert first.poll() is None  # they did run at the same time

    _, err = first.communicate(timeout=300)
    assert first.returncode == 0, err
    assert read(tmp_path / f"{it.name}.json").same_result(unbroken(LONG)[0])
    assert read(tmp_path / f"{other.name}.json").same_result(expected)


def test_a_second_run_in_the_same_process_is_refused_and_the_lock_is_given_back(tmp_path, unbroken):
    it = job()
    with runner._alone_in(place(tmp_path, it), it, tmp_path):  # noqa: SIM117
        with pytest.raises(ArgumentError, match="one process at a time"):
            runner.run(it, tmp_path, ALONE)
    with pytest.raises(Stopped) as stopped:  # which keeps the frames of the run alive
        runner.run(it, tmp_path, ALONE, Deadline(0))
    assert stopped
    assert runner.run(it, tmp_path, ALONE).same_result(unbroken(40)[0])


# A cluster


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of Dask on this machine."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, processes=True, threads_per_worker=1, dashboard_address=None
    ) as made:
        yield made


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_gives_the_same_record(
    tmp_path, cluster, unbroken, monkeypatch
):
    """One of two worker processes is killed in the middle; its unit goes on in the other."""
    from distributed import Client

    monkeypatch.chdir(tmp_path)  # a relative folder is not the workers' own
    it, folder = job(LONG), Path("out")
    with Client(cluster, set_as_default=False) as client:
        pids = client.run(os.getpid)
        thread, killed = killing(
            lambda: next(pids[at] for at, keys in client.processing().items() if keys),
            lambda: begun(folder, it),
        )
        means = Means(cluster=cluster.scheduler_address, every=0.05, progress=False)
        record = runner.run(it, folder, means)
        thread.join()
        assert killed[0] not in client.run(os.getpid).values()
    assert record.same_result(unbroken(LONG)[0])


@pytest.mark.slow
def test_a_cluster_stops_in_time_and_a_process_can_go_on(tmp_path, cluster, unbroken):
    it = job(LONG)
    means = Means(cluster=cluster.scheduler_address, every=0.05, progress=False)
    with pytest.raises(Stopped):
        runner.run(it, tmp_path, means, Until(lambda: begun(tmp_path, it)))
    assert 0 < reached(tmp_path, it) < sum(unit.n_updates for unit in it.units)
    assert runner.run(it, tmp_path, ALONE).same_result(unbroken(LONG)[0])


def test_a_cluster_that_goes_away_is_an_error_and_no_end_of_time(tmp_path):
    """Its tasks are then cancelled, as those are that could not be told to stop in time."""
    lost = Future()
    lost.cancel()
    lost.set_running_or_notify_cancel()
    with pytest.raises(WorkersLost, match="the cluster was lost"):
        list(runner._as_they_come({lost}, Deadline(), tmp_path / "sitting", nothing, always))
    with pytest.raises(Stopped) as stopped:
        list(runner._as_they_come({lost}, Deadline(0), tmp_path / "sitting", nothing, always))
    assert not stopped.value.saved


def test_workers_that_cannot_be_told_are_not_waited_for(tmp_path, monkeypatch):
    """They do not see the folder; what they have not sent after the grace is given up."""
    monkeypatch.setattr(runner, "GRACE_S", 0.3)
    sitting, deaf, done = tmp_path / "sitting", Future(), Future()
    sitting.touch()
    done.set_result([{"n": 1}])
    found = runner._as_they_come({deaf, done}, Deadline(0), sitting, nothing, always)
    assert next(found) == (done, [{"n": 1}])
    with pytest.raises(Stopped) as stopped:
        next(found)
    assert not stopped.value.saved
    assert deaf.cancelled()
    assert not sitting.exists()


def test_what_never_began_gets_no_grace_and_loses_nothing(tmp_path, monkeypatch):
    """Of a cluster without workers."""
    monkeypatch.setattr(runner, "GRACE_S", 3600)
    future = Future()
    with pytest.raises(Stopped) as stopped:
        list(runner._as_they_come({future}, Deadline(0), tmp_path / "sitting", nothing, never))
    assert stopped.value.saved
    assert future.cancelled()


def scheduler():
    """A scheduler of Dask without workers, in a process of its own, and its address."""
    pytest.importorskip("distributed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = "import sys; from dask.__main__ import main; main()"
    options = ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    return subprocess.Popen(
        [sys.executable, "-c", code, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ), f"tcp://127.0.0.1:{port}"


def answers(address):
    try:
        runner.check_cluster(address)
    except ArgumentError:
        return False
    return True


@pytest.mark.slow
def test_a_cluster_without_workers_is_said_once_and_its_end_is_one_line(tmp_path):
    """A client waits for workers; when the scheduler is lost, no traceback of Dask's is shown."""
    distributed = pytest.importorskip("distributed")
    process, address = scheduler()
    try:
        eventually(lambda: answers(address))
        sitting = start(*command(tmp_path, 40, "--cluster", address))
        said = next(line for line in sitting.stderr if "workers" in line)
        assert said.endswith(f"{address} has no workers yet; waiting for some\n")
        with distributed.Client(address, set_as_default=False) as client:
            count = lambda dask_scheduler: len(dask_scheduler.tasks)  # noqa: E731
            eventually(lambda: client.run_on_scheduler(count))
        process.kill()
        _, err = sitting.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert sitting.returncode == 2
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: the cluster was lost; ")


@pytest.mark.slow
def test_a_cluster_without_workers_stops_in_time(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(runner, "GRACE_S", 3600)
    process, address = scheduler()
    try:
        eventually(lambda: answers(address))
        with pytest.raises(Stopped) as stopped:
            runner.run(job(), tmp_path, Means(cluster=address, progress=False), Deadline(0))
    finally:
        process.kill()
        process.wait()
    assert stopped.value.saved
    assert caplog.messages == [f"{address} has no workers yet; waiting for some"]


# What did the work


def test_the_workers_name_what_did_the_work_and_it_survives_a_stop(tmp_path, monkeypatch):
    """The client may be a machine that has no such device, and go on where another began."""
    it, asked = job(), itertools.count()
    monkeypatch.setattr(runner, "hardware_name", lambda device: "one card")
    first = it.units[0].n_updates
    with pytest.raises(Stopped):  # in the second unit
        runner.run(it, tmp_path, ALONE, Until(lambda: next(asked) > first + 5))
    monkeypatch.setattr(runner, "hardware_name", lambda device: "another")
    assert runner.run(it, tmp_path, ALONE).hardware == "another; one card"


def test_with_a_cluster_only_the_workers_check_the_device(tmp_path, monkeypatch, capsys):
    """A login node has no GPU; a worker without one is an error of one line."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(cli, "check_cluster", lambda address: None)

    @contextlib.contextmanager
    def here(address):
        with ThreadPoolExecutor(1) as pool:
            yield pool, always

    monkeypatch.setattr(runner, "_dask", here)
    given = ("--cluster", "tcp://here:1", "--device")
    with pytest.raises(SystemExit) as ended:
        cli.main(command(tmp_path, 40, *given, "cuda"))
    assert ended.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: on a worker, device must be there to be used, got 'cuda': ")
    assert list(tmp_path.glob("unfinished/*"))  # the client itself had no objection
    with pytest.raises(SystemExit):
        cli.main(command(tmp_path, 40, *given, "tpu"))
    assert "device must be one of cpu, cuda, got 'tpu'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nonsense", "begin with tcp:// or tls://"),
        ("http://localhost:8787", "begin with tcp:// or tls://"),
        ("tcp://localhost:port", "Port could not be cast"),
        ("tcp://localhost:99999", "Port out of range"),
        ("tcp://", ""),
        ("tcp://127.0.0.1:9", ""),
    ],
)
def test_a_wrong_address_is_one_line(tmp_path, capsys, address, message):
    pytest.importorskip("distributed")
    with pytest.raises(SystemExit) as ended:
        cli.main(command(tmp_path, 40, "--cluster", address))
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert error.startswith(
        f"error: cluster must be the address of a Dask scheduler, got {address!r}: "
    )
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("hangs_up", [True, False])
def test_a_port_where_something_else_listens_is_one_line(tmp_path, monkeypatch, hangs_up):
    """Such as the scheduler's own web page, to which a client of Dask would listen for ever."""
    pytest.importorskip("distributed")
    monkeypatch.setattr(runner, "ANSWER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        if hangs_up:
            threading.Thread(target=lambda: server.accept()[0].close()).start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        means = dataclasses.replace(ALONE, cluster=address)
        with pytest.raises(ArgumentError, match="hangs up" if hangs_up else "timed out"):
            runner.run(job(), tmp_path, means)


def test_without_dask_the_error_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SystemExit) as ended:
        cli.main(command(tmp_path, 40, "--cluster", "tcp://127.0.0.1:8786"))
    assert ended.value.code == 2
    assert capsys.readouterr().err == ('error: cluster needs Dask: pip install "rnnlib[cluster]"\n')


def test_workers_with_other_code_are_refused(tmp_path, monkeypatch):
    """Their numbers could differ, and the record would say they were this code's."""
    monkeypatch.setattr(runner, "code_digest", lambda: "another")
    with pytest.raises(ArgumentError, match="workers must have the rnnlib and the libraries of"):
        runner.run(job(), tmp_path, TWO)


# What continues what


def test_a_job_is_continued_only_by_its_like(monkeypatch):
    it = job()
    assert it.digest("cpu") == job().digest("cpu")
    assert it.digest("cuda:0") == it.digest("cuda:1")
    others = [job(41).digest("cpu"), job(seeds=(0, 2)).digest("cpu"), it.digest("cuda")]
    for name, other in (("source_digest", "other code"), ("library_versions", {"torch": "9"})):
        with monkeypatch.context() as patch:
            patch.setattr(jobs, name, lambda other=other: other)
            others.append(it.digest("cpu"))
    assert len({it.digest("cpu"), *others}) == 6


def test_other_settings_begin_anew_and_the_first_run_still_goes_on(tmp_path, unbroken):
    it, other, asked = job(LONG), job(LONG, chunk=90), itertools.count()
    assert other.name == it.name
    with pytest.raises(Stopped):
        runner.run(it, tmp_path, ALONE, Until(lambda: next(asked) > 50))
    safe = reached(tmp_path, it)
    assert safe > 0
    assert reached(tmp_path, other) == 0
    found = runner.run(other, tmp_path, ALONE)
    assert found.same_result(runner.run(other, tmp_path / "alone", ALONE))
    assert reached(tmp_path, it) == safe
    assert runner.run(it, tmp_path, ALONE).same_result(unbroken(LONG)[0])


def test_a_job_that_is_done_is_not_run_again_until_it_is_forgotten(tmp_path, monkeypatch):
    """A sweep that is stopped at its second job does not begin with its first again."""
    it, calls, really = job(), [], arms._Group.__call__
    monkeypatch.setattr(
        arms._Group,
        "__call__",
        lambda self, **options: (calls.append(1), really(self, **options))[1],
    )
    first = runner.run(it, tmp_path, ALONE)
    again = runner.run(it, tmp_path, ALONE, Deadline(0))
    assert len(calls) == 2
    assert again.same_result(first)
    assert again.wall_time_s >= first.wall_time_s
    runner.forget(it, tmp_path, ALONE)
    assert os.listdir(tmp_path) == [f"{it.name}.json"]
    runner.run(it, tmp_path, ALONE)
    assert len(calls) == 4


def test_the_time_of_all_sittings_counts(tmp_path):
    it = job()
    with pytest.raises(Stopped):
        runner.run(it, tmp_path, ALONE, Deadline(0))
    (place(tmp_path, it) / "seconds").write_text("1000.0", encoding="utf-8")
    assert runner.run(it, tmp_path, ALONE).wall_time_s > 1000


def test_seconds_are_noted_while_a_job_runs(tmp_path):
    """So that a kill does not make a run cheaper than it was."""
    with runner._Clock(tmp_path / "seconds", 0.01):
        eventually(lambda: (tmp_path / "seconds").exists())
        noted = float((tmp_path / "seconds").read_text(encoding="utf-8"))
        eventually(lambda: float((tmp_path / "seconds").read_text(encoding="utf-8")) > noted)


# Damage and full disks


def test_a_damaged_result_is_named_and_its_unit_run_again(tmp_path, unbroken, caplog):
    it = job()
    runner.run(it, tmp_path, ALONE)
    done = place(tmp_path, it) / "unit-0.done"
    done.write_bytes(done.read_bytes()[:-5])
    assert runner.run(it, tmp_path, ALONE).same_result(unbroken(40)[0])
    assert f"{done}: damaged" in caplog.text
    assert done.with_name("unit-0.done.damaged").exists()


def test_a_full_disk_costs_no_finished_unit(tmp_path, unbroken, monkeypatch, caplog):
    """Nothing can be written until the last moment: the run goes on, and its record is right."""
    it, really, full = job(), rnnlib.atomic.replace, True

    def replace(path, content):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        really(path, content)

    monkeypatch.setattr("rnnlib.atomic.replace", replace)
    with pytest.raises(OSError, match="No space left"):
        runner.run(it, tmp_path, dataclasses.replace(ALONE, every=0.05))
    assert "unit-1.done: not saved: No space left on device" in caplog.text
    collect, freed = it.collect, []

    def collect_and_free(parts):
        nonlocal full
        full = False
        freed.append(len(parts))
        return collect(parts)

    kept = dataclasses.replace(it, collect=collect_and_free)
    assert runner.run(kept, tmp_path, ALONE).same_result(unbroken(40)[0])
    assert freed == [2]


def test_a_stop_on_a_full_disk_does_not_claim_to_have_saved(tmp_path, monkeypatch, caplog):
    """Neither an unfinished unit nor one that was finished before."""
    it, first = job(), job().units[0].n_updates

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    for updates in (5, first + 5):
        for broken in (True, False):
            asked = itertools.count()
            with monkeypatch.context() as patch:
                if broken:
                    patch.setattr("rnnlib.atomic.replace", full)
                with pytest.raises(Stopped) as stopped:
                    runner.run(it, tmp_path, ALONE, Until(lambda: next(asked) > updates))  # noqa: B023
            assert stopped.value.saved is not broken
        runner.forget(it, tmp_path, ALONE)


def test_a_finished_unit_that_was_not_saved_is_not_said_to_be(tmp_path, monkeypatch):
    """Though the one after it was."""
    it, really, asked = job(), checkpoint.write, itertools.count()
    first = it.units[0].n_updates

    def full(path, state):
        if path.name == "unit-0.done":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        really(path, state)

    monkeypatch.setattr(checkpoint, "write", full)
    with pytest.raises(Stopped) as stopped:
        runner.run(it, tmp_path, ALONE, Until(lambda: next(asked) > first + 5))
    assert not stopped.value.saved
    assert (place(tmp_path, it) / "unit-1").exists()


def test_what_cannot_be_written_is_kept_elsewhere_and_named(tmp_path, monkeypatch, caplog):
    """A record, and a finished unit."""
    out, spare = tmp_path / "out", tmp_path / "spare"
    spare.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spare))
    it, really = job(), rnnlib.atomic.replace

    def replace(path, content):
        if path.is_relative_to(out):
            raise OSError(errno.ENOSPC, "No space left on device")
        really(path, content)

    monkeypatch.setattr("rnnlib.atomic.replace", replace)
    with pytest.raises(OSError, match="No space left on device; kept in ") as refused:
        runner.run(it, out, ALONE)
    monkeypatch.undo()
    assert refused.value.filename == str(out / f"{it.name}.json")
    (kept,) = spare.rglob("*.json")
    assert refused.value.strerror.endswith(f"kept in {kept.parent}")
    record = runner.run(it, tmp_path / "again", ALONE)
    assert read(kept).same_result(record)
    for done in spare.rglob("*.done"):  # which can be moved to where it belongs
        assert f"{done.name}: not saved: No space left on device; kept in {done.parent}" in (
            caplog.text
        )
    assert len(list(spare.rglob("*.done"))) == 2


def test_what_kills_leave_behind_is_tidied_up(tmp_path, unbroken):
    it = job()
    place(tmp_path, it).mkdir(parents=True)
    (place(tmp_path, it) / ".unit-0.new.123.tmp").write_bytes(b"half of a checkpoint")
    (place(tmp_path, it) / "sitting-123").touch()
    assert runner.run(it, tmp_path, ALONE).same_result(unbroken(40)[0])
    left = sorted(os.listdir(place(tmp_path, it)))
    assert left == ["seconds", "unit-0.done", "unit-1.done"]


# However it is spread


def test_an_error_in_a_worker_stops_the_others_and_is_told(tmp_path, importable, monkeypatch):
    it = job(ENDLESS)
    units = (Unit(Failing(tmp_path), 1, 1.0, 1.0), it.units[1])
    with pytest.raises(ZeroDivisionError):
        runner.run(dataclasses.replace(it, units=units), tmp_path, TWO)
    assert not list(place(tmp_path, it).glob("sitting-*"))


@dataclasses.dataclass(frozen=True)
class Failing:
    folder: Path

    def __call__(self, *, survival):
        return 1 / 0


def test_threads_are_given_back(tmp_path):
    before = torch.get_num_threads()
    with pytest.raises(Stopped):
        runner.run(job(), tmp_path, ALONE, Deadline(0))
    assert torch.get_num_threads() == before


def test_a_worker_without_the_folder_does_the_work_all_the_same(tmp_path):
    """On a machine that does not share it."""
    unit = job().units[0]
    path = tmp_path / "absent" / "unit-0"
    found = runner._in_worker(unit, path, ALONE, path.with_name("sitting"), jobs.code_digest())
    assert found.rows == unit.work(survival=Survival())
    assert found.hardware == hardware_name("cpu")
    assert os.listdir(tmp_path) == []


def test_a_worker_whose_sitting_is_over_stops(tmp_path):
    """Of a client that is gone, or has been followed by another, only what is saved remains."""
    place, sitting = tmp_path / "place", tmp_path / "sitting"
    place.mkdir()
    means = dataclasses.replace(ALONE, every=0.05)
    arguments = job(ENDLESS).units[0], place / "unit-0", means, sitting, jobs.code_digest()
    assert isinstance(runner._in_worker(*arguments), Stopped)
    assert os.listdir(place) == []
    sitting.touch()
    thread = threading.Thread(
        target=lambda: (eventually((place / "unit-0").exists), sitting.unlink())
    )
    thread.start()
    assert runner._in_worker(*arguments).saved
    thread.join()
    assert checkpoint.read(place / "unit-0")["done"] > 0


def test_a_record_names_the_code_that_ran_and_not_what_came_after(tmp_path, monkeypatch):
    states = iter([("a" * 40, False), ("b" * 40, True)])
    monkeypatch.setattr(runner, "git_state", lambda: next(states))
    record = runner.run(job(), tmp_path, ALONE)
    assert (record.git_commit, record.git_dirty) == ("a" * 40, False)
