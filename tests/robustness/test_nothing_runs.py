"""No file makes Python run or import anything: watched by an audit hook, in its own process."""

import ast
import gzip
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model_files import forged, put, small_file
from robustness.mutations import mutants
from test_hostile_data import npy, npy_header, pack
from test_hostile_pictures import EPS, KINDS

import xpmlp

WATCHER = """
import json, re, sys, tempfile, warnings
from pathlib import Path
import PIL.Image
import xpmlp
from xpmlp.data.images import read_image
from xpmlp.data import load, read_idx

for encoding in ("cp1252", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"):
    "".encode(encoding)  # imports it

FACTS = {"shape": [8, 8], "maximum": 255, "reach": 1.0}
READERS = {
    ".xpmlp": lambda path: xpmlp.load(path, backend="numpy"),
    ".idx": read_idx,
    ".npz": load,
    ".csv": load,
    ".jsonl": load,
    ".parquet": load,
    ".png": lambda path: read_image(path, FACTS, "uint8"),
}
NEVER = ("exec", "import", "pickle.find_class", "marshal.", "ctypes.", "code.__new__",
         "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile",
         "os.remove", "os.rename", "os.mkdir", "subprocess.", "socket.", "urllib.", "webbrowser.")
WRITING = 0o3  # O_WRONLY and O_RDWR
# A folder of our own, in which a table is unpacked; what is removed has its name alone.
OWN = re.compile(re.escape(tempfile.gettempdir()) + r"/xpmlp-[a-z0-9_]{8}(/table(-rewritten)*)?")
FILES = ("os.mkdir", "os.remove", "open")
seen, watching = [], False

def hook(event, arguments):
    if event in FILES and OWN.fullmatch(str(arguments[0])):
        return
    if event == "os.remove" and re.fullmatch("table(-rewritten)*", str(arguments[0])):
        return
    if watching and (
        event.startswith(NEVER)
        or event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        # NumPy parses the header of an array, as a literal: that gives no code
        or event == "compile" and arguments[1] != "<unknown>"
    ):
        seen.append([event, repr(arguments)[:200]])

sys.addaudithook(hook)
results = {}
PIL.Image.init()  # imports what reads each of its formats
warnings.simplefilter("ignore")
paths = [Path(line) for line in sys.stdin.read().splitlines()]
warm = [path for path in paths if path.stem == "good"]  # some things are imported when used
for watching, chosen in ((False, warm), (True, paths)):
    for path in chosen:
        seen.clear()
        try:
            READERS[path.suffix](path)
        except Exception as error:
            said = type(error).__name__
        else:
            said = "read"
        results[path.name] = [said, *seen]
if sys.argv[1:]:
    seen.clear()
    exec(compile(sys.argv[1], "<told>", "exec"))
    results["told"] = list(seen)
watching = False
print(json.dumps(results))
"""


def watched(paths: list[Path], told: str | None = None) -> Any:
    root = Path(xpmlp.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", WATCHER, *([told] if told else [])],
        input="\n".join(map(str, paths)),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (root, root / "backends")))},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


class Bomb:
    def __reduce__(self) -> Any:
        return os.system, ("true",)


def good(folder: Path) -> dict[str, bytes]:
    """A file of each kind, by its suffix."""
    rng = np.random.default_rng(0)
    pq.write_table(pa.table({"a": [1, 2], "label": ["x", "y"]}), folder / "made.parquet")
    np.savez(folder / "made.npz", X=rng.normal(size=(9, 2)), y=np.array(["a", "b", "c"] * 3))
    return {
        ".xpmlp": small_file(),
        ".idx": gzip.compress(b"\0\0\x08\1\0\0\0\3abc"),
        ".npz": (folder / "made.npz").read_bytes(),
        ".csv": b"a,b,label\n1,2,x\n3,4,y\n5,6,x\n",
        ".jsonl": b'{"a": 1, "label": "x"}\n{"a": 3, "label": "y"}\n',
        ".parquet": (folder / "made.parquet").read_bytes(),
        ".png": KINDS["png"](),
    }


def hostile(folder: Path) -> dict[str, bytes]:
    """Files that would have something run, were their reader more trusting."""
    np.savez(folder / "o.npz", X=np.zeros((2, 1)), y=np.array([Bomb(), Bomb()], dtype=object))
    code, bomb = "__import__('os').system('true')", pickle.dumps(Bomb())
    # As many objects of eight bytes as the pickle is long: the header does not even lie.
    header = repr({"descr": "|O", "fortran_order": False, "shape": (len(bomb),)})
    pack(folder / "p.npz", X=npy(np.zeros((2, 1))), y=npy_header(header, bomb.ljust(8 * len(bomb))))
    made = {
        "object.npz": (folder / "o.npz").read_bytes(),
        "pickle of the right length.npz": (folder / "p.npz").read_bytes(),
        "eps.png": EPS,
        "code.csv": f'a,b,label\n"{code}",2,x\n"=cmd|calc",2,y\n'.encode(),
    }
    for place in (("activation",), ("output",), ("normalization",), ("initializer",), ("backend",)):
        for name in ("os.system", code, "own:os.system", "xpmlp_backends.torch.backend"):
            value = [name] if place == ("activation",) else name
            made[f"{place[0]} {len(made)}.xpmlp"] = forged(put(value, "arguments", *place))
    made["loss.xpmlp"] = forged(put("os.system", "loss", "name"))
    made["query.jsonl"] = b'{"a": "read_csv(\'/etc/passwd\')", "); --": 1}\n'
    for suffix in (".xpmlp", ".idx", ".npz", ".csv", ".jsonl", ".parquet", ".png"):
        made[f"pickle{suffix}"] = bomb
    return made


def test_no_file_makes_anything_run(tmp_path: Path, draws: Any, tried: Any) -> None:
    each = draws(20, 60, 1000)
    files = {f"good{suffix}": content for suffix, content in good(tmp_path).items()}
    files |= {
        f"mutant {k}{suffix}": mutant
        for suffix, content in good(tmp_path).items()
        for k, mutant in enumerate(mutants(content, each, 5))
    }
    files |= (bad := hostile(tmp_path))
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    found = watched([tmp_path / name for name in files])
    assert {name: events for name, (_, *events) in found.items() if events} == {}
    assert [found[f"good{suffix}"] for suffix in good(tmp_path)] == [["read"]] * 7
    assert {found[name][0] for name in bad} == {"CheckpointError", "DataError", "read"}
    assert [name for name in bad if found[name][0] == "read"] == ["code.csv"]  # text, as such
    tried(f"{len(files)} files, good, damaged and hostile, under an audit hook: nothing ran")


@pytest.mark.parametrize(
    ("told", "event"),
    [
        (f"import pickle; pickle.loads({pickle.dumps(Bomb())!r})", "pickle.find_class"),
        ("import os; os.system('true')", "os.system"),
        ("import this_module_is_not_there", "import"),
        ("exec('1')", "exec"),
        ("eval('1')", "compile"),
        ("open('/dev/null', 'w')", "open"),
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
        ("import socket; socket.socket()", "socket.__new__"),
    ],
)
@pytest.mark.sampled(4)
def test_the_hook_sees_what_it_should(told: str, event: str) -> None:
    assert ast.parse(told)
    with_an_error_ignored = f"import contextlib\nwith contextlib.suppress(ImportError):\n {told}"
    assert event in [name for name, _ in watched([], with_an_error_ignored)["told"]]
