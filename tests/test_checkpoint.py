"""Checkpoints: what is read is what was written, and no damage, kill or full disk loses a run."""

import errno
import hashlib
import io
import math
import os
import pickle
import shutil
import signal
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnlib import atomic, checkpoint
from rnnlib.checkpoint import CheckpointError, Deadline, Stopped, Survival
from rnnlib.models import Elman
from rnnlib.train import train


def same(a, b):
    """Bit for bit, NaN included, whatever is nested in what."""
    if isinstance(a, torch.Tensor):
        return (
            isinstance(b, torch.Tensor)
            and (a.dtype, a.shape) == (b.dtype, b.shape)
            and a.contiguous().numpy().tobytes() == b.contiguous().numpy().tobytes()
        )
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


def numbered(n):
    return {"n": n, "weights": torch.full((3,), float(n))}


# What is written and read


def test_what_is_read_is_what_was_written(tmp_path):
    model = Elman(2, 3, 2, replicas=2).draw_(
        0.3, [torch.Generator().manual_seed(r) for r in (0, 1)]
    )
    state = {
        "model": dict(model.state_dict()),
        "numbers": [1, 2.5, math.inf, -0.0, math.nan, True, None, "text", 2**70],
        "nested": {"pair": (torch.tensor([math.nan, -math.inf]), {"deep": [torch.tensor(3)]})},
        "kinds": [torch.zeros(2, dtype=d) for d in (torch.float64, torch.int64, torch.bool)],
        "empty": torch.empty(0, 3),
        "generator": torch.Generator().manual_seed(7).get_state(),
    }
    checkpoint.write(tmp_path / "c", state)
    assert same(checkpoint.read(tmp_path / "c"), state)


def test_a_generator_goes_on_where_it_was(tmp_path):
    generator = torch.Generator().manual_seed(3)
    torch.randn(5, generator=generator)
    checkpoint.write(tmp_path / "c", {"generator": generator.get_state()})
    expected = torch.randn(100, generator=generator)
    other = torch.Generator()
    other.set_state(checkpoint.read(tmp_path / "c")["generator"])
    assert torch.equal(torch.randn(100, generator=other), expected)


def test_every_byte_is_protected(tmp_path):
    """Neither a changed byte nor a missing end is read as a checkpoint, wherever it is."""
    path = tmp_path / "c"
    checkpoint.write(path, {"n": 1})
    whole = path.read_bytes()
    damaged = [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(len(whole))]
    damaged += [whole[:i] for i in range(len(whole))]
    for content in damaged:
        path.unlink()  # to write over a file takes some disks longer
        path.write_bytes(content)
        with pytest.raises(CheckpointError) as refused:
            checkpoint.read(path)
        assert str(refused.value).startswith(f"{path}: ")
        assert "\n" not in str(refused.value)


def signed(content, version=checkpoint.VERSION):
    """A file that is whole, whatever it holds."""
    digest = hashlib.sha256(content).hexdigest()
    return f"rnnlib checkpoint {version}\n{digest}\n".encode() + content


class Command:
    """Runs code when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_code_in_a_checkpoint_is_never_run(tmp_path):
    buffer = io.BytesIO()
    torch.save({"state": Command(str(tmp_path / "harm"))}, buffer)
    (tmp_path / "c").write_bytes(signed(buffer.getvalue()))
    with pytest.raises(CheckpointError, match="c: must hold plain data and tensors, got others"):
        checkpoint.read(tmp_path / "c")
    assert not (tmp_path / "harm").exists()
    torch.load(io.BytesIO(buffer.getvalue()), weights_only=False)
    assert (tmp_path / "harm").exists()  # the file was harmful indeed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a checkpoint of rnnlib"),
        (b"PK\x03\x04 a file of torch itself", "not a checkpoint of rnnlib"),
        (signed(b"", version=2), "must have version 1, got 2"),
        (signed(b"", version="\xff" * 900), "must have version 1, got "),
        (signed(b"no file of torch"), "must hold plain data and tensors, got others"),
    ],
)
def test_a_file_of_another_kind_is_named_and_set_aside(tmp_path, caplog, content, message):
    path = tmp_path / "c"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.read(path)
    assert Survival(path).restore() is None
    assert f"{path}: {message}" in caplog.text
    assert os.listdir(tmp_path) == ["c.damaged"]


def test_of_two_generations_the_newest_that_is_whole_is_used(tmp_path, caplog):
    path = tmp_path / "c"
    for n in (1, 2, 3):
        checkpoint.write(path, numbered(n))
    assert sorted(os.listdir(tmp_path)) == ["c", "c.1"]
    assert same(Survival(path).restore(), numbered(3))
    assert not caplog.records

    path.write_bytes(path.read_bytes()[:-1])
    assert same(Survival(path).restore(), numbered(2))
    assert f"{path}: damaged" in caplog.text
    assert "set aside as c.damaged" in caplog.text
    assert sorted(os.listdir(tmp_path)) == ["c.1", "c.damaged"]

    checkpoint.write(path, numbered(4))  # the run goes on, and the one before is still there
    assert same(Survival(path).restore(), numbered(4))
    assert same(checkpoint.read(tmp_path / "c.1"), numbered(2))


def test_if_all_are_damaged_the_run_begins_from_the_beginning(tmp_path, caplog):
    path = tmp_path / "c"
    for n in (1, 2):
        checkpoint.write(path, numbered(n))
    for file in tmp_path.iterdir():
        file.write_bytes(b"\0" * 1000)  # what some file systems leave after a power cut
    assert Survival(path).restore() is None
    assert len(caplog.records) == 2
    assert sorted(os.listdir(tmp_path)) == ["c.1.damaged", "c.damaged"]


@pytest.mark.parametrize("earlier", [1, 2, 3])
def test_killed_anywhere_in_writing_the_old_state_or_the_new_one_is_there(
    tmp_path, monkeypatch, earlier
):
    """The folder is looked at before and after every rename, as a kill would leave it."""
    place = tmp_path / "place"
    path = place / "c"
    for n in range(earlier):
        checkpoint.write(path, numbered(n))
    moments, really = [], os.replace

    def look():
        moments.append(tmp_path / f"moment-{len(moments)}")
        shutil.copytree(place, moments[-1])

    def replace(source, target):
        look()
        really(source, target)
        look()

    monkeypatch.setattr(os, "replace", replace)
    checkpoint.write(path, numbered(earlier))
    monkeypatch.undo()
    assert len(moments) == 6
    found = [Survival(moment / "c").restore()["n"] for moment in moments]
    assert found == [earlier - 1] + 5 * [earlier]
    for moment in moments:  # and the run goes on from there
        checkpoint.write(moment / "c", numbered(99))
        assert same(Survival(moment / "c").restore(), numbered(99))
        Survival(moment / "c").clear()
        left = [name for name in os.listdir(moment) if not name.endswith(".tmp")]
        assert left == []


def test_nothing_takes_its_place_before_it_is_on_the_disk(tmp_path, monkeypatch):
    checkpoint.write(tmp_path / "c", numbered(1))
    done, sync, rename = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("sync"), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("rename"), rename(a, b)))
    checkpoint.write(tmp_path / "c", numbered(2))
    assert done[:2] == ["sync", "rename"]
    assert done.count("rename") == 3


# A disk that is full


def test_a_full_disk_is_a_warning_and_the_checkpoint_before_stays(tmp_path, monkeypatch, caplog):
    path = tmp_path / "c"
    survival = Survival(path, every=0)
    survival.pause(lambda: numbered(1))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, "replace", full)
    survival.pause(lambda: numbered(2))
    assert caplog.messages == [f"{path}: not saved: No space left on device"]
    assert same(Survival(path).restore(), numbered(1))
    with pytest.raises(Stopped) as stopped:
        Survival(path, stop=lambda: True).pause(lambda: numbered(2))
    assert not stopped.value.saved
    monkeypatch.undo()
    survival.pause(lambda: numbered(3))
    assert same(Survival(path).restore(), numbered(3))


def test_a_limit_of_the_system_leaves_no_part_of_a_file(tmp_path, caplog):
    """The same with a write that the operating system really cuts short."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "c"
    checkpoint.write(path, numbered(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, hard))
    try:
        Survival(path, every=0).pause(lambda: {"big": torch.zeros(2**16)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "not saved" in caplog.text
    assert os.listdir(tmp_path) == ["c"]
    assert same(Survival(path).restore(), numbered(1))


# When to save, when to stop


class Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(checkpoint, "time", clock)
    return clock


def test_the_budget_sets_the_interval(tmp_path, clock):
    """With 10 s between checkpoints one is made at the first pause 10 s after the last one."""
    survival, saved = Survival(tmp_path / "c", every=10), []
    for _ in range(100):
        clock.now += 3
        survival.pause(lambda: saved.append(clock.now - 1000) or numbered(1))
    assert saved == [float(t) for t in range(12, 301, 12)]


def test_without_a_path_nothing_is_asked_for_and_nothing_is_there(clock):
    survival = Survival(stop=lambda: clock.now > 1100)
    assert survival.restore() is None
    clock.now += 90
    survival.pause(lambda: pytest.fail("nothing is to be saved"))
    clock.now += 90
    with pytest.raises(Stopped):
        survival.pause(lambda: pytest.fail("nothing is to be saved"))
    survival.clear()


def test_a_stop_saves_first(tmp_path, clock):
    with pytest.raises(Stopped) as stopped:
        Survival(tmp_path / "c", every=math.inf, stop=lambda: True).pause(lambda: numbered(5))
    assert stopped.value.saved
    assert pickle.loads(pickle.dumps(Stopped(False))).saved is False  # a worker sends it
    assert same(Survival(tmp_path / "c").restore(), numbered(5))


def test_a_deadline_passes(clock):
    deadline = Deadline(60)
    assert not deadline()
    clock.now += 59
    assert not deadline()
    assert deadline.left == 1
    clock.now += 1
    assert deadline()
    assert Deadline().left == math.inf
    assert not Deadline()()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_the_first_signal_asks_and_the_second_interrupts(name):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    deadline = Deadline()
    with deadline.listening():
        assert not deadline()
        signal.raise_signal(getattr(signal, name))
        assert deadline()
        assert (deadline.asked, deadline.left) == (name, 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_in_another_thread_signals_are_left_alone():
    before, seen = signal.getsignal(signal.SIGINT), []

    def listen():
        with Deadline(5).listening() as deadline:
            seen.extend([deadline(), signal.getsignal(signal.SIGINT)])

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [False, before]


# A training run that is interrupted


N_UPDATES, N_REPLICAS = 14, 4


class Stream:
    """Draws every replica's batch from one generator each, in order."""

    def __init__(self):
        self.generators = [torch.Generator().manual_seed(r) for r in range(N_REPLICAS)]

    def draw(self, replicas):
        drawn = torch.stack([torch.randn(3, 4, 2, generator=g) for g in self.generators])
        return drawn[replicas]

    def state_dict(self):
        return {"generators": [generator.get_state() for generator in self.generators]}

    def load_state_dict(self, state):
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(saved)


class Leave:
    """A check that lets replicas go by how often it has been asked, which it has to remember."""

    def __init__(self, at):
        self.at, self.asked = at, 0

    def __call__(self, model, step, replicas):
        self.asked += 1
        return torch.tensor([self.at[r] == self.asked for r in replicas.tolist()])

    def state_dict(self):
        return {"asked": self.asked}

    def load_state_dict(self, state):
        self.asked = state["asked"]


class Killed(BaseException):
    pass


def sitting(path, clock, every, leave_at, updates=math.inf, kill=False):
    """Begin or go on; after so many updates stop in order or, losing what is not saved, die."""
    model = Elman(2, 5, 2, replicas=N_REPLICAS)
    model.draw_(0.5, [torch.Generator().manual_seed(100 + r) for r in range(N_REPLICAS)])
    stream, leave, made = Stream(), Leave(leave_at), []

    def objective(work, step, replicas, carry):
        if kill and len(made) == updates:
            raise Killed
        made.append(step)
        clock.now += 1
        states = work.states(stream.draw(replicas), carry)
        losses = (work.read_out(states) ** 2).mean((1, 2, 3))
        # Replica 2 diverges in the sixth update.
        losses = losses * torch.where((replicas == 2) & torch.tensor(step == 6), math.nan, 1.0)
        return losses, states[:, :, -1].detach()

    history = train(
        model,
        objective,
        learning_rate=torch.tensor([0.1, 0.2, 0.3, 0.4]),
        threshold=0.3,
        n_updates=N_UPDATES,
        check=leave,
        check_every=2,
        survival=Survival(path, every=every, stop=lambda: not kill and len(made) >= updates),
        parts=(stream, leave),
    )
    return {
        "model": dict(model.state_dict()),
        "history": dict(vars(history)),
        "stream": stream.state_dict(),
        "leave": leave.state_dict(),
        "made": made,
    }


NEVER = (0, 0, 0, 0)
SOME, ALL = (0, 2, 0, 4), (5, 2, 0, 5)
"""At which question each replica leaves: two before the end; all of them."""


def begun_again(path, clock, interruptions, every, leave_at):
    """The outcome of a run with these interruptions, and how many of them it met."""
    met = 0
    for updates, kill in [*interruptions, (math.inf, False)]:
        try:
            outcome = sitting(path, clock, every, leave_at, updates, kill)
        except (Stopped, Killed):
            met += 1
        else:
            return outcome, met
    raise AssertionError("the last sitting has no end set to it")


@pytest.mark.parametrize("leave_at", [NEVER, SOME, ALL])
@pytest.mark.parametrize("stop", range(1, N_UPDATES + 1))
def test_a_run_stopped_at_any_update_ends_as_if_it_had_not_been(tmp_path, clock, stop, leave_at):
    unbroken = sitting(None, clock, math.inf, leave_at)
    outcome, met = begun_again(tmp_path / "c", clock, [(stop, False)], math.inf, leave_at)
    n_updates = int(unbroken["history"]["updates"].max())
    assert n_updates == (10 if leave_at == ALL else N_UPDATES)
    assert met == (stop < n_updates or (stop == N_UPDATES and leave_at != ALL))
    if met:
        assert outcome["made"] == list(range(stop + 1, n_updates + 1))  # none is made twice
    assert same({**outcome, "made": []}, {**unbroken, "made": []})


@settings(max_examples=30)
@given(
    interruptions=st.lists(st.tuples(st.integers(1, N_UPDATES), st.booleans()), max_size=6),
    every=st.integers(0, 5),
    leave_at=st.sampled_from([NEVER, SOME, ALL]),
)
def test_any_stops_and_kills_in_any_order_change_no_bit(
    tmp_path_factory, interruptions, every, leave_at
):
    """Stopped in order or killed, with checkpoints after every one or only some of the updates."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "time", clock)
        unbroken = sitting(None, clock, math.inf, leave_at)
        path = tmp_path_factory.mktemp("run") / "c"
        outcome, _ = begun_again(path, clock, interruptions, every, leave_at)
    assert same({**outcome, "made": []}, {**unbroken, "made": []})


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_a_kill_loses_at_most_one_interval(tmp_path, clock, every):
    """A clock that counts updates: of those made, fewer than an interval's are made again."""
    for killed_after in range(1, N_UPDATES):
        path = tmp_path / str(killed_after) / "c"
        with pytest.raises(Killed):
            sitting(path, clock, every, NEVER, killed_after, kill=True)
        again = sitting(path, clock, every, NEVER)["made"]
        assert 0 <= killed_after - (again[0] - 1) < every


def test_the_tests_stream_and_check_would_notice_a_loss(tmp_path, clock):
    """The bitwise comparison fails if a part's state is not given back: it can fail."""
    unbroken = sitting(None, clock, math.inf, SOME)
    path = tmp_path / "c"
    with pytest.raises(Stopped):
        sitting(path, clock, math.inf, SOME, 3)
    state = checkpoint.read(path)
    for part in (0, 1):
        parts = [Stream().state_dict(), Leave(SOME).state_dict()]
        parts[1 - part] = state["parts"][1 - part]
        checkpoint.write(path, {**state, "parts": parts})
        outcome = sitting(path, clock, math.inf, SOME)
        assert not same({**outcome, "made": []}, {**unbroken, "made": []})
