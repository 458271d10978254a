"""Model files made by an enemy: refused in under a second, in twice the memory of the file.

Each is loaded in a process of its own, forked from a warm one, so that what safetensors allocates
outside Python counts too.
"""

import hashlib
import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from model_files import small_file

import xpmlp
from xpmlp.errors import CheckpointError, InvalidValueError
from xpmlp.storage import tensorfile as container

BEYOND, WITHIN = 60 * 10**6, container.MAX_HEADER
CONSTANT = 40 * container.MAX_HEADER  # JSON as Python objects, and what the process itself needs
SECONDS = 10.0  # what is out of proportion to the size takes minutes

Write = Callable[[Path], Any]


def content(made: bytes) -> Write:
    return lambda path: path.write_bytes(made)


def header(text: str | bytes = "{}", body: bytes = b"", length: int | None = None) -> Write:
    encoded = text.encode() if isinstance(text, str) else text
    size = len(encoded) if length is None else length
    return content(size.to_bytes(8, "little") + encoded + body)


def tensor(dtype: str, shape: list[Any], start: Any, stop: Any) -> str:
    return json.dumps({"dtype": dtype, "shape": shape, "data_offsets": [start, stop]})


def tensors(*entries: tuple[str, str], body: bytes = b"") -> Write:
    """A file with these names and descriptions."""
    rest = "".join(f', "{name}": {description}' for name, description in entries)
    return header(signed("{}") + rest + "}", body)


def beside_the_weights(name: str, value: Any) -> Write:
    """The small model with one more array, and a SHA-256 that is right."""
    arrays = safetensors.numpy.load(small_file()) | {name: value}
    size = int.from_bytes(small_file()[:8], "little")
    text = json.loads(small_file()[8 : 8 + size])["__metadata__"]["xpmlp"]
    digest = container._digest(text, arrays)
    return content(safetensors.numpy.save(arrays, {"xpmlp": text, "sha256": digest}))


def signed(text: str) -> str:
    """Metadata with a digest that is right for a configuration and no tensors."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return '{"__metadata__":' + json.dumps({"xpmlp": text, "sha256": digest})


def many(entry: str, size: int) -> str:
    """So many bytes of one entry after the other, numbered."""
    return ",".join(entry % i for i in range(size // (len(entry) + 6)))


LONG: dict[str, Callable[[int], str]] = {  # headers, by about how long they should be
    "brackets": lambda size: "[" * size,
    "nested objects": lambda size: '{"a":' * (size // 5),
    "objects": lambda size: '{"a":[' + "{}," * (size // 3) + "{}]}",
    "lists": lambda size: '{"a":[' + "[1]," * (size // 4) + "1]}",
    "one text": lambda size: '{"a":"' + "a" * size + '"}',
    "one number": lambda size: '{"a":' + "9" * size + "}",
    "spaces": lambda size: " " * size + "{}",
    "metadata": lambda size: '{"__metadata__":{' + many('"%x":""', size) + "}}",
    "tensors": lambda size: signed("{}") + "," + many(f'"%x":{EMPTY}', size) + "}",
    "configuration": lambda size: signed('{"format":1,"a":[' + "{}," * (size // 3) + "{}]}") + "}",
}

EMPTY = tensor("U8", [0], 0, 0)
F32 = tensor("F32", [1], 0, 4)
HOSTILE: dict[str, Write] = {
    "empty": content(b""),
    "seven bytes": content(b"\0" * 7),
    "no header": header(""),
    "header longer than the file": header(length=10**6),
    "header of 2**63": header(length=2**63),
    "header of -1": header(length=2**64 - 1),
    "header is no JSON": header("{not json}"),
    "header is a list": header("[1, 2]"),
    "header is text": header('"__metadata__"'),
    "header in UTF-16": header('{"__metadata__": {}}'.encode("utf-16")),
    "header with NaN": header('{"__metadata__": NaN}'),
    "header without metadata": header(),
    "metadata is null": header('{"__metadata__": null}'),
    "metadata is a number": header('{"__metadata__": 3}'),
    "metadata of others": header('{"__metadata__": {"format": "pt"}}'),
    "metadata twice": header('{"__metadata__": {"xpmlp": "{}"}, "__metadata__": {"xpmlp": ""}}'),
    "configuration is a number": header('{"__metadata__": {"xpmlp": 1, "sha256": "0"}}'),
    "no tensors": tensors(),
    "configuration is half a character": header(signed("").replace('""', '"\\ud800"') + "}"),
    "a surrogate as name": tensors(("\\ud800", F32), body=bytes(4)),
    "NUL in a name": tensors(("a\\u0000b", F32), body=bytes(4)),
    "NUL in a name, beside the weights": beside_the_weights("a\0b", np.zeros(1)),
    "huge tensor": tensors(("a", tensor("F32", [10**9], 0, 4 * 10**9))),
    "shape that overflows": tensors(("a", tensor("F32", [2**40, 2**40], 0, 4)), body=bytes(4)),
    "shape that overflows to four": tensors(
        ("a", tensor("U8", [2**32 + 1, 2**32], 0, 4)), body=bytes(4)
    ),
    "shape of 4000 digits": tensors(("a", tensor("F32", [10**4000], 0, 4)), body=bytes(4)),
    "a thousand dimensions": tensors(("a", tensor("F32", [1] * 1000, 0, 4)), body=bytes(4)),
    "no values, and a huge dimension": tensors(("a", tensor("F32", [0, 2**62], 0, 0))),
    "no values, beside the weights": beside_the_weights("a", np.zeros((0, 2**55), np.float32)),
    "negative offsets": tensors(("a", tensor("F32", [1], -4, 0)), body=bytes(4)),
    "offsets backwards": tensors(("a", tensor("F32", [1], 4, 0)), body=bytes(4)),
    "offsets of text": tensors(("a", tensor("F32", [1], "0", "4")), body=bytes(4)),
    "offset of 4000 digits": tensors(("a", tensor("F32", [1], 0, 10**4000)), body=bytes(4)),
    "one offset": tensors(("a", '{"dtype": "F32", "shape": [1], "data_offsets": [0]}')),
    "tensor is a list": tensors(("a", "[]")),
    "overlapping tensors": tensors(
        ("a", tensor("F32", [2], 0, 8)), ("b", tensor("F32", [2], 4, 12)), body=bytes(12)
    ),
    "the same bytes a thousand times": tensors(
        *((f"t{i}", tensor("U8", [10**6], 0, 10**6)) for i in range(1000)), body=bytes(10**6)
    ),
    "one name twice": tensors(("a", F32), ("a", tensor("F32", [2], 0, 8)), body=bytes(8)),
    "a gap between tensors": tensors(("a", F32), ("b", tensor("F32", [1], 8, 12)), body=bytes(12)),
    "more bytes than described": tensors(("a", F32), body=bytes(BEYOND)),
    "dtype of another world": tensors(("a", tensor("X7", [1], 0, 4)), body=bytes(4)),
    "bfloat16": tensors(("a", tensor("BF16", [2], 0, 4)), body=bytes(4)),
    "four bits": tensors(("a", tensor("F4", [8], 0, 4)), body=bytes(4)),
    "text": content(b"sepal length,sepal width\n5.1,3.5\n" * 10),
    "zip": content(b"PK\x03\x04" + bytes(100)),
    "60 MB of zeros": content(bytes(BEYOND)),
}
for name, make in LONG.items():
    for much, size in (("60 MB", BEYOND), ("just within", WITHIN - 200)):
        HOSTILE[f"{name}, {much}"] = lambda path, make=make, size=size: header(make(size))(path)


def sparse(path: Path) -> None:
    """A terabyte that takes no place on the disk, of which the header describes four bytes."""
    tensors(("a", F32))(path)
    os.truncate(path, 2**40)


def socket_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(path))  # the whole path may be too long for a socket


HOSTILE["sparse"] = sparse
NO_FILE: dict[str, Write] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a socket": socket_at,
}

LOADER = """
import json, os, resource, signal, sys, time
import xpmlp
backend = xpmlp.backend("numpy")
for path in sys.stdin:
    if os.fork():
        if os.wait()[1]:
            print(json.dumps([0, 0, "it was killed"]), flush=True)
        continue
    signal.alarm(120)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        xpmlp.load(path.rstrip("\\n"), backend=backend)
        said = "it loaded"
    except xpmlp.errors.CheckpointError as error:
        said = f"refused: {error}"
    except BaseException as error:
        said = repr(error)
    seconds = time.process_time() - start
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps([seconds, kilobytes, said]), flush=True)
    os._exit(0)
"""


class Loader:
    """A warm process that forks one for each file; Linux measures what each of them takes."""

    def __init__(self) -> None:
        root = Path(xpmlp.__file__).parents[1]
        self.process = subprocess.Popen(
            [sys.executable, "-c", LOADER],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (root, root / "backends")))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, path: Path) -> tuple[float, int, str]:
        """Seconds of its time, bytes by which it grew, and what was said."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(path, file=self.process.stdin, flush=True)
        seconds, kilobytes, said = json.loads(self.process.stdout.readline())
        return seconds, 1024 * kilobytes, said


@pytest.fixture(scope="module")
def load() -> Iterator[Loader]:
    loader = Loader()
    yield loader
    loader.process.communicate()


def unbounded(size: int, outcome: tuple[float, int, str]) -> bool:
    seconds, grown, _ = outcome
    return seconds >= SECONDS or grown > 2 * size + CONSTANT


linux = pytest.mark.skipif(sys.platform != "linux", reason="measures processes as Linux does")


@linux
@pytest.mark.parametrize("name", HOSTILE | NO_FILE)
@pytest.mark.sampled(3)
def test_a_hostile_file_is_refused(
    name: str, load: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "m.xpmlp"
    (HOSTILE | NO_FILE)[name](path)
    size = path.stat().st_size if path.is_file() else 0
    outcome = load(path)
    path.rmdir() if path.is_dir() else path.unlink()  # pytest keeps folders
    assert outcome[2].startswith(f"refused: {path}: ")
    assert len(outcome[2]) < 1000
    assert not unbounded(size, outcome), outcome


@linux
def test_a_large_file_that_is_good_takes_its_size_twice(load: Loader, tmp_path: Path) -> None:
    """So the measure sees memory, and reading is held to the same bound as refusing."""
    X = np.zeros((BEYOND // 8, 1))
    container.write(tmp_path / "m.xpmlp", {"metadata": {}}, {"X": X})
    _, grown, said = load(tmp_path / "m.xpmlp")
    (tmp_path / "m.xpmlp").unlink()
    assert said.startswith("refused")  # for it has no layers; that is seen when all is read
    assert X.nbytes < grown < 2 * X.nbytes + CONSTANT


def test_what_was_tried(tried: Any) -> None:
    assert len(HOSTILE) >= 20
    tried(
        f"{len(HOSTILE)} hostile headers and {len(NO_FILE)} of no regular file: refused, each in "
        f"under {SECONDS:g} s and 2 x file size + {CONSTANT >> 20} MiB"
    )


def test_a_header_that_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    mlp = xpmlp.MLP([2, 2], backend="numpy", seed=0)
    mlp.metadata = {"text": "a" * container.MAX_HEADER}
    with pytest.raises(InvalidValueError, match=r"metadata: makes a header of \d+ bytes"):
        mlp.save(tmp_path / "m.xpmlp")
    assert not any(tmp_path.iterdir())
    mlp.metadata = {"text": "a" * (container.MAX_HEADER - 2000)}
    mlp.save(tmp_path / "m.xpmlp")
    assert xpmlp.load(tmp_path / "m.xpmlp", backend="numpy").metadata == mlp.metadata


def test_a_file_that_is_cut_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "m.xpmlp", json.loads
    xpmlp.MLP([300, 300], backend="numpy", seed=0).save(path)

    def cut(text: Any) -> Any:
        os.truncate(path, 200_000)
        return real(text)

    monkeypatch.setattr(container.json, "loads", cut)
    with pytest.raises(CheckpointError, match="SafetensorError"):
        xpmlp.load(path, backend="numpy")


class Bomb:
    def __reduce__(self) -> Any:
        return exec, ("import os; os.environ['XPMLP_TEST_BOMB'] = 'it ran'",)


@pytest.mark.parametrize("protocol", [0, pickle.HIGHEST_PROTOCOL])
@pytest.mark.sampled(2)
def test_a_pickle_never_runs(protocol: int, tmp_path: Path) -> None:
    bomb = pickle.dumps(Bomb(), protocol)
    (tmp_path / "m.xpmlp").write_bytes(bomb)
    with pytest.raises(CheckpointError):
        xpmlp.load(tmp_path / "m.xpmlp", backend="numpy")
    assert "XPMLP_TEST_BOMB" not in os.environ
    pickle.loads(bomb)
    assert os.environ.pop("XPMLP_TEST_BOMB") == "it ran"  # it would have
