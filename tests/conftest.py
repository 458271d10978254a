"""One ``backend`` fixture: every numeric test runs on every backend that is there."""

import gc
import importlib
import importlib.util
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import MethodType
from zlib import crc32

# Float64 on JAX needs this before JAX is imported; its default mode has a test of its own.
os.environ.setdefault("JAX_ENABLE_X64", "1")
# JAX compiles thousands of tiny steps here: that takes time, not how fast they run.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", tempfile.mkdtemp(prefix="xpmlp-jax-"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")
# scikit-learn wants this for its array API checks, before SciPy is imported.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
# What is timed in tests is not the user's.
os.environ.setdefault("XPMLP_CACHE_DIR", tempfile.mkdtemp(prefix="xpmlp-tests-"))
# The networks here are tiny: threads would only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Tests start hundreds of Pythons: none of them needs to compile our modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A shell lets its jobs in the background ignore Ctrl-C, and they their children; tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from typing import Any

import hypothesis
import numpy as np
import pytest
import small_mnist
import xpmlp_backends
from emulation import emulated
from visitors import address, browser, visit  # noqa: F401
from xpmlp_backends.base import EagerBackend
from xpmlp_backends.registry import TABLE

from xpmlp.errors import unknown_name
from xpmlp.nn.ops import Ops
from xpmlp.storage.atomic import write_atomically

ASKED = os.environ.get("XPMLP_REQUIRE_BACKENDS", "numpy").split(",")
REQUIRED = [name for each in ASKED if (name := each.strip())]


def why_not(name: str) -> str | None:
    """Why the backend of a test id cannot be tested here; None if it can, or has to be."""
    if name in REQUIRED or name.startswith("numpy"):
        return None
    if name == "strict":
        found = importlib.util.find_spec("array_api_strict")
        return None if found else "array_api_strict is not installed"
    if name == "cupy-emulated":  # it needs a compiler, and takes a third of the time
        return f"for those who work on it: XPMLP_REQUIRE_BACKENDS=numpy,{name} runs it, with g++"
    return (xpmlp_backends.why_not(name) or "").removeprefix(f"backend {name!r}: ") or None


NAMES = (
    "numpy",
    "numpy-plain",
    "numpy-readonly",
    "strict",
    "torch",
    "jax",
    "dpnp",
    "cupy-emulated",
    "cupy",
)
TOKENS = ("numba", "nvrtc")
"""Libraries that can be required like a backend, but only speed one up or compile for one."""

MISSING = {name: reason for name in NAMES if (reason := why_not(name))}
OTHERS = [name for name in dict.fromkeys(REQUIRED) if name not in (*NAMES, *TOKENS)]
BACKENDS = [*(name for name in NAMES if name not in MISSING), *OTHERS]
"""What a test of every backend runs on; the summary says which are missing."""


def readonly_numpy() -> Any:
    """NumPy with the plain reference operations, where writing to an argument is an error."""
    from xpmlp_backends.base import Loop
    from xpmlp_backends.numpy.backend import NumpyBackend

    class ReadonlyNumpy(NumpyBackend):
        def __init__(self) -> None:
            super().__init__()
            self.ops = Ops.reference(self.xp, self.device)

        def asarray(self, host: Any, dtype: str | None = None) -> Any:
            return _freeze(np.array(host, dtype=dtype))

        def compile(self, step: Any) -> Any:
            return Loop(
                lambda state, data, plan, k: step(type(state)(*map(_freeze, state)), data, plan, k)
            )

    return ReadonlyNumpy()


def _freeze(x: Any) -> Any:
    if isinstance(x, tuple):
        return tuple(map(_freeze, x))
    x = np.asarray(x)
    x.flags.writeable = False
    return x


def make_backend(name: str) -> Any:
    """The backend of a test id; a skip with the reason, or a failure if it is required.

    ``numpy`` has numba's operations where numba is installed (``numba`` can be required like a
    backend), ``numpy-plain`` never. ``cupy-emulated`` is the CuPy adapter with its kernels compiled
    for the host; see ``emulation/emulated.py``.
    """
    if name in MISSING:
        pytest.skip(f"backend {name!r}: {MISSING[name]}")
    if name == "cupy-emulated":
        return emulated.backend()
    if name == "numpy-readonly":
        return readonly_numpy()
    if name == "numpy-plain":
        from xpmlp_backends.numpy.backend import NumpyBackend

        return NumpyBackend(fused=False)
    if name == "strict":
        import array_api_strict as strict

        strict.set_array_api_strict_flags(boolean_indexing=False, data_dependent_shapes=False)
    if name == "numpy" and "numba" in REQUIRED:
        importlib.import_module("numba")
    return xpmlp_backends.backend(name, "cpu" if name in ("torch", "jax", "dpnp") else None)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Three sizes of the suite: minutes, a quarter of an hour as in CI, and hours."""
    parser.addoption("--slow", action="store_true", help="as CI: slow tests too, larger counts")
    parser.addoption("--first", action="store_true", help="of --slow: minutes, on few backends")
    parser.addoption("--rest", action="store_true", help="of --slow: all that --first leaves out")
    parser.addoption(
        "--full", action="store_true", help="--slow, and what docs/why/reliability.md has"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to require what does not exist; Hypothesis tries as many as the suite's size says."""
    third = [point.name for point in entry_points(group="xpmlp.backends")] if OTHERS else []
    known = {*NAMES, *TOKENS, *TABLE, *third}
    for name in OTHERS:
        if name not in known:
            raise pytest.UsageError(
                f"XPMLP_REQUIRE_BACKENDS: {unknown_name('backend', name, known)}"
            )
    hypothesis.settings.register_profile("suite", max_examples=_examples(config))
    hypothesis.settings.load_profile("suite")


def _examples(config: pytest.Config) -> int:
    """How many examples hypothesis tries."""
    return 200 if config.getoption("--full") else 100 if _is_slow(config) else 60


def _is_slow(config: pytest.Config) -> bool:
    return any(map(config.getoption, ("--slow", "--rest", "--full")))


AT_MOST = {"jax": 1, "dpnp": 1}
"""Most cases of a test on these but with --full: they compile, which takes half of the time. Of
dpnp's that is every second: it computes with the standard's namespace, as strict does."""

EVERY = {"numpy-plain": 8, "numpy-readonly": 8, "strict": 3}
"""Of what else runs on these, as a rule every so manieth: with --slow, most."""

TURNS = ("numpy-plain", "numpy-readonly", "strict")
"""Without --full each of these has every second case, not the same one as its neighbour."""

MANY = 12
"""Cases of a test from which on a stranger's run has a third, chosen by their names. CI has all."""

LEFT = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the size of the suite leaves to a larger one; the summary says how many."""
    if os.environ.get("XPMLP_BROWSER") != "1":
        why = "the page in a browser: XPMLP_BROWSER=1 runs it, with playwright and Chromium"
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(pytest.mark.skip(reason=why))
    if config.getoption("--full"):
        return
    seen, in_ci = Counter[Any](), _is_slow(config) or config.getoption("--first")
    cases = Counter((_function(item), on) for item in items for on in AT_MOST if _is_on(item, on))

    def in_slow(item: pytest.Item) -> bool:
        name = _function(item)
        for on, most in AT_MOST.items():
            if _is_on(item, on):  # evenly over the cases
                k, n = seen[name, on], cases[name, on]
                seen[name, on] += 1
                chosen = (k + 1) * most // n != k * most // n
                seen[on, "functions"] += chosen
                return chosen and (on != "dpnp" or seen[on, "functions"] % 2 == 1)
        for turn, on in enumerate(TURNS):
            if in_ci and _is_on(item, on):
                seen[on, "turns"] += 1
                return seen[on, "turns"] % 2 == turn % 2
        return True

    def in_minutes(item: pytest.Item) -> bool:
        name, sampled = _function(item), item.get_closest_marker("sampled")
        seen[name] += 1
        if item.get_closest_marker("slow") or (sampled and (seen[name] - 1) % sampled.args[0]):
            return False
        for variant, every in EVERY.items():
            if _is_on(item, variant):
                seen[variant] += 1
                return seen[variant] % every == 1
        return True

    total = Counter(map(_function, items))

    def thinned(item: pytest.Item) -> bool:
        return total[_function(item)] <= MANY or crc32(item.nodeid.encode()) % 3 == 0

    def stays(item: pytest.Item) -> bool:
        if not in_slow(item):
            return False
        if config.getoption("--slow"):
            return True
        minutes = in_minutes(item)
        first = minutes and not any(_is_on(item, on) for on in (*AT_MOST, *EVERY))
        if _is_on(item, "cupy-emulated"):  # one case of a test reaches the lines of all
            first = first and seen[_function(item), "emulated"] == 0
            seen[_function(item), "emulated"] += first
        if config.getoption("--first"):
            return first
        if not config.getoption("--rest"):
            return minutes and thinned(item)
        # What draws, draws more often here.
        draws = "draws" in getattr(item, "fixturenames", ())
        return not first or draws or hasattr(getattr(item, "obj", None), "is_hypothesis_test")

    kept = [item for item in items if stays(item)]
    config.stash[LEFT] = len(items) - len(kept)
    if hasattr(config, "workeroutput"):  # of pytest-xdist: the process that writes the summary
        config.workeroutput["left"] = config.stash[LEFT]
    items[:] = kept


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over from a worker of pytest-xdist how many cases were left out."""
    node.config.stash[LEFT] = node.workeroutput.get("left", 0)


def _function(item: pytest.Item) -> str:
    return item.nodeid.split("[")[0]


def _is_on(item: pytest.Item, backend: str) -> bool:
    params = getattr(item, "callspec", None) and item.callspec.params  # type: ignore[attr-defined]
    return any(isinstance(value, str) and value == backend for value in (params or {}).values())


def pytest_collection_finish() -> None:
    """Keep thousands of tests out of the way of the garbage collector, which tests call."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def draws(request: pytest.FixtureRequest) -> Callable[..., int]:
    """``draws(60, 200, 2000)``: how many to try, as a rule, with ``--slow`` and with ``--full``."""

    def chosen(few: int, some: int, many: int | None = None) -> int:
        if request.config.getoption("--full"):
            return some if many is None else many
        return some if _is_slow(request.config) else few

    return chosen


@pytest.fixture
def tried(record_property: Any) -> Any:
    """``tried("12,000 mutations: 0 silent")``: a line of the summary, if the test passes."""
    return lambda line: record_property("tried", line)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what was tried, and why tests were skipped: a skip that nobody sees is a defect."""
    lines = [
        line
        for report in terminalreporter.stats.get("passed", [])
        for name, line in report.user_properties
        if name == "tried"
    ]
    for line in sorted(lines):
        terminalreporter.write_line(f"tried: {line}")
    for name, reason in MISSING.items():
        terminalreporter.write_line(f"not tested: backend {name!r}: {reason}")
    if left := config.stash.get(LEFT, 0):
        terminalreporter.write_line(
            f"{left} slow tests or further cases: --slow runs more, --full all"
        )
    reports = terminalreporter.stats.get("skipped", [])
    if importlib.util.find_spec("numba") is None:
        terminalreporter.write_line("numpy: tested without numba, which is not installed")
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in reports)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")


def _parameter(name: str) -> Any:
    return pytest.param(name, marks=[pytest.mark.gpu] if name == "cupy" else [])


@pytest.fixture(params=[_parameter(name) for name in BACKENDS])
def backend(request: pytest.FixtureRequest) -> Any:
    """Each backend in turn."""
    return make_backend(request.param)


@pytest.fixture
def uncompiled(backend: Any) -> None:
    """Let JAX run each step as it comes, where a test is not about the loop: compiling is slow."""
    if backend.name == "jax":
        backend.compile = MethodType(EagerBackend.compile, backend)


@pytest.fixture(autouse=True)
def _record_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let NumPy record the first step: tests are too short for a recording to pay."""
    monkeypatch.setattr("xpmlp_backends.numpy.backend.PAYS", 1)


@pytest.fixture
def torch_backend() -> Any:
    """PyTorch on the CPU, for tests that need a second backend."""
    return make_backend("torch")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command line write something in the place of a picture: drawing takes a second."""

    def a_picture(path: Path, *ignored: Any) -> None:
        write_atomically(path, b"picture")

    monkeypatch.setattr("xpmlp.cli.train.training_picture", a_picture)


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """A server on this machine that has a small MNIST."""
    with small_mnist.serving() as server:
        yield server


@pytest.fixture
def mirror(server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Its address, where ``load_mnist`` takes the small MNIST for the genuine one."""
    small_mnist.use_small(monkeypatch)
    server.seen.clear()
    return server.address


@pytest.fixture
def rng() -> np.random.Generator:
    """The same random numbers for each test."""
    return np.random.default_rng(20240229)


def assert_close(
    actual: Any, expected: Any, *, rtol: float = 0.0, atol: float = 0.0, of_max: float = 0.0
) -> None:
    """Compare arrays of one shape, NaN never being close to anything.

    ``of_max`` allows that share of the largest expected magnitude.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shapes {actual.shape} and {expected.shape} differ"
    finite = np.where(np.isfinite(expected), np.abs(expected.astype(np.float64)), 0.0)
    allowed = atol + rtol * finite + of_max * finite.max(initial=0.0)
    with np.errstate(invalid="ignore"):  # infinity minus infinity: equal, not close
        difference = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    good = (difference <= allowed) | (actual == expected)
    if not good.all():
        worst = np.unravel_index(np.argmax(np.where(good, 0, difference)), difference.shape)
        raise AssertionError(
            f"{(~good).sum()} of {good.size} differ; at {worst}: found {actual[worst]!r}, "
            f"expected {expected[worst]!r}, off by {difference[worst]:.3g}"
        )


def extremes(dtype: str) -> np.ndarray:
    """Numbers at which naive formulas overflow, vanish or cancel."""
    ends = [0.0, 1e-30, 1.0, 20.0, 40.0, 88.0, 89.0, 745.0, 1e4, float(np.finfo(dtype).max)]
    return np.array([*ends, *(-x for x in ends)], dtype=dtype)
