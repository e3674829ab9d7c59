"""One self-contained HTML page about one or several training runs; its text is in the template."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from facevae import plots
from facevae.data.face_set import FaceSet, evenly
from facevae.evaluation import metrics, suite
from facevae.imaging.images import tile, to_pil
from facevae.io import write_text
from facevae.latents.diagnostics import by_kl, map_2d
from facevae.latents.paths import traversal
from facevae.studio import Studio
from facevae.training.runs import read_history

TEMPLATE = Path(__file__).with_name("report.html.j2")
PHOTOS = "contains photographs of the data: do not publish it where the data's licence forbids that"
SHOWN, STRIPS, MAPS = 10, 6, 3  # faces, epochs of the monitor, labels that colour a map
FLAT = 0.01  # share of the whole improvement under which the last fifth of a curve is flat


def write_report(
    runs: Sequence[str | Path], out: str | Path, data: Sequence[FaceSet] = (), photos: bool = True
) -> bool:
    """Write the page about some run folders to `out`; return whether it contains photographs.

    Args:
        data: prepared faces; a run that was trained on none of them shows its curves alone.
        photos: False leaves out the data's own pictures.
    """
    shown = [_run(Path(folder), data, photos) for folder in runs]
    if data and not any(run["data"] for run in shown):
        raise ValueError(f"none of these runs was trained on {data[0].folder}: name its faces")
    photographs = photos and any(run["source"] != "synthetic" for run in shown)
    pages = Environment(loader=FileSystemLoader(TEMPLATE.parent), autoescape=True,
                        undefined=StrictUndefined, trim_blocks=True)  # fmt: skip
    page = pages.get_template(TEMPLATE.name).render(runs=shown, notice=photographs and PHOTOS)
    write_text(out, page)
    return photographs


def settled(history: Sequence[dict[str, float]]) -> str:
    """Whether the best validation loss still fell in the last fifth of the epochs: see FLAT."""
    best = np.minimum.accumulate([row["val_loss"] for row in history])
    if len(best) < 5:
        return "too short to say"
    last = best[len(best) - 1 - math.ceil(len(best) / 5)] - best[-1]
    return "still falling" if last > FLAT * (best[0] - best[-1]) else "flat"


def _run(folder: Path, data: Sequence[FaceSet], photos: bool) -> dict[str, Any]:
    """What the template shows of a run."""
    for name in ("history.csv", "recipe.json", "best/config.json", "best/model.safetensors"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} is no run with a finished epoch ({name} is missing): give "
                             "a folder that `python -m facevae train` wrote")  # fmt: skip
    about, history = json.loads((folder / "recipe.json").read_text("utf-8")), read_history(folder)
    shape, strips = about["faces"]["shape"], {}
    cut = 0 if photos else shape[2]  # the ends of a strip are photos
    for file in evenly(np.array(sorted((folder / "monitor").glob("epoch_*.png"))), STRIPS):
        with Image.open(file) as strip:
            part = strip.crop((cut, 0, strip.width - cut, strip.height))
            strips[file.stem.replace("_", " ")] = _uri(part)
    faces = next((faces for faces in data if [*faces.images.shape] == shape), None)
    return {
        "folder": folder.name, "recipe": about["recipe"], "source": about["faces"]["source"],
        "history": history, "curve": settled(history), "curves": _uri(plots.curves(history)),
        "monitor": strips, "photos": photos,
        "data": faces and _of_faces(Studio.load(folder / "best"), about["recipe"], faces, photos),
    }  # fmt: skip


@torch.inference_mode()
def _of_faces(studio: Studio, recipe: dict, faces: FaceSet, photos: bool) -> dict[str, Any]:
    """Figures and pictures that need the faces of a run."""
    model, split = studio.model, (recipe["seed"], recipe["split_by"])
    rows, given = metrics.labelled(model, faces, faces.split(split[0], by=split[1])["test"])
    posterior = metrics.posteriors(model, faces, rows, given)
    kl, some = posterior.kl_per_latent(), evenly(np.arange(len(rows)), SHOWN)
    found = suite.evaluate(model, faces, *split)
    decoded = model.decode(posterior.mean[some], None if given is None else given[some])
    pairs = torch.cat([faces.tensor(rows[some]), decoded]) if photos else decoded
    average, traversals = None if given is None else given.mean(dim=0, keepdim=True), {}
    for latent in by_kl(kl):
        path = traversal(posterior.mean, latent)
        condition = None if average is None else average.expand(len(path), -1)
        strip = _uri(tile(to_pil(model.decode(path, condition))))
        traversals[f"latent {latent}, {kl[:, latent].mean():.2f} nats"] = strip
    columns = {name: values[rows] for name, values in faces.labels.items()
               if values.dtype.kind in "if" and len(np.unique(values[rows])) > 1}  # fmt: skip
    columns, points = columns or {"place in the data": rows}, map_2d(posterior.mean)
    return {
        "figures": found["figures"], "text": suite.text(found),
        "pairs": _uri(tile(to_pil(pairs), len(some))), "samples": _uri(tile(studio.sample(SHOWN))),
        "traversals": traversals,
        "maps": {name: _uri(plots.scatter(points[v >= 0], v[v >= 0], {}, "component {}"))
                 for name, v in [*columns.items()][:MAPS]},
    }  # fmt: skip


def _uri(picture: Image.Image | plots.Figure) -> str:
    file = io.BytesIO()
    if isinstance(picture, plots.Figure):
        picture.savefig(file, dpi=2 * plots.DPI)
    else:
        picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
