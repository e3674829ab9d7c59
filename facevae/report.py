"""report(): one self-contained HTML page of one or several runs, what a teacher shows."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facevae import measured, metrics, pictures, plots, results, words
from facevae.data import FaceSet, evenly
from facevae.files import write_text
from facevae.latent import GaussianPrior
from facevae.model import FaceVAE
from facevae.results import Run

PHOTOS = "contains photographs of the data: do not publish it where the data's licence forbids that"
CODES, UNSEEN = 4000, 2000  # faces that the prior is fitted to, unseen ones that are measured
PAIRS, SAMPLES, TRAVERSALS, STRIPS, MAPS = 16, 8, 8, 6, 3  # how many of each are shown
CURVES = {  # title → unit, name of a line → the history's column (no legend for "_")
    "Loss": ("nats per image", {"training": "train_loss", "validation": "val_loss"}),
    "Reconstruction, validation": ("nats per image", {"_": "reconstruction"}),
    "KL, validation": ("nats per image", {"_": "kl"}),
    "Gradient before clipping": ("norm", {"_": "grad_norm"}),
    "Learning rate": ("rate", {"_": "lr"}),
}


def report(
    runs: Sequence[str | Path], out: str | Path, data: Sequence[FaceSet] = (), photos: bool = True
) -> bool:
    """Write the page of some run folders to `out`.

    Args:
        data: the prepared faces that they were trained on; a run without shows no pictures but
            its monitor's.
        photos: False leaves the data's own pictures out and shows what the models drew.

    Returns:
        whether the page contains photographs.

    Raises:
        ValueError: a folder holds no run, or none was trained on these faces.
    """
    found = [results.read_run(folder) for folder in runs]
    shown = [_Shown(run, results.faces_of(run, data), photos) for run in found]
    if data and not any(one.faces for one in shown):
        raise ValueError(
            f"none of these runs was trained on {data[0].folder}: its {len(data[0])} faces of the "
            f"shape {data[0].image_shape} are not those of {found[0].folder}"
        )
    photographs = photos and any(one.run.source != "synthetic" for one in shown)
    parts = [_comparison(shown)] if len(shown) > 1 else []
    parts += [_section(one, i) for i, one in enumerate(shown)]
    title = ", ".join(dict.fromkeys(run.name for run in found))
    notice = f"This page {PHOTOS}." if photographs else ""
    write_text(out, words.page(title, "\n".join(parts), notice))
    return photographs


@dataclass(frozen=True)
class _Shown:
    """A run, its faces if they are known, and what several figures need of them."""

    run: Run
    faces: FaceSet | None
    photos: bool

    @property
    def known(self) -> FaceSet:
        assert self.faces is not None  # without them nothing that needs them is shown
        return self.faces

    @cached_property
    def figures(self) -> dict:
        """Empty where the faces are not known."""
        return results.figures(self.run, self.faces) if self.faces else {}

    @cached_property
    def model(self) -> FaceVAE:
        return FaceVAE.from_pretrained(self.run.folder / "best")

    @cached_property
    def rows(self) -> dict[str, np.ndarray]:
        """At most CODES rows of train and UNSEEN of test, evenly taken."""
        split = self.run.split(self.known)
        return {"train": evenly(split["train"], CODES), "test": evenly(split["test"], UNSEEN)}

    @cached_property
    def trained(self) -> Tensor:
        """Posterior means of training faces, (≤ CODES, D)."""
        return metrics.posteriors(self.model, self.known, self.rows["train"]).mean

    @cached_property
    def unseen(self) -> Tensor:
        """Posterior means of test faces, (≤ UNSEEN, D)."""
        return metrics.posteriors(self.model, self.known, self.rows["test"]).mean

    @cached_property
    def labels(self) -> list[measured.Label]:
        """The labels of the `unseen`."""
        return [label.of(self.rows["test"]) for label in measured.labels_of(self.known)]

    def condition(self, rows: np.ndarray) -> Tensor | None:
        names = self.model.config.conditions
        return torch.from_numpy(self.known.conditions(names)[rows]) if names else None

    @torch.inference_mode()
    def decode(self, codes: Tensor, rows: np.ndarray) -> Tensor:
        """Pictures of codes (M, D) under the conditions of as many rows."""
        return self.model.decode(codes, self.condition(rows))


def _section(one: _Shown, number: int) -> str:
    run = one.run
    why = run.recipe.get("why", "The folder does not tell its recipe.")
    parts = [f'<section id="run{number}"><h2>{escape(run.name)}</h2>']
    parts += [f'<p class="why">{escape(why)}</p>', _tiles(one)]
    parts += [_settings(run), _curves(run), _monitor(one)]
    if one.faces:
        parts += [_metrics(one), _reconstructions(one), _samples(one)]
        parts += [_traversals(one), _kl(one), _maps(one)]
    else:
        parts.append(f'<p class="note">{words.NO_DATA}</p>')
    return "\n".join([*parts, "</section>"])


def _comparison(shown: Sequence[_Shown]) -> str:
    rows = []
    for i, one in enumerate(shown):
        cells = {"epochs": str(len(one.run.history)), "curve": results.settled(one.run.history)}
        if one.figures:
            cells = results.row(one.run, one.figures)
            del cells["recipe"], cells["command"]
        link = f'<a href="#run{i}">{escape(one.run.folder.name)}</a>'
        rows.append({"run": link} | {key: escape(value) for key, value in cells.items()})
    heads = max(rows, key=len)
    table = _table(heads, [[row.get(head, "–") for head in heads] for row in rows])
    return f"<section>{_exhibit('Side by side', 'runs', [table], words.COMPARISON)}</section>"


def _tiles(one: _Shown) -> str:
    """The few figures that one asks for first."""
    run, tiles = one.run, {}
    if one.figures:
        lead = one.figures["psnr"] - one.figures["pca_psnr"]
        tiles["PSNR, unseen faces"] = f"{one.figures['psnr']:.2f} dB"
        tiles["against PCA"] = words.signed(lead) + " dB"
        tiles["SSIM"] = f"{one.figures['ssim']:.3f}"
        tiles["parameters"] = results.millions(one.figures["parameters"])
    tiles["latents"] = str(run.recipe["model"]["latents"])
    tiles["epochs"] = str(len(run.history))
    tiles["training"] = results.minutes(run.history)
    tiles["the curve"] = results.settled(run.history)
    cells = "".join(f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in tiles.items())
    return f'<dl class="tiles">{cells}</dl>'


def _settings(run: Run) -> str:
    found = words.settings(run.recipe, results.default_settings())
    changed = _definitions(s for s in found if s.default)
    same = _definitions(s for s in found if not s.default)
    rest = f"<details><summary>Settings left as they are</summary>{same}</details>"
    return f"<h3>The recipe</h3><p>{words.RECIPE}</p>{changed}{rest}"


def _definitions(settings: Iterable[words.Setting]) -> str:
    lines = []
    for s in settings:
        default = f" <small>default {escape(s.default)}</small>" if s.default else ""
        term = f"{escape(s.name)} <b>{escape(s.value)}</b>{default}"
        lines.append(f"<div><dt>{term}</dt><dd>{escape(s.meaning)}</dd></div>")
    return f'<dl class="settings">{"".join(lines)}</dl>'


def _curves(run: Run) -> str:
    epochs, drawn = [row["epoch"] for row in run.history], []
    for title, (unit, columns) in CURVES.items():
        series = {name: [row[c] for row in run.history] for name, c in columns.items()}

        def draw(unit: str = unit, series: dict = series) -> plots.Figure:
            return plots.lines(epochs, series, "epoch", unit, size=plots.SMALL)

        drawn.append(f"<div><h4>{title}</h4>{_diagram(draw, f'{title} by epoch')}</div>")
    tail = words.tail(results.settled(run.history), results.tail_share(run.history))
    return _exhibit("Curves", "panels", drawn, words.CURVES, tail)


def _monitor(one: _Shown) -> str:
    files = sorted((one.run.folder / "monitor").glob("epoch_*.png"))
    if not files:
        return ""
    wanted = np.unique(np.geomspace(1, len(files), STRIPS).round().astype(int) - 1)
    strips = []
    for path in (files[i] for i in wanted):
        with Image.open(path) as whole:
            strip = whole if one.photos else _between(whole, one.run.recipe["model"]["image_shape"])
            if strip is None:
                return f'<h3>The monitor</h3><p class="note">{words.NO_STRIP}</p>'
            label = f"epoch {int(path.stem.split('_')[1])}"
            strips.append(f"<div><span>{label}</span>{_image(strip, f'monitor, {label}')}</div>")
    caption = words.MONITOR if one.photos else words.MONITOR_DRAWN
    return _exhibit("The monitor", "strips", strips, caption)


def _between(strip: Image.Image, shape: Sequence[int]) -> Image.Image | None:
    """A monitor's strip without the photographs at its ends; None if it is laid out otherwise."""
    _, height, width = shape
    if strip.height != height or strip.width != 9 * width:
        return None
    return strip.crop((width, 0, strip.width - width, height))


def _metrics(one: _Shown) -> str:
    found = one.figures
    body = []
    for key, (name, form) in words.METRICS.items():
        if key in found:
            pca = f"{found['pca_psnr']:.2f}" if key == "psnr" else "–"
            body.append([name, f"{found[key]:{form}}".replace("-", "−"), pca])
    groups = [[escape(k), str(v["faces"]), f"{v['mean']:.2f}"] for k, v in found["groups"].items()]
    tables = [_table(["what", "this model", "PCA"], body)]
    if groups:
        tables.append(_table(["group", "faces", "PSNR (dB)"], groups))
    return _exhibit("Held-out figures", "tables", tables, words.FIGURES, words.verdict(found))


@torch.inference_mode()
def _reconstructions(one: _Shown) -> str:
    rows = evenly(one.rows["test"], 400)
    codes = metrics.posteriors(one.model, one.known, rows).mean
    images, decoded = one.known.tensor(rows), one.decode(codes, rows)
    psnr = metrics.psnr(images, decoded)
    cards = []
    for i in evenly(psnr.argsort().numpy(), PAIRS):
        pair = torch.stack([images[i], decoded[i]] if one.photos else [decoded[i]])
        sheet = pictures.tile(pictures.to_pil(pair), columns=1)
        cards.append(f"<div>{_image(sheet, 'reconstruction')}<span>{psnr[i]:.1f} dB</span></div>")
    told = words.PAIRS if one.photos else words.PAIRS_DRAWN
    caption = [part.format(faces=len(rows), shown=len(cards)) for part in told]
    return _exhibit("Reconstructions", "faces", cards, caption)


def _samples(one: _Shown) -> str:
    generator = torch.Generator().manual_seed(0)
    prior = GaussianPrior.fit(one.trained)
    rows = evenly(one.rows["train"], SAMPLES)  # whose conditions, if any, the samples take
    n = len(rows)
    draws = {
        "from N(0, I)": torch.randn(n, one.trained.shape[1], generator=generator),
        "from the fitted prior": prior.sample(n, generator, temperature=1.0),
        "fitted, temperature 0.8": prior.sample(n, generator, temperature=0.8),
    }
    groups = []
    for name, codes in draws.items():
        cards = [f"<div>{_image(p, name)}</div>" for p in pictures.to_pil(one.decode(codes, rows))]
        groups.append(f'<div><h4>{name}</h4><div class="few">{"".join(cards)}</div></div>')
    see, hidden = words.SAMPLES
    told = words.TOLD if one.model.config.conditions else ""
    caption = [see.format(codes=f"{len(one.trained):,}") + told, hidden]
    return _exhibit("Samples", "columns", groups, caption)


def _traversals(one: _Shown) -> str:
    kl = np.array(one.figures["kl_per_latent"])
    columns = {k: values for label in one.labels for k, values in label.columns().items()}
    found = measured.correlations(one.unseen.numpy(), columns)
    condition = one.condition(one.rows["train"])
    condition = None if condition is None else condition.mean(0, keepdim=True)
    cards = []
    for latent in kl.argsort()[::-1][:TRAVERSALS].tolist():
        path = measured.traverse(one.model, one.trained, latent, condition)
        strip = _image(pictures.tile(pictures.to_pil(path)), f"traversal of latent {latent}")
        r = {name: float(of_latent[latent]) for name, of_latent in found.items()}
        does = escape(words.effect(measured.change(path), r, len(one.unseen)))
        head = f"<h4>latent {latent}: {kl[latent]:.2f} nats</h4>"
        cards.append(f"<div>{head}{strip}<p>{does}</p></div>")
    caption = [part.format(faces=len(one.unseen)) for part in words.TRAVERSALS]
    return _exhibit("Traversals", "columns two", cards, caption)


def _kl(one: _Shown) -> str:
    kl = sorted(one.figures["kl_per_latent"], reverse=True)
    bars = _diagram(lambda: plots.ranked(kl, "latents, in order of KL", "KL (nats)"), "KL a latent")
    half = int(np.searchsorted(np.cumsum(kl), sum(kl) / 2)) + 1
    active = sum(value > 0.01 for value in kl)
    caption = [part.format(half=half, active=active, all=len(kl)) for part in words.KL]
    return _exhibit("KL per latent", "panels", [bars], caption)


def _maps(one: _Shown) -> str:
    points, shares = measured.project(one.unseen.numpy())
    scores = {label.name: measured.explained(points, label.columns()) for label in one.labels}
    labels = sorted(one.labels, key=lambda label: -scores[label.name])[:MAPS]
    drawn = []
    for label in labels:
        known = ~np.isnan(label.values)

        def draw(label: measured.Label = label, known: np.ndarray = known) -> plots.Figure:
            values = label.values[known]
            return plots.scatter(points[known], values, label.names, "component {} of the latents")

        head = f"<h4>{escape(label.name)}: R² {scores[label.name]:.2f}</h4>"
        drawn.append(f"<div>{head}{_diagram(draw, f'map coloured by {label.name}')}</div>")
    caption = [part.format(share=f"{shares.sum():.0%}", faces=len(points)) for part in words.MAPS]
    return _exhibit("A map of the latents", "panels", drawn, caption)


def _exhibit(
    title: str, kind: str, parts: Iterable[str], caption: Sequence[str], first: str = ""
) -> str:
    """A figure under its title: parts are HTML, laid out as the CSS lays out `kind`."""
    first = f"<p>{escape(first)}</p>" if first else ""
    body = f'<div class="{kind}">{"".join(parts)}</div>'
    see, hidden = map(escape, caption)
    notes = f"<p><b>To see.</b> {see}</p><p><b>Not shown.</b> {hidden}</p>"
    return f"<h3>{title}</h3>{first}<figure>{body}<figcaption>{notes}</figcaption></figure>"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells that are HTML already."""
    head = "".join(f"<th>{h}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _diagram(draw: Callable, alt: str) -> str:
    """A Figure in ink for light pages and in ink for dark ones."""
    light, dark = (_uri(plots.png(draw, dark)) for dark in (False, True))
    source = f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
    return f'<picture>{source}<img class="diagram" src="{light}" alt="{escape(alt)}"></picture>'


def _image(picture: Image.Image, alt: str) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    small = ' class="small"' if min(picture.size) < 64 else ""  # enlarged: pixels, not blur
    return f'<img{small} src="{_uri(file.getvalue())}" alt="{escape(alt)}">'


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
