"""MNIST from folders, cache and mirrors; the mirrors are servers on this machine."""

import gzip
import hashlib
import os
import re
import sys
import time

import numpy as np
import pytest
from small_mnist import NAMES, PACKED, PAYLOADS, SMALL, check, content_of, use_small

from xpmlp.data import load, load_mnist, mnist
from xpmlp.errors import DataError, DownloadError, MissingExtraError

pytest.importorskip("pooch")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    use_small(monkeypatch)
    folder = tmp_path / "given"
    folder.mkdir()
    for name, content in PACKED.items():
        (folder / name).write_bytes(content)
    return folder


def test_genuine_files():
    if not os.environ.get(mnist.FOLDER_VARIABLE):
        pytest.skip(f"{mnist.FOLDER_VARIABLE} names no folder with the genuine MNIST files")
    data = load("mnist")
    assert data.X.shape == (60_000, 784)
    assert data.X_test.shape == (10_000, 784)
    # counts of the digits and the mean pixel as published for MNIST
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(data.y).tolist() == counts
    assert np.bincount(data.y_test).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]
    assert data.X.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert data.image_shape == (28, 28)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("dot", ["-idx", ".idx"])
def test_folder_with_every_style_of_names(folder, suffix, dot):
    for name, payload in PAYLOADS.items():
        (folder / f"{name}.gz").unlink()
        content = gzip.compress(payload) if suffix else payload
        (folder / f"{name.replace('-idx', dot)}{suffix}").write_bytes(content)
    check(load_mnist(folder))


def test_the_argument_comes_before_the_variable(folder, tmp_path, monkeypatch):
    monkeypatch.setenv(mnist.FOLDER_VARIABLE, str(folder))
    check(load("mnist"))
    with pytest.raises(DataError, match="elsewhere"):
        load("mnist", data_dir=tmp_path / "elsewhere")


def test_an_incomplete_folder_is_refused_without_a_download(folder, mirror, server):
    (folder / f"{NAMES[1]}.gz").unlink()
    (folder / f"{NAMES[2]}.gz").unlink()
    with pytest.raises(
        DataError, match=f"{re.escape(str(folder))}: .*{NAMES[1]}, {NAMES[2]} .*--data-dir"
    ):
        load_mnist(folder, mirrors=[mirror("good")])
    assert not server.seen


@pytest.mark.parametrize(
    "change", [lambda p: p[:-1] + b"\xff", lambda p: p + b"x", lambda p: p[:9]]
)
def test_a_wrong_file_in_a_folder(folder, change):
    wrong = change(PAYLOADS[NAMES[0]])
    path = folder / f"{NAMES[0]}.gz"
    path.write_bytes(gzip.compress(wrong))
    expected, size = SMALL[NAMES[0]]
    actual = hashlib.sha256(wrong[: size + 1]).hexdigest()
    with pytest.raises(
        DataError, match=f"{re.escape(str(path))}: .*SHA-256 {actual} .*expected {expected}"
    ):
        load_mnist(folder)


def test_a_cut_file_in_a_folder(folder):
    path = folder / f"{NAMES[0]}.gz"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=f"{re.escape(str(path))}: broken gzip"):
        load_mnist(folder)


@pytest.mark.parametrize("kind", ["good", "raw"])
def test_download_and_then_the_cache(tmp_path, mirror, server, kind):
    check(load_mnist(mirrors=[mirror(kind)], cache_dir=tmp_path))
    assert content_of(tmp_path) == PAYLOADS
    assert server.seen == [f"/{kind}/{name}.gz" for name in NAMES]
    check(load_mnist(mirrors=[], cache_dir=tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the cache is in another place")
def test_the_users_own_cache(tmp_path, mirror, monkeypatch):
    monkeypatch.delenv(mnist.FOLDER_VARIABLE, raising=False)
    monkeypatch.delenv("XPMLP_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    check(load_mnist(mirrors=[mirror("good")]))
    assert content_of(tmp_path / "xpmlp") == PAYLOADS
    monkeypatch.setenv("XPMLP_CACHE_DIR", str(tmp_path / "chosen"))
    check(load_mnist(mirrors=[mirror("good")]))
    assert content_of(tmp_path / "chosen") == PAYLOADS


@pytest.mark.parametrize("package", ["pooch", "platformdirs"])
def test_without_a_package_the_error_names_the_extra(tmp_path, monkeypatch, package):
    monkeypatch.delenv(mnist.FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("XPMLP_CACHE_DIR", str(tmp_path) if package == "pooch" else "")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package}.*pip install 'xpmlp\[cli\]'"):
        load_mnist()


def test_nothing_is_printed(tmp_path, mirror, capfd):
    check(load_mnist(mirrors=[mirror("good")], cache_dir=tmp_path))
    assert capfd.readouterr() == ("", "")


def test_a_bad_cached_file_is_fetched_again(tmp_path, mirror, server):
    load_mnist(mirrors=[mirror("good")], cache_dir=tmp_path)
    server.seen.clear()
    (tmp_path / "mnist" / NAMES[2]).write_bytes(b"bit rot")
    check(load_mnist(mirrors=[mirror("good")], cache_dir=tmp_path))
    assert server.seen == [f"/good/{NAMES[2]}.gz"]
    assert content_of(tmp_path) == PAYLOADS


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "404"),
        ("html", f"SHA-256 [0-9a-f]{{64}} .*expected {SMALL[NAMES[0]][0]}"),
        ("altered", f"SHA-256 [0-9a-f]{{64}} .*expected {SMALL[NAMES[0]][0]}"),
        ("endless", "found more than"),
        ("slow", "timed out"),
    ],
)
def test_a_failing_mirror(tmp_path, mirror, kind, reason):
    timeout = 0.5 if kind == "slow" else 30.0
    start = time.monotonic()
    with pytest.raises(DownloadError, match=reason) as caught:
        load_mnist(mirrors=[mirror(kind)], cache_dir=tmp_path, timeout=timeout)
    assert time.monotonic() - start < 15
    assert content_of(tmp_path) == {}
    assert isinstance(caught.value, OSError)
    assert "--data-dir" in str(caught.value)
    assert mnist.FOLDER_VARIABLE in str(caught.value)
    # the next mirror helps
    check(load_mnist(mirrors=[mirror(kind), mirror("good")], cache_dir=tmp_path, timeout=timeout))
    assert content_of(tmp_path) == PAYLOADS


def test_a_trickling_mirror_is_given_up(tmp_path, mirror, monkeypatch):
    monkeypatch.setattr(mnist, "_DEADLINE", -1.0)
    with pytest.raises(DownloadError, match="not complete after"):
        load_mnist(mirrors=[mirror("good")], cache_dir=tmp_path)


def test_every_mirror_is_named(tmp_path, mirror):
    mirrors = [mirror("missing"), "http://127.0.0.1:9/", "nonsense://", mirror("html")]
    with pytest.raises(DownloadError) as caught:
        load_mnist(mirrors=mirrors, cache_dir=tmp_path)
    assert all(f"{m}{NAMES[0]}.gz: " in str(caught.value) for m in mirrors)


def test_a_bad_cached_file_is_named_if_it_cannot_be_fetched_again(tmp_path, mirror):
    with pytest.raises(DownloadError) as missing:
        load_mnist(mirrors=[mirror("missing")], cache_dir=tmp_path)
    load_mnist(mirrors=[mirror("good")], cache_dir=tmp_path)
    bad = tmp_path / "mnist" / NAMES[2]
    bad.write_bytes(b"bit rot")
    with pytest.raises(DownloadError) as caught:
        load_mnist(mirrors=[mirror("missing")], cache_dir=tmp_path)
    assert not hasattr(missing.value, "__notes__")
    (note,) = caught.value.__notes__
    assert note.startswith(f"the cached file is not valid: {bad}: not the genuine {NAMES[2]}")


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(tmp_path, mirror, server, caplog):
    (tmp_path / "file").touch()
    check(load_mnist(mirrors=[mirror("good")], cache_dir=tmp_path / "file"))
    assert server.seen == [f"/good/{name}.gz" for name in NAMES]
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("xpmlp", "WARNING")
    message = record.getMessage()
    assert message.startswith(f"{tmp_path / 'file' / 'mnist'}: the cache cannot be written: Not a")
    assert "--data-dir" in message
