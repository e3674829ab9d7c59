import base64
import io
import re
import sys
from dataclasses import asdict
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import facevae
from facevae import ModelConfig, Recipe, prepare, report, results, train, words
from facevae.__main__ import main

NASTY = '<script>alert("1")</script>&'
SHAPE = ModelConfig(latents=4, channels=(4, 8))
RUNS = {
    "plain": Recipe(NASTY, NASTY, SHAPE, epochs=2, batch=16),
    "told": Recipe("told", "one condition", ModelConfig(latents=3, channels=(4, 8), blocks=0,
                                                        conditions=("age",)), epochs=1, batch=16),
}  # fmt: skip


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    return prepare("synthetic", out=folder / "drawn", size=16, count=150, progress=False)


@pytest.fixture(scope="module")
def folders(faces, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for name, recipe in RUNS.items():
        train(recipe, faces, root / name, device="cpu", progress=False)
    return [str(root / name) for name in RUNS]


@pytest.fixture(scope="module", autouse=True)
def known_mig():
    """The metric is tested with itself; here is seen that its figure arrives."""
    fake = SimpleNamespace(scores=lambda codes, factors, seed: {"mig": 0.25})
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(sys.modules, "facevae.disentanglement", fake)
        monkeypatch.setattr(facevae, "disentanglement", fake, raising=False)
        yield


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


def written(folders, out, *options):
    assert main(["report", *folders, "-o", str(out), *options]) == 0
    return Page(out.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(folders, faces, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "r.html"
    return written(folders, out, "--data", str(faces.folder))


def test_a_page_of_two_runs_has_every_figure_of_both(page, faces):
    for title in ("Curves", "The monitor", "Held-out figures", "Reconstructions", "Samples",
                  "Traversals", "KL per latent", "A map of the latents"):  # fmt: skip
        assert page.text.count(title) == 2
    assert "Side by side" in page.text and "MIG" in page.text and "0.250" in page.text
    assert page.text.count("To see.") == page.text.count("Not shown.") == 2 * 8 + 1
    assert page.tags.count("figcaption") == page.tags.count("figure") == 2 * 8 + 1
    sizes = [picture.size for picture in page.pictures()]
    pairs = len(facevae.load_faces(faces.folder).split(0)["test"])
    assert sizes.count((16, 32)) >= min(pairs, report.PAIRS)  # original over decoded
    assert sizes.count((7 * 16, 16)) == 4 + 3  # a traversal a latent
    assert sizes.count((9 * 16, 16)) == 2 + 1  # a strip an epoch
    assert report.PHOTOS not in page.text  # drawn faces are no photographs


def test_the_page_fetches_and_runs_nothing(page):
    assert all(a.startswith(("data:image/png;base64,", "#run")) for a in page.addresses)
    assert "script" not in page.tags and NASTY in page.text  # shown as it is, not run
    assert not re.search(r"url\(|@import|https?:", words.CSS)


def test_without_data_there_are_curves_and_the_monitor_alone(folders, tmp_path):
    page = written(folders[:1], tmp_path / "r.html")
    assert "Curves" in page.text and "The monitor" in page.text and words.NO_DATA in page.text
    assert "Reconstructions" not in page.text and "Side by side" not in page.text
    assert len(page.pictures()) == 2 * len(report.CURVES) + 2  # light and dark; a strip an epoch


def test_no_photos_leaves_every_original_out(page, folders, faces, tmp_path):
    """Every picture that is left was drawn by the model: none equals a face of the data."""
    hidden = written(folders, tmp_path / "r.html", "--data", str(faces.folder), "--no-photos")
    known = {face.tobytes() for face in np.asarray(faces.images)}

    def originals(page):
        count = 0
        for picture in page.pictures():
            if picture.mode == "RGB" and not (picture.width % 16 or picture.height % 16):
                levels = np.asarray(picture)
                for y in range(0, picture.height, 16):
                    for x in range(0, picture.width, 16):
                        count += levels[y : y + 16, x : x + 16].tobytes() in known
        return count

    assert originals(page) > 16 and originals(hidden) == 0
    assert words.MONITOR_DRAWN[0] in hidden.text


def test_a_strip_of_another_layout_is_left_out_with_the_photos(folders, tmp_path):
    strip = Image.new("RGB", (9 * 16, 16))
    assert report._between(strip, (3, 16, 16)).size == (7 * 16, 16)
    assert report._between(Image.new("RGB", (10 * 16, 16)), (3, 16, 16)) is None
    assert report._between(Image.new("RGB", (9 * 16, 32)), (3, 16, 16)) is None


def test_photographs_are_announced(folders, tmp_path, monkeypatch, capsys):
    run = results.read_run(folders[0])
    filmed = results.Run(run.folder, run.recipe, run.shape, "frey", run.history)
    monkeypatch.setattr(results, "read_run", lambda folder: filmed)
    page = written(folders[:1], tmp_path / "r.html")
    assert report.PHOTOS in page.text and report.PHOTOS in capsys.readouterr().out
    page = written(folders[:1], tmp_path / "r.html", "--no-photos")
    assert report.PHOTOS not in page.text and report.PHOTOS not in capsys.readouterr().out


def test_bad_input_is_one_line(folders, tmp_path, capsys):
    other = prepare("synthetic", out=tmp_path / "o", size=16, count=30, progress=False)
    assert main(["report", folders[0], "--data", str(other.folder)]) == 2
    assert "none of these runs" in capsys.readouterr().err
    assert main(["report", str(tmp_path)]) == 2
    assert "history.csv is missing" in capsys.readouterr().err


def test_settings_that_differ_come_first_with_their_default():
    recipe = {**results.default_settings(), "beta": 4.0, "model": {"latents": 7, "pool": False}}
    found = words.settings(recipe, results.default_settings())
    assert [(s.name, s.value, s.default) for s in found[:3]] == [
        ("latents", "7", "128"), ("β", "4", "1"), ("max-pooling", "no", "")]  # fmt: skip


def test_every_setting_has_words():
    fields = {*asdict(Recipe("", "")), *asdict(ModelConfig())} - {"name", "why", "model"}
    assert fields - set(words.MEANINGS) == set()


def test_an_effect_names_no_label_below_three_standard_errors():
    change = (20.0, 15.0, [0.1, 0.2, 0.7])
    text = words.effect(change, {"age": 0.14, "Smiling": -0.6, "x": 0.16}, faces=400)  # 0.15
    assert text.startswith("Changes a pixel by 20 of 255 levels, 70% of it in the lower third")
    assert text.endswith("the picture gets brighter. Goes with Smiling −0.60, x +0.16.")
    assert words.effect(change, {"age": 0.14}, 400).endswith("No label reaches r 0.15.")


def test_the_verdict_says_which_side_of_pca():
    figures = {"psnr": 21.0, "pca_psnr": 20.5, "test_faces": 1200}
    assert words.verdict(figures).strip() == (
        "1,200 unseen faces: 0.50 dB above PCA with as many components."
    )
    assert "0.50 dB below PCA" in words.verdict(figures | {"psnr": 20.0})
