"""evaluation.report: one page of runs, whole, self-contained and without foreign code."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from facevae.__main__ import main
from facevae.config import ModelConfig, Recipe
from facevae.evaluation import report
from facevae.training.runs import train

NASTY = '<script>alert("1")</script>&'
SIDE = 32


@pytest.fixture(scope="module")
def nasty_run(drawn_faces, tmp_path_factory):
    recipe = Recipe(NASTY, NASTY, ModelConfig(latents=3, channels=(4, 8), blocks=0), epochs=1)
    out = tmp_path_factory.mktemp("runs") / "nasty"
    train(recipe, drawn_faces, out, device="cpu", progress=False)
    return out


class Page(HTMLParser):
    """A page's tags, text and addresses; the check that every tag is closed in turn."""

    EMPTY = ("meta", "img", "source")

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.text, self.addresses = [], [], "", []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [v for k, v in attributes if k in ("src", "srcset", "href")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def pictures(self):
        uris = [a.removeprefix("data:image/png;base64,") for a in self.addresses if "base64" in a]
        return [Image.open(io.BytesIO(base64.b64decode(uri))) for uri in uris]


def written(out, *words):
    assert main(["report", *map(str, words), "-o", str(out)]) == 0
    return Page(out.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(nasty_run, tiny_conditional_run, drawn_faces, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "r.html"
    return written(out, nasty_run, tiny_conditional_run, "--data", drawn_faces.folder)


def test_a_page_of_two_runs_has_every_figure_of_both(page, drawn_faces):
    for title in ("Curves", "The monitor", "Held-out figures", "Reconstructions", "Samples",
                  "Traversals", "KL per latent", "A map of the latents"):  # fmt: skip
        assert page.text.count(title) == 2, title
    assert "Side by side" in page.text
    assert page.text.count("To see.") == page.text.count("Not shown.") == 2 * 8 + 1
    sizes = [picture.size for picture in page.pictures()]
    assert sizes.count((SIDE, 2 * SIDE)) == 2 * report.PAIRS  # original over decoded
    assert sizes.count((9 * SIDE, SIDE)) > 2  # strips of the monitor
    assert report.PHOTOS not in page.text  # drawn faces are no photographs


def test_the_page_fetches_and_runs_nothing(page):
    assert all(a.startswith(("data:image/png;base64,", "#run")) for a in page.addresses)
    assert "script" not in page.tags and NASTY in page.text  # shown as it is, not run
    assert not re.search(r"url\(|@import|https?:", report.TEMPLATE.read_text(encoding="utf-8"))


def test_without_data_there_are_curves_and_the_monitor_alone(nasty_run, tmp_path):
    page = written(tmp_path / "r.html", nasty_run)
    assert "Curves" in page.text and "The monitor" in page.text and "(--data)" in page.text
    assert "Reconstructions" not in page.text and "Side by side" not in page.text
    assert len(page.pictures()) == 2 * len(report.CURVES) + 1  # light and dark; one epoch's strip


def test_no_photos_leaves_every_original_out(page, nasty_run, drawn_faces, tmp_path):
    """Every picture that is left was drawn by the model: none equals a face of the data."""
    options = ("--data", drawn_faces.folder, "--no-photos")
    hidden = written(tmp_path / "r.html", nasty_run, *options)
    known = {face.tobytes() for face in np.asarray(drawn_faces.images)}

    def originals(page):
        count = 0
        for picture in page.pictures():
            if picture.mode == "RGB" and not (picture.width % SIDE or picture.height % SIDE):
                levels = np.asarray(picture)
                for y in range(0, picture.height, SIDE):
                    for x in range(0, picture.width, SIDE):
                        count += levels[y : y + SIDE, x : x + SIDE].tobytes() in known
        return count

    assert originals(page) > report.PAIRS and originals(hidden) == 0


def test_photographs_are_announced(nasty_run, tmp_path, capsys):
    about = nasty_run / "recipe.json"
    text = about.read_text(encoding="utf-8")
    about.write_text(text.replace('"source": "synthetic"', '"source": "frey"'), encoding="utf-8")
    try:
        assert report.PHOTOS in written(tmp_path / "r.html", nasty_run).text
        assert report.PHOTOS in capsys.readouterr().out
        assert report.PHOTOS not in written(tmp_path / "r.html", nasty_run, "--no-photos").text
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
     ([9, 1, 1, 1, 1], "flat"), ([1, 2, 3, 4, 5], "never fell")],
)  # fmt: skip
def test_whether_a_curve_has_settled(losses, words):
    assert report.settled([{"val_loss": float(loss)} for loss in losses]) == words
