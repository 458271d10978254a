"""Pictures for ``xpmlp predict``: a prediction, or one clear line and exit status 2."""

import io
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from robustness.mutations import mutants
from test_hostile_models import NO_FILE

import xpmlp
from xpmlp.cli import main
from xpmlp.data import images

Image = pytest.importorskip("PIL.Image")
resource = pytest.importorskip("resource")  # Windows has none

Predict = Callable[..., str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (20, 64), dtype=np.uint8)
    mlp = xpmlp.MLP([64, 4], backend="numpy", seed=0)
    mlp.fit(X, rng.integers(0, 4, 20), epochs=1)
    mlp.metadata = {"image": images.pixel_facts(X, (8, 8))}
    mlp.save(path := tmp_path_factory.mktemp("model") / "m.xpmlp")
    return str(path)


@pytest.fixture
def predict(model: str, capsys: pytest.CaptureFixture[str]) -> Predict:
    """What was said, beside a prediction: nothing, or the one line of a refusal."""

    def predict(path: Path, model: Any = model) -> str:
        status = main(["predict", str(model), str(path), "--backend", "numpy"])
        out, err = capsys.readouterr()
        assert status == 2 or (out.count(" %\n") == 3 and err == "" and status == 0)
        assert status == 0 or (out == "" and err.startswith(f"xpmlp: error: {path}: "))
        assert err.count("\n") == (status != 0)
        assert len(err) < 500 + len(str(path))
        return err

    return predict


def digit(size: int = 24) -> Any:
    page = np.full((size, size), 255, dtype=np.uint8)
    page[size // 4 : -size // 4, size // 2 - 2 : size // 2 + 2] = 0
    return Image.fromarray(page)


def encoded(image: Any, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


EXIF = Image.Exif()
EXIF[274] = 6  # held upright
KINDS: dict[str, Callable[[], bytes]] = {
    "png": lambda: encoded(digit(), "PNG", exif=EXIF),
    "png with transparency": lambda: encoded(digit().convert("P"), "PNG", transparency=3),
    "jpeg": lambda: encoded(digit(), "JPEG", exif=EXIF),
    "jpeg, progressive": lambda: encoded(digit(), "JPEG", progressive=True),
    "gif": lambda: encoded(digit(), "GIF", save_all=True, append_images=[digit()]),
    "bmp": lambda: encoded(digit(), "BMP"),
    "tiff": lambda: encoded(digit(), "TIFF"),
    "tiff, packed": lambda: encoded(digit().convert("RGB"), "TIFF", compression="tiff_lzw"),
    "tiff, real": lambda: encoded(digit().convert("F"), "TIFF"),
    "webp": lambda: encoded(digit(), "WEBP"),
}


def test_the_pictures_are_good(tmp_path: Path, predict: Predict) -> None:
    for kind, make in KINDS.items():
        (tmp_path / "digit.png").write_bytes(make())
        assert predict(tmp_path / "digit.png") == "", kind


def mended(png: bytes) -> bytes:
    """The checksums of its chunks made right, so that damage reaches what reads the chunks."""
    made, at = bytearray(png[:8]), 8
    while at + 8 <= len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        chunk = png[at + 4 : at + 8 + length]
        made += png[at : at + 4] + chunk + struct.pack(">I", zlib.crc32(chunk))
        at += 12 + length
    return bytes(made)


def test_mending_changes_no_good_file() -> None:
    assert mended(KINDS["png"]()) == KINDS["png"]()


def tried_pictures(path: Path, made: Iterator[bytes], predict: Predict) -> tuple[int, int]:
    """How many were refused and predicted."""
    refused = predicted = 0
    for mutant in made:
        path.write_bytes(mutant)
        start = time.process_time()
        said = predict(path)
        assert time.process_time() - start < 5
        refused += bool(said)
        predicted += not said
    return refused, predicted


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.sampled(3)
@pytest.mark.slow
def test_mutations(kind: str, tmp_path: Path, predict: Predict, draws: Any, tried: Any) -> None:
    count = draws(100, 250, 1000) if kind == "png" else draws(20, 60, 1000)
    counts = tried_pictures(tmp_path / "digit.png", mutants(KINDS[kind](), count, 1), predict)
    assert counts[0] > min(count / 6, 10)
    tried(f"{count:,} mutations of a picture ({kind}): a prediction or one line, exit 2")


@pytest.mark.slow
def test_mutations_behind_right_checksums(
    tmp_path: Path, predict: Predict, draws: Any, tried: Any
) -> None:
    count = draws(100, 200, 2000)
    made = map(mended, mutants(KINDS["png"](), count, 2))
    assert min(tried_pictures(tmp_path / "digit.png", made, predict)) > 10
    tried(f"{count:,} mutations of a PNG, its checksums mended: a prediction or one line, exit 2")


def floating(value: float) -> bytes:
    page = np.zeros((30, 30), np.float32)
    page[10:20, 14:16] = value
    return encoded(Image.fromarray(page), "TIFF")


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is so large; to be refused before its rows are unpacked."""
    parts = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0), zlib.compress(bytes(10**6)), b""
    chunks = zip((b"IHDR", b"IDAT", b"IEND"), parts, strict=True)
    made = (struct.pack(">I", len(part)) + name + part + bytes(4) for name, part in chunks)
    return mended(b"\x89PNG\r\n\x1a\n" + b"".join(made))


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable picture"),
        (b"not a picture\n" * 10, "not a readable picture"),
        (EPS, "not a readable picture"),
        (KINDS["png"]()[:100], "not a readable picture"),
        (encoded(Image.new("L", (20, 20), 255), "PNG"), "found one even color"),
        (encoded(Image.new("L", (1, 1), 255), "PNG"), "found one even color"),
        (encoded(Image.new("RGBA", (9, 9)), "PNG"), "found one even color"),
        (floating(np.inf), "found NaN or infinity as a pixel"),
        (floating(np.nan), "found NaN or infinity as a pixel"),
        (bomb(10_000, 5_001), "found 10000x5001 pixels, expected at most 50,000,000"),
        (bomb(50_000, 50_000), "exceeds limit"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,
)
def test_a_picture_that_is_refused(
    content: bytes, message: str, tmp_path: Path, predict: Predict
) -> None:
    (tmp_path / "digit.png").write_bytes(content)
    assert message in predict(tmp_path / "digit.png")


@pytest.mark.parametrize("name", NO_FILE)
def test_what_is_no_file(
    name: str, tmp_path: Path, predict: Predict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    NO_FILE[name](tmp_path / "digit.png")
    assert f"found {name}, expected" in predict(tmp_path / "digit.png")


def test_large_values_are_pixels_like_others(tmp_path: Path, predict: Predict) -> None:
    (tmp_path / "digit.tif").write_bytes(floating(3e38))
    assert predict(tmp_path / "digit.tif") == ""


def test_a_large_picture_takes_bounded_memory(tmp_path: Path) -> None:
    """A telephone's: 48 megapixels, and the numbers told are its own, not those it shrank to."""
    page = np.full((6000, 8000), 255, np.uint8)
    page[1000:5000, 3800:4200] = 0
    Image.fromarray(page).save(tmp_path / "digit.png")
    facts = {"shape": [28, 28], "maximum": 255, "reach": 20 / 28}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    row, done, _ = images.read_image(tmp_path / "digit.png", facts, "uint8")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert 1024 * grown < 600e6
    assert done.startswith("8000x6000 pixels to gray, inverted because the background is light")
    assert "ink (400x4000)" in done
    ink = row.reshape(28, 28)
    assert list(np.flatnonzero(ink.any(axis=1))) == list(range(4, 24))


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": [-8, -8]},
        {"shape": [True, 64]},
        {"maximum": 10**400},
        {"maximum": 1e300},
        {"maximum": 1e9},
        {"maximum": "255"},
        {"reach": 1e-300},
        {"reach": True},
    ],
    ids=lambda wrong: str(wrong)[:30],
)
def test_what_a_model_file_says_about_pictures_is_not_believed(
    wrong: dict[str, Any], model: str, tmp_path: Path, predict: Predict
) -> None:
    mlp = xpmlp.load(model, backend="numpy")
    mlp.metadata = {"image": mlp.metadata["image"] | wrong}
    mlp.save(tmp_path / "m.xpmlp")
    digit().save(tmp_path / "digit.png")
    said = predict(tmp_path / "digit.png", tmp_path / "m.xpmlp")
    assert "not trained on images" in said or said == ""


MODES = {
    "I;16": lambda grey: Image.fromarray(np.asarray(grey).astype(np.uint16) * 257),
    "I;16B": lambda grey: Image.frombytes(
        "I;16B", grey.size, (np.asarray(grey).astype(">u2") * 257).astype(">u2").tobytes()
    ),
    "I": lambda grey: grey.convert("I"),
    "F": lambda grey: grey.convert("F"),
    "1": lambda grey: grey.convert("1"),
    "CMYK": lambda grey: grey.convert("CMYK"),
    "YCbCr": lambda grey: grey.convert("RGB").convert("YCbCr"),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_tiff_gives_the_same(mode: str, tmp_path: Path) -> None:
    digit().save(tmp_path / "digit.png")
    MODES[mode](digit()).save(tmp_path / "digit.tif")
    facts = {"shape": [8, 8], "maximum": 255, "reach": 1.0}
    one, other = (
        images.read_image(tmp_path / f"digit.{s}", facts, "uint8")[0] for s in ("png", "tif")
    )
    assert np.abs(one.astype(int) - other).max() <= 2
