"""evaluation.report: one page of runs, whole, self-contained and without foreign code."""

import base64
import io
import json
import re
import shutil

from PIL import Image

from facevae.__main__ import main
from facevae.evaluation import report

NASTY = '<script>alert("1")</script>&'
SIDE, PHOTOS = 32, report.PHOTOS.partition(":")[0]


def written(out, *words):
    assert main(["report", *map(str, words), "-o", str(out)]) == 0
    return out.read_text(encoding="utf-8")


def pictures(page):
    uris = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(uri))) for uri in uris]


def test_a_page_of_two_runs_has_every_figure_of_both_and_fetches_and_runs_nothing(
    tiny_run, tiny_conditional_run, drawn_faces, tmp_path
):
    nasty = shutil.copytree(tiny_run, tmp_path / "nasty")
    about = json.loads((nasty / "recipe.json").read_text())
    about["recipe"] |= {"name": NASTY, "why": NASTY}
    (nasty / "recipe.json").write_text(json.dumps(about))
    page = written(nasty / "r.html", nasty, tiny_conditional_run, "--data", drawn_faces.folder)
    for title in ("Curves", "Held-out figures", "Reconstructions", "Samples", "Traversals",
                  "A map of the latents"):  # fmt: skip
        assert page.count(f"<h3>{title}</h3>") == 2, title
    assert page.count("To see.") == page.count("Not shown.") == 2 * 6 + 1
    for word in ("Side by side", "val_loss", "negative_elbo", "gender female", "latent 0"):
        assert word in page
    sizes = [picture.size for picture in pictures(page)]
    assert sizes.count((10 * SIDE, 2 * SIDE)) == 2  # originals over decoded
    assert sizes.count((7 * SIDE, SIDE)) >= 2  # traversals
    assert PHOTOS not in page  # drawn faces are no photographs
    addresses = re.findall(r'(?:src|srcset|href)="([^"]*)"', page)
    assert all(a.startswith(("data:image/png;base64,", "#run")) for a in addresses)
    assert "<script" not in page and "&lt;script&gt;" in page  # shown as it is, not run
    assert not re.search(r"url\(|@import|https?:", report.TEMPLATE.read_text(encoding="utf-8"))


def test_photographs_are_announced_if_shown(grey_run, grey_faces, tmp_path, capsys):
    assert PHOTOS in written(tmp_path / "r.html", grey_run, "--data", grey_faces.folder)
    assert report.PHOTOS in capsys.readouterr().out
    page = written(tmp_path / "r.html", grey_run)
    assert "Curves" in page and "(--data)" in page and len(pictures(page)) == 1
    assert not any(word in page for word in (PHOTOS, "Reconstructions", "Side by side"))
