"""One self-contained HTML page about one or several training runs; its text is in the template."""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import StrictUndefined, Template
from PIL import Image

from facevae import plots
from facevae.data.face_set import FaceSet, evenly
from facevae.evaluation import metrics
from facevae.imaging.images import tile, to_pil
from facevae.io import write_text
from facevae.latents.diagnostics import by_kl, map_2d
from facevae.latents.paths import traversal
from facevae.studio import Studio
from facevae.training.runs import read_history

TEMPLATE = Path(__file__).with_name("report.html.j2")
PHOTOS = "contains photographs of the data: do not publish it where the data's licence forbids that"
SHOWN, MAPS = 10, 3  # faces, labels that colour a map


def write_report(runs: Sequence[str | Path], out: str | Path, data: Sequence[FaceSet] = ()) -> bool:
    """Write the page about some run folders to `out`; return whether it contains photographs. A run
    that was trained on none of the prepared faces `data` shows its recipe and curves alone."""
    shown = [_run(Path(folder), data) for folder in runs]
    if data and not any(run["data"] for run in shown):
        raise ValueError(f"none of these runs was trained on {data[0].folder}: name its faces")
    photographs = any(run["data"] and run["source"] != "synthetic" for run in shown)
    page = Template(TEMPLATE.read_text("utf-8"), autoescape=True, undefined=StrictUndefined)
    write_text(out, page.render(runs=shown, notice=photographs and PHOTOS))
    return photographs


def _run(folder: Path, data: Sequence[FaceSet]) -> dict[str, Any]:
    """What the template shows of a run."""
    for name in ("history.csv", "recipe.json", "best/config.json", "best/model.safetensors"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} is no run with a finished epoch ({name} is missing): give "
                             "a folder that `python -m facevae train` wrote")  # fmt: skip
    about, history = json.loads((folder / "recipe.json").read_text("utf-8")), read_history(folder)
    faces = next((one for one in data if [*one.images.shape] == about["faces"]["shape"]), None)
    return {
        "folder": folder.name, "recipe": about["recipe"], "source": about["faces"]["source"],
        "history": history, "curves": _uri(plots.curves(history)),
        "data": faces and _of_faces(Studio.load(folder / "best"), about["recipe"], faces),
    }  # fmt: skip


@torch.inference_mode()
def _of_faces(studio: Studio, recipe: dict, faces: FaceSet) -> dict[str, Any]:
    """Figures and pictures that need the faces of a run."""
    model, split = studio.model, (recipe["seed"], recipe["split_by"])
    rows, given = metrics.labelled(model, faces, faces.split(split[0], by=split[1])["test"])
    posterior = metrics.posteriors(model, faces, rows, given)
    kl, some = posterior.kl_per_latent(), evenly(np.arange(len(rows)), SHOWN)
    decoded = model.decode(posterior.mean[some], given[some])
    average, traversals = given.mean(dim=0, keepdim=True), {}
    for latent in by_kl(kl):
        path = traversal(posterior.mean, latent)
        strip = _uri(tile(to_pil(model.decode(path, average.expand(len(path), -1)))))
        traversals[f"latent {latent}, {kl[:, latent].mean():.2f} nats"] = strip
    columns = {name: values[rows] for name, values in faces.labels.items()
               if values.dtype.kind in "if" and len(np.unique(values[rows])) > 1}  # fmt: skip
    columns, points = columns or {"place in the data": rows}, map_2d(posterior.mean)
    found = metrics.evaluate(model, faces, *split)
    return {
        "figures": found["figures"], "text": metrics.text(found), "traversals": traversals,
        "pairs": _uri(tile(to_pil(torch.cat([faces.tensor(rows[some]), decoded])), len(some))),
        "samples": _uri(tile(studio.sample(SHOWN))),
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
