"""What can be taken along from the page."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from chromium import download, in_page, status, until

pytestmark = pytest.mark.browser


def test_show_as_python_makes_the_same_losses(visit, tmp_path):
    page = visit("#data=moons&noise=0.1&hidden=5,3&epochs=4&seed=3")
    status(page, "done")
    page.click("#take-code")
    until(lambda: page.is_visible("#code"), "the script")
    script = page.text_content("#code-text")
    with page.expect_download() as found:
        page.click("#code-save")
    assert Path(found.value.path()).read_text(encoding="utf-8") == script
    page.click("#code-close")
    assert not page.is_visible("#code")
    (tmp_path / "network.py").write_text(
        script + "\nimport json, sys\nprint(json.dumps(list(history['loss'])), file=sys.stderr)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run(
        [sys.executable, "network.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    losses = json.loads(ran.stderr.strip().splitlines()[-1])
    assert losses == in_page(page, "run.history.train")


def test_the_picture_the_film_the_model_and_the_link(visit, tmp_path):
    from PIL import Image

    import xpmlp

    page = visit("#hidden=5,3&epochs=30")
    status(page, "done")
    found, content = download(page, "#take-png")
    assert found.suggested_filename.endswith(".png")
    picture = Image.open(io.BytesIO(content))
    assert picture.size[0] > 1000
    assert len(picture.convert("RGB").getcolors(10**7)) > 500
    found, content = download(page, "#take-gif")
    film = Image.open(io.BytesIO(content))
    assert (found.suggested_filename[-4:], film.format) == (".gif", "GIF")
    assert film.n_frames > 5
    found, content = download(page, "#take-model")
    (tmp_path / found.suggested_filename).write_bytes(content)
    mlp = xpmlp.load(tmp_path / found.suggested_filename)
    assert mlp.sizes == (2, 5, 3, 1)
    drawn = in_page(page, "Array.from(run.frame?.arrays['weights:0'].data)")
    np.testing.assert_array_equal(np.ravel(mlp.parameters["dense1.W"]), np.float32(drawn))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#take-link")
    until(lambda: "Copied" in page.text_content("#take-said"), "the link is copied")
    assert page.evaluate("() => navigator.clipboard.readText()") == page.url
