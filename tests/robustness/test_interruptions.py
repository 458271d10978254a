"""Ctrl-C, SIGTERM and SIGKILL at any moment: what is resumed is the uninterrupted run."""

import itertools
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import xpmlp_backends
from robustness.faults import ended, started
from robustness.resuming import Run

import xpmlp
from xpmlp.checkpoints import folder as checkpoints
from xpmlp.cli import main, train
from xpmlp.storage import locking
from xpmlp.storage import signals as interruption

EPOCHS = "12"
SIGNALS = {"Ctrl-C": (signal.SIGINT, 130), "SIGTERM": (signal.SIGTERM, 143)}


# The library


class Ended(BaseException):
    """What a program makes of SIGTERM."""


@pytest.fixture
def handlers() -> Iterator[None]:
    """Ctrl-C as in a fresh process, and a program's own answer to SIGTERM."""

    def end(*_: object) -> None:
        raise Ended

    before = [
        (number, signal.signal(number, handler))
        for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, end))
    ]
    yield
    for number, handler in before:
        signal.signal(number, handler)


def often(times: int, expected: float) -> bool:
    """Whether something happened so often; of few tries one is enough."""
    return times > (expected if expected > 4 else 0)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_at_any_moment(name: str, tmp_path: Path, tried: Any, draws: Any) -> None:
    """The step is finished and saved, then the program's own answer is given."""
    number, rng, moments = SIGNALS[name][0], random.Random(1), draws(5, 10, 100)

    def run() -> Run:
        return Run(epochs=20, optimizer=xpmlp.SGD(1e-9), patience=99)

    for warm in range(2):
        begin = time.perf_counter()
        whole = run().fit(checkpoints=tmp_path / f"whole-{warm}").facts()
        seconds, midway = time.perf_counter() - begin, 0
    for n in range(30 * moments):
        if n >= moments and often(midway, moments / 5):
            break
        folder = tmp_path / f"{n}"
        shot = threading.Timer(rng.uniform(0, seconds), os.kill, (os.getpid(), number))
        with suppress(KeyboardInterrupt if number == signal.SIGINT else Ended):
            shot.start()
            run().fit(checkpoints=folder, checkpoint_every=10**9)
            shot.cancel()
            shot.join()
        found = [path.name for path in folder.glob("step-*")]
        midway += found not in ([], ["step-000000200.xpmlp"])
        seconds *= 0.8 if found == ["step-000000200.xpmlp"] else 1.05  # whatever the machine does
        assert run().fit(checkpoints=folder, resume=True).facts() == whole, found
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert often(midway, moments / 5)
    tried(f"{name} at {n} moments of a training: {midway} within it, all resumed")


class Shoot(xpmlp.Callback):
    """Signals after a step."""

    every = 13

    def __init__(self, *numbers: int) -> None:
        self.numbers, self.steps = numbers, 0

    def on_batch_end(self, training: Any) -> None:
        self.steps = training.total
        for number in self.numbers:
            signal.raise_signal(number)


@pytest.mark.usefixtures("handlers")
def test_the_first_is_answered_after_the_step_and_the_second_at_once(tmp_path: Path) -> None:
    told: list[int] = []
    keep = xpmlp.Checkpoints(tmp_path / "c", every=13, best=False, tell=told.append)
    twice = Shoot(signal.SIGINT, signal.SIGTERM)
    with pytest.raises(Ended):
        Run().fit(checkpoints=keep, callbacks=[twice])
    assert told == [signal.SIGINT]
    assert not keep.files()  # it came before the checkpoint of that step
    once = Shoot(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        Run().fit(checkpoints=keep, callbacks=[once])
    newest, before = (int(path.stem[5:]) for path in keep.files())
    assert before == 13 < newest <= 20  # the next look was at the end of the epoch, at the latest
    assert once.steps == 13


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("name", SIGNALS)
def test_none_is_lost_at_the_begin_and_end(name: str, tmp_path: Path, tried: Any) -> None:
    """A signal before each line that sets handlers, locks, looks, or gives back what it took."""
    number = SIGNALS[name][0]
    answers = {n: signal.getsignal(n) for n, _ in SIGNALS.values()}
    counted = itertools.count(1)
    files = {m.__file__ for m in (interruption, checkpoints, locking)}

    def signalling(nth: int) -> Any:
        seen = itertools.count(1)

        def trace(frame: Any, event: str, _: Any) -> Any:
            if frame.f_code.co_filename not in files:
                return None
            if event == "line" and next(seen) == nth:
                sys.settrace(None)
                signal.raise_signal(number)
                time.sleep(0)  # by now it is handled
            return trace

        return trace

    before = sys.gettrace()
    for nth in counted:
        keep, answered = xpmlp.Checkpoints(tmp_path), False
        try:
            sys.settrace(signalling(nth))
            with keep.opened(False):
                pass
            reached = sys.gettrace() is None
        except (KeyboardInterrupt, Ended):
            answered = True
        finally:
            sys.settrace(before)
        if not answered:
            assert not reached, f"lost at line {nth}"
            break
        assert {n: signal.getsignal(n) for n in answers} == answers
    tried(f"{name} at each of {nth - 1} lines around a training: all answered")
    assert nth > 50
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("handlers")
def test_without_checkpoints_and_in_other_threads_signals_are_as_ever(tmp_path: Path) -> None:
    shoot = Shoot(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        Run().fit(callbacks=[shoot])
    handlers: list[Any] = []

    class Look(xpmlp.Callback):
        def on_epoch_begin(self, training: Any) -> None:
            handlers.append(signal.getsignal(signal.SIGINT))

    training = threading.Thread(
        target=Run().fit, kwargs={"checkpoints": tmp_path / "c", "callbacks": [Look()]}
    )
    training.start()
    training.join()
    assert set(handlers) == {signal.default_int_handler}
    assert len(handlers) == 5


@pytest.mark.usefixtures("handlers")
def test_a_forked_child_ends_as_it_would(tmp_path: Path) -> None:
    class Fork(xpmlp.Callback):
        def on_epoch_begin(self, training: Any) -> None:
            ready, say = os.pipe()

            def live() -> None:
                os.write(say, b"!")
                time.sleep(600)

            child = started(live)
            os.read(ready, 1)  # before that, Python forgets a signal to a process that it forks
            os.kill(child, signal.SIGTERM)
            assert ended(child) == -signal.SIGTERM
            os.close(ready)
            os.close(say)

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Run(epochs=2).fit(checkpoints=tmp_path, callbacks=[Fork()])


@pytest.mark.usefixtures("handlers")
def test_a_training_within_a_training_ends_too(tmp_path: Path) -> None:
    inner = Shoot(signal.SIGINT)

    class Nest(xpmlp.Callback):
        def on_epoch_end(self, training: Any) -> None:
            Run().fit(checkpoints=tmp_path / "inner", callbacks=[inner])

    with pytest.raises(KeyboardInterrupt):
        Run().fit(checkpoints=tmp_path / "outer", callbacks=[Nest()])
    assert inner.steps == 13
    assert list((tmp_path / "inner").glob("step-*"))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("handlers")
def test_a_save_that_fails_is_not_hidden_by_the_signal(tmp_path: Path) -> None:
    class Full(Shoot):
        def on_batch_end(self, training: Any) -> None:
            super().on_batch_end(training)
            for step in range(14, 21):  # no file can take such a name
                (tmp_path / f"step-{step:09d}.xpmlp").mkdir(exist_ok=True)

    full = Full(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as info:
        Run().fit(checkpoints=tmp_path, checkpoint_every=10**6, callbacks=[full])
    assert "before that: " in info.value.__notes__[0]
    assert "/step-0000000" in info.value.__notes__[0]


@pytest.mark.usefixtures("handlers")
def test_what_tells_of_a_signal_may_fail(tmp_path: Path) -> None:
    def tell(number: int) -> None:
        raise OSError("no terminal")

    keep = xpmlp.Checkpoints(tmp_path, every=10**6, best=False, tell=tell)
    with pytest.raises(KeyboardInterrupt):
        Run().fit(checkpoints=keep, callbacks=[Shoot(signal.SIGINT)])
    assert len(keep.files()) == 1


@pytest.mark.usefixtures("handlers")
def test_an_interruption_before_the_first_epoch_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    class Early(xpmlp.Callback):
        def on_train_begin(self, training: Any) -> None:
            raise KeyboardInterrupt

    Run().fit(checkpoints=tmp_path)
    run = Run()
    with pytest.raises(KeyboardInterrupt):
        run.fit(checkpoints=tmp_path, resume=True, callbacks=[Early()])
    assert run.mlp.epochs_trained == 0
    for name, value in run.model().state_dict().items():
        assert np.array_equal(run.mlp.state_dict()[name], value)


@pytest.mark.usefixtures("handlers")
def test_what_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """A process started with nohup trains on."""
    whole = Run().fit().facts()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run = Run().fit(checkpoints=tmp_path / "c", callbacks=[Shoot(signal.SIGINT)])
    assert run.facts() == whole


# The command line, in processes of its own


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((120, 3))
    lines = [f"{a:.4f},{b:.4f},{c:.4f},{'yes' if a * b > c else 'no'}" for a, b, c in rows]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,c,label", *lines]))
    return tmp_path / "table.csv"


def arguments(table: Path, folder: Path) -> list[str]:
    given = f"--out {folder} --hidden 16 --batch-size 8 --early-stopping 200 --checkpoint-every 20"
    return ["train", str(table), *given.split(), "--epochs", EPOCHS, "--backend", "numpy"]


def start(argv: list[str], log: Path) -> int:
    """Run a command in a forked process, whose imports are done; nothing of it draws."""

    def command() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115
        sys.modules["matplotlib"] = None  # type: ignore[assignment]
        status = main(argv)
        sys.stderr.flush()
        os._exit(status)

    return started(command)


def outcome(folder: Path) -> dict[str, Any]:
    """All that a finished run leaves, but the times."""
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    result = json.loads((folder / "result.json").read_text())
    mlp = xpmlp.load(folder / "model.xpmlp", backend="numpy")
    return {
        "history": [{k: v for k, v in row.items() if k != "seconds"} for row in rows],
        "weights": {name: value.tobytes() for name, value in mlp.state_dict().items()},
        "result": {k: v for k, v in result.items() if k not in ("seconds", "examples_per_second")},
        "temporaries": [p.name for p in folder.rglob("*") if p.name.startswith(".")],
        "newest": max(p.name for p in (folder / "checkpoints").glob("step-*")),
    }


def whole_run(table: Path) -> tuple[dict[str, Any], float]:
    """The uninterrupted run, and the seconds it takes."""
    with mock.patch.object(train, "draw", return_value=False):  # what is compiled is the children's
        assert main([*arguments(table, table.with_name("warm")), "--quiet"]) == 0
    folder, begin = table.with_name("whole"), time.perf_counter()
    assert ended(start(arguments(table, folder), table.with_name("log"))) == 0
    seconds = time.perf_counter() - begin
    assert len(outcome(folder)["history"]) == int(EPOCHS)
    return outcome(folder), seconds


def finish(folder: Path, table: Path, log: Path) -> dict[str, Any]:
    """Resume a run, or begin it where it had not come so far as to say what it is."""
    begun = (folder / "settings.json").exists()
    argv = ["train", "--resume", str(folder)] if begun else arguments(table, folder)
    assert ended(start(argv, log)) == 0, log.read_text()
    return outcome(folder)


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.sampled(2)
def test_a_command_that_is_interrupted(name: str, table: Path, tried: Any, draws: Any) -> None:
    """It says how to resume, and its status is the one that shells know."""
    (number, status), rng = SIGNALS[name], random.Random(6)
    expected, seconds = whole_run(table)
    moments, said, late, training = draws(3, 8, 100), 0, 0, seconds / 2
    for n in range(moments):
        folder, log = table.with_name(f"{name}-{n}"), table.with_name(f"log-{n}")
        child = start(arguments(table, folder), log)
        while "epoch" not in (log.read_text() if log.exists() else ""):
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, training))
        os.kill(child, number)
        found, text = ended(child), " ".join(log.read_text().split())
        assert "Traceback" not in text
        done = (folder / "result.json").exists()
        training *= 0.8 if done else 1.05  # whatever the machine does
        if done:
            late += 1
            assert outcome(folder) == expected
            continue
        assert found == status, text
        if f"to resume: xpmlp train --resume {shlex.quote(str(folder))}" in text:
            said += 1
        else:  # before the first step
            assert not folder.exists(), text
        assert finish(folder, table, log) == expected
    assert often(said, moments / 3)
    tried(
        f"{name} at {moments} moments of a command: {said} said how to resume and did, {late} late"
    )


@pytest.mark.slow
def test_killed_at_any_moment(table: Path, tried: Any, draws: Any) -> None:
    """A fifth of the kills comes at any time of the process, the others while it trains."""
    expected, seconds = whole_run(table)
    kills, rng, midway = draws(6, 20, 1000), random.Random(7), 0
    log, training = table.with_name("log"), seconds / 2
    for n in range(kills):
        folder = table.with_name(f"{n}")
        child = start(arguments(table, folder), log)
        while n % 5 and not (folder / "history.jsonl").exists():
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, training if n % 5 else seconds))
        os.kill(child, signal.SIGKILL)
        done = ended(child) == 0 or (folder / "result.json").exists()
        training *= (0.8 if done else 1.05) if n % 5 else 1  # whatever the machine does
        if not done:
            midway += bool(list((folder / "checkpoints").glob("step-*")))
            assert finish(folder, table, log) == expected
    assert often(midway, kills / 8)
    tried(f"{kills} SIGKILLs, {midway} with checkpoints: all resumed to the same end, 0 bad")


@pytest.mark.slow
def test_a_process_of_its_own(table: Path) -> None:
    """As a person does it: the module, a signal, and the command that it said."""
    roots = os.pathsep.join(str(Path(m.__file__ or "").parents[1]) for m in (xpmlp, xpmlp_backends))
    environment = os.environ | {"PYTHONPATH": roots}
    expected, _ = whole_run(table)
    python = [sys.executable, "-m", "xpmlp"]
    for n in range(20):  # it may be over before it gets the signal
        folder = table.with_name(f"own-{n}")
        given = [*python, *arguments(table, folder), "--quiet"]
        run = subprocess.Popen(given, env=environment, stderr=subprocess.PIPE, text=True)
        while not list(folder.glob("checkpoints/step-*")) and run.poll() is None:
            time.sleep(0.001)
        run.send_signal(signal.SIGINT)
        said = run.communicate()[1]
        if "to resume" in said:
            break
        assert run.returncode in (0, 130)
    assert run.returncode == 130
    assert said.splitlines()[-1].startswith("xpmlp: interrupted; the model of epoch ")
    command = said.split("to resume: xpmlp ")[1].split()
    subprocess.run([*python, *command, "--quiet"], env=environment, check=True)
    assert outcome(folder) == expected
