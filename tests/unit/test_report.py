"""evaluation.report: one page of runs, whole, self-contained and without foreign code."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from facevae.__main__ import main
from facevae.config import ModelConfig, Recipe
from facevae.evaluation import report
from facevae.training.runs import train

NASTY = '<script>alert("1")</script>&'
SIDE, PHOTOS = 32, report.PHOTOS.partition(":")[0]


@pytest.fixture(scope="module")
def nasty_run(drawn_faces, tmp_path_factory):
    recipe = Recipe(NASTY, NASTY, ModelConfig(latents=3, channels=(4, 8), blocks=0), epochs=1)
    out = tmp_path_factory.mktemp("runs") / "nasty"
    train(recipe, drawn_faces, out, device="cpu", progress=False)
    return out


def written(out, *words):
    assert main(["report", *map(str, words), "-o", str(out)]) == 0
    return out.read_text(encoding="utf-8")


def pictures(page):
    uris = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(uri))) for uri in uris]


@pytest.fixture(scope="module")
def page(nasty_run, tiny_conditional_run, drawn_faces, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "r.html"
    return written(out, nasty_run, tiny_conditional_run, "--data", drawn_faces.folder)


def test_a_page_of_two_runs_has_every_figure_of_both(page):
    for title in ("Curves", "The monitor", "Held-out figures", "Reconstructions", "Samples",
                  "Traversals", "A map of the latents"):  # fmt: skip
        assert page.count(f"<h3>{title}</h3>") == 2, title
    assert page.count("To see.") == page.count("Not shown.") == 2 * 7 + 1
    for word in ("Side by side", "val_loss", "negative_elbo", "gender female", "latent 0"):
        assert word in page
    sizes = [picture.size for picture in pictures(page)]
    assert sizes.count((10 * SIDE, 2 * SIDE)) == 2  # originals over decoded
    assert sizes.count((9 * SIDE, SIDE)) > 2  # strips of the monitor
    assert sizes.count((7 * SIDE, SIDE)) >= 2  # traversals
    assert PHOTOS not in page  # drawn faces are no photographs


def test_the_page_fetches_and_runs_nothing(page):
    addresses = re.findall(r'(?:src|srcset|href)="([^"]*)"', page)
    assert all(a.startswith(("data:image/png;base64,", "#run")) for a in addresses)
    assert "<script" not in page and "&lt;script&gt;" in page  # shown as it is, not run
    assert not re.search(r"url\(|@import|https?:", report.TEMPLATE.read_text(encoding="utf-8"))


def test_without_data_there_are_curves_and_the_monitor_alone(nasty_run, tmp_path):
    page = written(tmp_path / "r.html", nasty_run)
    assert "Curves" in page and "The monitor" in page and "(--data)" in page
    assert "Reconstructions" not in page and "Side by side" not in page
    assert len(pictures(page)) == 2  # the curves, and one epoch's strip


def test_no_photos_leaves_every_original_out(page, nasty_run, drawn_faces, tmp_path):
    """Every picture that is left was drawn by the model: none equals a face of the data."""
    options = ("--data", drawn_faces.folder, "--no-photos")
    hidden = written(tmp_path / "r.html", nasty_run, *options)
    known = {face.tobytes() for face in np.asarray(drawn_faces.images)}

    def originals(page):
        cells = []
        for picture in pictures(page):
            levels = np.asarray(picture.convert("RGB"))
            for y in range(0, picture.height - SIDE + 1, SIDE):
                cells += np.split(levels[y : y + SIDE], range(SIDE, picture.width, SIDE), axis=1)
        return sum(cell.tobytes() in known for cell in cells)

    assert originals(page) > 20 and originals(hidden) == 0


def test_photographs_are_announced(nasty_run, tmp_path, capsys):
    about = nasty_run / "recipe.json"
    text = about.read_text(encoding="utf-8")
    about.write_text(text.replace('"source": "synthetic"', '"source": "frey"'), encoding="utf-8")
    try:
        assert PHOTOS in written(tmp_path / "r.html", nasty_run)
        assert report.PHOTOS in capsys.readouterr().out
        assert PHOTOS not in written(tmp_path / "r.html", nasty_run, "--no-photos")
    finally:
        about.write_text(text, encoding="utf-8")


def test_bad_input_is_one_line(nasty_run, grey_faces, tmp_path, capsys):
    assert main(["report", str(nasty_run), "--data", str(grey_faces.folder)]) == 2
    assert "none of these runs" in capsys.readouterr().err
    assert main(["report", str(tmp_path)]) == 2
    assert "history.csv is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("losses", "words"),
    [([9, 5, 3], "too short to say"), ([9, 5, 3, 2, 1], "still falling"),
     ([9, 1, 1, 1, 1], "flat"), ([1, 2, 3, 4, 5], "flat")],
)  # fmt: skip
def test_whether_a_curve_has_settled(losses, words):
    assert report.settled([{"val_loss": float(loss)} for loss in losses]) == words
