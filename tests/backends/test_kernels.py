"""The kernels themselves: compiled for real GPUs, and run where sizes are awkward."""

import importlib.util
from math import ceil
from typing import Any

import numpy as np
import pytest
from conftest import REQUIRED, assert_close, make_backend
from emulation.device import CudaError
from emulation.kernels import RawModule
from xpmlp_backends.cupy.kernels import GATHERED, THREADS, TYPES, names, shares, source
from xpmlp_backends.cupy.ops import KERNEL_LOSSES, KERNEL_METRICS

from xpmlp import losses
from xpmlp.nn import metrics


@pytest.fixture(params=["cupy-emulated", pytest.param("cupy", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Any:
    return make_backend(request.param)


# For real GPUs


def compiled(text: str, architecture: str, wanted: tuple[str, ...]) -> bytes:
    """Machine code of a GPU that need not be there."""
    if importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.core") is None:
        if "nvrtc" in REQUIRED:
            raise ImportError("cuda.core is required")
        pytest.skip("cuda-core is not installed: pip install 'xpmlp[test,nvrtc]'")
    from cuda.core import Program, ProgramOptions

    options = ProgramOptions(std="c++17", arch=architecture, ftz=True)  # as CuPy compiles, always
    try:
        program = Program(text, "c++", options)
    except RuntimeError as error:
        if "nvrtc" in REQUIRED:
            raise
        pytest.skip(f"NVRTC is not installed: {error}")
    code = program.compile("cubin", name_expressions=wanted).code
    assert isinstance(code, bytes)
    return code


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_100"])
def test_every_kernel_compiles_for_real_gpus(architecture: str) -> None:
    wanted = tuple(dict.fromkeys([*names("float32"), *names("float64")]))
    assert len(wanted) == 2 * (14 + len(set(GATHERED.values()))) + 2
    assert len(compiled(source(), architecture, wanted)) > 10_000


def test_a_kernel_that_is_wrong_does_not_compile() -> None:
    wrong = source().replace("h[i] = activation(which, z[i])", "h[i] = activat(z[i])")
    assert wrong != source()
    compiled(source(), "sm_90", ("activate<float>",))
    with pytest.raises(Exception, match="activat"):
        compiled(wrong, "sm_90", ("activate<float>",))


@pytest.mark.parametrize("threads", [1, 40])
def test_the_imitation_finds_a_barrier_that_not_all_reach(threads: int) -> None:
    """Thread 0 waits for its block, the others for a warp of which it is a part."""
    text = """const unsigned EVERYONE = 0;
    __global__ void waits(int n) {
        if (threadIdx.x == 0) __syncthreads(); else __shfl_xor_sync(EVERYONE, n, 1);
    }"""
    kernel = RawModule(code=text, options=(), name_expressions=("waits",)).get_function("waits")
    if threads == 1:
        kernel((1,), (threads,), (np.int32(0),))
    else:
        with pytest.raises(CudaError, match="barrier that others never reach"):
            kernel((1,), (threads,), (np.int32(0),))


@pytest.mark.parametrize(
    "argument", [3, 3.0, np.int64(3), np.float32(3), np.zeros(3), None], ids=type
)
def test_the_imitation_refuses_arguments_of_another_type(argument: Any) -> None:
    text = "__global__ void takes(int n) {}"
    module = RawModule(code=text, options=(), name_expressions=("takes",))
    with pytest.raises(AssertionError):
        module.get_function("takes")((1,), (1,), (argument,))


# Awkward sizes


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows", [1, 7, 8, 9, 512, 513, 3001])
@pytest.mark.parametrize("columns", [1, 31, 33, 70])
def test_columns_of_any_length_are_summed(device: Any, rows: int, columns: int, dtype: str) -> None:
    ops = device.ops.activation.__self__
    x = np.random.default_rng(0).standard_normal((rows, columns)).astype(dtype)
    sums = device.asarray(np.full(columns, np.nan, dtype))
    ops.column_sums(device.asarray(x), sums)
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    assert_close(device.to_numpy(sums), x.sum(axis=0, dtype=float), of_max=tolerance, atol=1e-4)


def test_the_rows_of_a_column_are_divided() -> None:
    assert [shares(n) for n in (1, 512, 513, 8192, 10**6)] == [1, 1, 3, 32, 64]


@pytest.mark.parametrize("n", [1, 7, 8, 9, 300, pytest.param(9000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("columns", [1, 10, 33])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.sampled(5)
def test_a_batch_of_any_length_is_assessed(
    device: Any, n: int, columns: int, weighted: bool
) -> None:
    """The last block adds up what the others leave, again and again."""
    rng, ops = np.random.default_rng(n), device.ops
    z, labels = rng.standard_normal((n, columns)), rng.integers(0, columns, n).astype(np.int32)
    weight = rng.random(n) + 0.1 if weighted else None
    expected = make_backend("numpy").ops.assess(
        make_backend("numpy").ops, losses.SparseCategoricalCrossEntropy(), metrics.LABELS,
        z, labels, weight,
    )  # fmt: skip
    given = [None if a is None else device.asarray(a) for a in (z, labels, weight)]
    for _ in range(2):
        value, dz, score = ops.assess(
            ops, losses.SparseCategoricalCrossEntropy(), metrics.LABELS, *given
        )
        assert_close(device.to_numpy(value), expected[0], rtol=1e-12)
        assert_close(device.to_numpy(dz), expected[1], of_max=1e-12)
        assert float(device.to_numpy(score).sum()) == expected[2].sum()


@pytest.mark.parametrize("size", [1, 3, 4, 5, 1023, 4 * THREADS + 3])
@pytest.mark.parametrize("offset", [0, 1, 2, 4])
def test_adam_of_any_length_and_place(device: Any, size: int, offset: int) -> None:
    """Four at a time where the arrays lie so, one at a time else."""
    rng = np.random.default_rng(size)
    arrays = [rng.random(size + offset).astype(np.float32) for _ in range(4)]
    c = np.array([0.02, 1.5, 0.99], np.float32)
    host = make_backend("numpy-plain").ops
    p, (m, v) = host.adam(*(a[offset:].copy() for a in arrays), c, 0.9, 0.999, 1e-8)
    given = [device.asarray(a)[offset:] for a in arrays]
    found, moments = device.ops.adam(*given, device.asarray(c), 0.9, 0.999, 1e-8)
    for ours, right in zip((found, *moments), (p, m, v), strict=True):
        assert_close(device.to_numpy(ours), right, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("columns", [1, 2, 31, 257, 784])
def test_rows_of_any_length_are_gathered(device: Any, columns: int) -> None:
    X = np.random.default_rng(0).integers(0, 256, (50, columns)).astype(np.uint8)
    y, rows = np.arange(50, dtype=np.int32), np.array([49, 0, 7, 7], np.int32)
    x, labels, weight = device.ops.gather_batch(
        *map(device.asarray, (X, y)), None, device.asarray(rows), None, None, device.xp.float32
    )
    np.testing.assert_array_equal(device.to_numpy(x), X[rows])
    np.testing.assert_array_equal(device.to_numpy(labels), rows)
    assert weight is None


def test_every_loss_and_metric_has_its_number() -> None:
    assert set(KERNEL_LOSSES) == set(losses.LOSSES.values())
    known = {m for m in vars(metrics).values() if isinstance(m, metrics.Metric)}
    assert known == KERNEL_METRICS.keys() - {None}
    assert ceil(9000 * 32 / THREADS) > 1024  # so that blocks take several rows in the test above
