"""One self-contained HTML page about one or several training runs; its text is in the template."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from facevae import plots
from facevae.config import Recipe
from facevae.data.face_set import FaceSet, evenly
from facevae.evaluation import metrics
from facevae.imaging.images import tile, to_pil
from facevae.io import write_text
from facevae.latents.diagnostics import by_kl, map_2d
from facevae.latents.paths import traversal
from facevae.models.priors import MixturePrior
from facevae.models.vae import FaceVAE
from facevae.training.checkpoints import read_history

TEMPLATE = Path(__file__).with_name("report.html.j2")
PHOTOS = "contains photographs of the data: do not publish it where the data's licence forbids that"
TRAIN_FACES, TEST_FACES = 4000, 2000  # that the prior is fitted to; that are measured
PAIRS, SAMPLES, TRAVERSALS, STRIPS, MAPS = 16, 8, 8, 6, 3  # how many of each are shown
FLAT = 0.01  # share of the whole improvement under which the last fifth of a curve is flat
CURVES = {  # title → unit, legend → the history's column
    "Loss": ("nats per image", {"training": "train_loss", "validation": "val_loss"}),
    "Reconstruction, validation": ("nats per image", {"": "reconstruction"}),
    "KL, validation": ("nats per image", {"": "kl"}),
    "Gradient before clipping": ("norm", {"": "grad_norm"}),
    "Learning rate": ("rate", {"": "lr"}),
}


def write_report(
    runs: Sequence[str | Path], out: str | Path, data: Sequence[FaceSet] = (), photos: bool = True
) -> bool:
    """Write the page about some run folders to `out`.

    Args:
        data: the prepared faces that they were trained on; a run without shows its curves and its
            monitor alone.
        photos: False leaves out the data's own pictures.

    Returns:
        whether the page contains photographs.

    Raises:
        ValueError: a folder holds no run, or none was trained on these faces.
    """
    found = [_read_run(Path(folder)) for folder in runs]
    for run in found:
        run["faces"] = next(
            (faces for faces in data if run["shape"] == [*faces.images.shape]), None
        )
    if data and not any(run["faces"] for run in found):
        raise ValueError(f"none of these runs was trained on {data[0].folder}: name its faces")
    photographs = photos and any(run["source"] != "synthetic" for run in found)
    shown = [_shown(run, photos) for run in found]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template(TEMPLATE.name)
    write_text(out, page.render(runs=shown, notice=PHOTOS if photographs else ""))
    return photographs


def _read_run(folder: Path) -> dict[str, Any]:
    """What a run folder states: folder, recipe, its faces' shape and source, history.

    Raises:
        ValueError: it holds no run with a finished epoch.
    """
    for name in ("history.csv", "recipe.json", "best/config.json", "best/model.safetensors"):
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder} is no run with a finished epoch ({name} is missing): give a folder "
                "that `python -m facevae train … --out FOLDER` wrote"
            )
    about = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    config = json.loads((folder / "best" / "config.json").read_text(encoding="utf-8"))
    config.pop("format", None)
    return {"folder": folder, "recipe": about["recipe"] | {"model": config},
            "shape": about["faces"]["shape"], "source": about["faces"]["source"],
            "history": read_history(folder)}  # fmt: skip


def _shown(run: dict[str, Any], photos: bool) -> dict[str, Any]:
    """What the template shows of a run."""
    recipe, history = run["recipe"], run["history"]
    shown = {
        "name": recipe["name"], "folder": run["folder"].name, "why": recipe["why"],
        "latents": recipe["model"]["latents"], "epochs": len(history), "data": None,
        "minutes": history[-1]["minutes"], "curve": settled(history), "settings": _settings(recipe),
        "curves": [(title, _curve(history, title)) for title in CURVES],
        "monitor": _monitor(run, photos), "photos": photos,
    }  # fmt: skip
    return shown | ({"data": _of_faces(run, photos)} if run["faces"] else {})


def settled(history: Sequence[dict[str, float]]) -> str:
    """Whether the best validation loss still fell in the last fifth of the epochs: see FLAT."""
    best = np.minimum.accumulate([row["val_loss"] for row in history])
    if len(best) < 5:
        return "too short to say"
    whole, last = best[0] - best[-1], best[len(best) - 1 - math.ceil(len(best) / 5)] - best[-1]
    if whole <= 0:
        return "never fell"
    return "flat" if last < FLAT * whole else "still falling"


def _settings(recipe: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Settings that differ from the plain defaults: name, value, default."""
    plain = json.loads(json.dumps(dataclasses.asdict(Recipe("", ""))))
    pairs = [
        (f, v, plain["model"].get(f)) for f, v in recipe["model"].items() if f != "image_shape"
    ]
    pairs += [(f, v, plain.get(f)) for f, v in recipe.items() if f not in ("name", "why", "model")]
    return [(name, str(value), str(default)) for name, value, default in pairs if value != default]


def _curve(history: Sequence[dict[str, float]], title: str) -> Markup:
    unit, columns = CURVES[title]
    epochs = [row["epoch"] for row in history]
    series = {name or "_": [row[column] for row in history] for name, column in columns.items()}
    return _diagram(lambda: plots.lines(epochs, series, "epoch", unit, size=plots.SMALL))


def _monitor(run: dict[str, Any], photos: bool) -> list[tuple[str, str]]:
    """Strips of some epochs: label, address. Without photos their two ends are cut off."""
    files = sorted((run["folder"] / "monitor").glob("epoch_*.png"))
    if not files:
        return []
    width, strips = run["recipe"]["model"]["image_shape"][2], []
    for at in np.unique(np.geomspace(1, len(files), STRIPS).round().astype(int) - 1):
        with Image.open(files[at]) as whole:
            part = whole if photos else whole.crop((width, 0, whole.width - width, whole.height))
            strips.append((f"epoch {int(files[at].stem.split('_')[1])}", _address(part)))
    return strips


@torch.inference_mode()
def _of_faces(run: dict[str, Any], photos: bool) -> dict[str, Any]:
    """Figures and pictures that need the faces of a run."""
    faces, recipe = run["faces"], run["recipe"]
    model = FaceVAE.from_pretrained(run["folder"] / "best")
    split = faces.split(recipe.get("seed", 0), by=recipe.get("split_by", "content"))
    train, test = (
        evenly(metrics.known_rows(model, faces, split[part]), most)
        for part, most in (("train", TRAIN_FACES), ("test", TEST_FACES))
    )
    table = metrics.per_face(model, faces, test)
    figures = metrics.summary(table) | {"faces": len(test)}
    figures["pca_psnr"] = metrics.pca_psnr(faces, split["train"], test, model.config.latents)
    figures["parameters"] = sum(p.numel() for p in model.parameters())
    codes = {"train": metrics.posteriors(model, faces, train).mean,
             "test": metrics.posteriors(model, faces, test).mean}  # fmt: skip
    names = model.config.conditions
    known = torch.from_numpy(faces.conditions(names)) if names else None
    given = {part: None if known is None else known[rows]
             for part, rows in (("train", train), ("test", test))}  # fmt: skip
    labels = _labels(faces, test)
    return {
        "figures": figures,
        "groups": metrics.by_group(table["psnr"], faces, test),
        "pairs": _pairs(model, faces, test, codes["test"], given["test"], table["psnr"], photos),
        "samples": _samples(model, codes["train"], given["train"]),
        "traversals": _traversals(model, codes, given["train"], table["kl_per_latent"], labels),
        "kl": _diagram(lambda: plots.ranked(
            table["kl_per_latent"].mean(0).sort(descending=True).values.tolist(),
            "latents, in order of KL", "KL (nats)")),
        "maps": _maps(codes["test"], labels),
    }  # fmt: skip


def _pairs(
    model: FaceVAE, faces: FaceSet, rows: np.ndarray, codes: Tensor, given: Tensor | None,
    psnr: Tensor, photos: bool,
) -> list[tuple[str, float]]:  # fmt: skip
    """Unseen faces above what is decoded of them, at equal steps of PSNR, the worst first."""
    shown = evenly(psnr.argsort().numpy(), PAIRS)
    decoded = model.decode(codes[shown], None if given is None else given[shown])
    originals = faces.tensor(rows[shown])
    return [
        (_address(tile(to_pil(torch.stack([x, y] if photos else [y])), columns=1)), float(psnr[i]))
        for i, x, y in zip(shown, originals, decoded, strict=True)
    ]


def _samples(model: FaceVAE, codes: Tensor, given: Tensor | None) -> list[tuple[str, list[str]]]:
    """Faces of nobody from three priors; conditions are those of training faces."""
    generator, prior = torch.Generator().manual_seed(0), MixturePrior.fit(codes, 1)
    rows = evenly(np.arange(len(codes)), SAMPLES)
    drawn = {
        "from N(0, I)": torch.randn(len(rows), codes.shape[1], generator=generator),
        "from the fitted prior": prior.sample(len(rows), generator, 1.0),
        "fitted, temperature 0.8": prior.sample(len(rows), generator, 0.8),
    }
    condition = None if given is None else given[rows]
    return [(name, [_address(one) for one in to_pil(model.decode(z, condition))])
            for name, z in drawn.items()]  # fmt: skip


def _traversals(
    model: FaceVAE, codes: dict[str, Tensor], given: Tensor | None, kl: Tensor,
    labels: dict[str, np.ndarray],
) -> list[dict[str, Any]]:  # fmt: skip
    """Latents of the largest KL, moved; the labels that correlate with each."""
    found = []
    for latent in by_kl(kl)[:TRAVERSALS]:
        path = traversal(codes["train"], latent)
        condition = None if given is None else given.mean(0).expand(len(path), -1)
        r = {}
        for name, values in labels.items():
            known = ~np.isnan(values)
            column = codes["test"][:, latent].numpy()[known]
            if known.sum() > 2 and values[known].std() > 0 and column.std() > 0:
                r[name] = float(np.corrcoef(column, values[known])[0, 1])
        floor = max(0.1, 3 / math.sqrt(max(1, len(codes["test"]))))  # three standard errors
        strong = sorted((n for n in r if abs(r[n]) >= floor), key=lambda n: -abs(r[n]))[:3]
        found.append({"latent": latent, "kl": float(kl[:, latent].mean()),
                      "strip": _address(tile(to_pil(model.decode(path, condition)))),
                      "labels": [(name, r[name]) for name in strong]})  # fmt: skip
    return found


def _maps(codes: Tensor, labels: dict[str, np.ndarray]) -> list[tuple[str, Markup]]:
    """Two principal components of the codes, coloured by the labels that they explain best."""
    points, drawn = map_2d(codes).numpy(), []
    for name, values in labels.items():
        known = ~np.isnan(values)
        if known.sum() > 3 and values[known].std() > 0:
            design = np.column_stack([points[known], np.ones(known.sum())])
            fitted = design @ np.linalg.lstsq(design, values[known], rcond=None)[0]
            drawn.append((1 - np.var(values[known] - fitted) / np.var(values[known]), name))
    best = sorted(drawn, reverse=True)[:MAPS]
    return [(f"{name}: R² {share:.2f}", _map(points, labels[name])) for share, name in best]


def _map(points: np.ndarray, values: np.ndarray) -> Markup:
    known, axis = ~np.isnan(values), "component {} of the latents"
    return _diagram(lambda: plots.scatter(points[known], values[known], {}, axis))


def _labels(faces: FaceSet, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Numeric labels of rows, NaN where unknown; their place in the data where there are none."""
    found = {}
    for name, values in faces.labels.items():
        if values.dtype.kind in "if" and name != "person":
            column = values[rows].astype(float)
            found[name] = np.where((column == -1) & (values.dtype.kind == "i"), np.nan, column)
    return found or {"place in the data": rows.astype(float)}


def _diagram(draw: Callable[[], plots.Figure]) -> Markup:
    """A Figure in ink for light pages and in ink for dark ones."""
    light, dark = (_uri(plots.png(draw, dark)) for dark in (False, True))
    return Markup(
        '<picture><source media="(prefers-color-scheme: dark)" srcset="{}">'
        '<img class="diagram" src="{}" alt="diagram"></picture>'
    ).format(dark, light)


def _address(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return _uri(file.getvalue())


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
