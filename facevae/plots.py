"""Arrays in, matplotlib Figures out: what the notebooks draw. Only this module loads matplotlib.

Each function returns a `Figure` that no global state knows of: show it by making it the last
expression of a cell. A caption stands under each: what to see, and what the figure does not show.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

DPI = 80
WIDTH = 8.0  # inches
CAPTION_SIZE = 9  # points
Images = np.ndarray | Tensor


def to_levels(images: Images) -> np.ndarray:
    """Pictures as uint8 (N, H, W, 3): from uint8 (N, H, W, C) or float (N, C, H, W) in [0, 1]."""
    if isinstance(images, Tensor):
        images = images.detach().cpu().numpy()
    images = np.asarray(images)
    if images.ndim != 4:
        raise ValueError(f"pictures come as four axes, not as shape {images.shape}")
    if images.dtype != np.uint8:
        images = np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)
        images = images.transpose(0, 2, 3, 1)  # (N, C, H, W) -> (N, H, W, C)
    if images.shape[-1] not in (1, 3):
        raise ValueError(f"pictures have 1 or 3 channels, not {images.shape[-1]}")
    return np.broadcast_to(images, (*images.shape[:3], 3))


def show_faces(
    images: Images,
    titles: Sequence[str] | None = None,
    columns: int = 8,
    caption: str = "",
    labels: Sequence[str] | None = None,
) -> Figure:
    """Faces in rows of `columns`.

    Args:
        images: uint8 (N, H, W, C), or float (N, C, H, W) in [0, 1].
        titles: a short text above each picture, or above those of the first row alone.
        labels: a text to the left of each row.
    """
    images = to_levels(images)
    n, height, width, _ = images.shape
    columns, gap = min(columns, n), max(1, width // 32)
    rows = math.ceil(n / columns)
    head = round(0.24 * height) if titles is not None and len(titles) > columns else 0
    step_y, step_x = height + gap + head, width + gap
    sheet = np.full((rows * step_y, columns * step_x, 3), 255, np.uint8)
    for i, image in enumerate(images):
        y, x = i // columns * step_y + head, i % columns * step_x
        sheet[y : y + height, x : x + width] = image
    inches = min(WIDTH, 1.15 * columns)
    figure = _figure(caption, inches * len(sheet) / sheet.shape[1] + 0.2, inches)
    axes = figure.add_subplot()
    axes.imshow(sheet, interpolation="nearest")
    axes.set_axis_off()
    for i, title in enumerate(titles or ()):
        x, y = i % columns * step_x + width / 2, i // columns * step_y + head - gap
        axes.text(x, y, title, ha="center", va="bottom", fontsize=8)
    for i, label in enumerate(labels or ()):
        y = i * step_y + head + height / 2
        axes.text(-2 * gap, y, label, ha="right", va="center", fontsize=9)
    return figure


def rows(
    pictures: Mapping[str, Images], titles: Sequence[str] | None = None, caption: str = ""
) -> Figure:
    """Labelled rows of as many pictures each, for before and after: label → (N, …) as above."""
    images = np.concatenate([to_levels(part) for part in pictures.values()])
    columns = len(next(iter(pictures.values())))
    return show_faces(images, titles, columns, caption, labels=list(pictures))


def curves(history: Sequence[Mapping[str, float]], caption: str = "") -> Figure:
    """Loss, KL and gradient norm against the epoch, from the rows of `train.read_history`."""
    column = {name: [row[name] for row in history] for name in history[0]}
    figure = _figure(caption, 2.5)
    loss, kl, norm = figure.subplots(1, 3)
    loss.plot(column["epoch"], column["train_loss"], ".-", label="training")
    loss.plot(column["epoch"], column["val_loss"], ".-", label="validation")
    loss.legend(frameon=False)
    kl.plot(column["epoch"], column["kl"], ".-")
    norm.plot(column["epoch"], column["grad_norm"], ".-")
    _named(loss, "epoch", "loss (nats per image)")
    _named(kl, "epoch", "KL (nats per image)")
    _named(norm, "epoch", "gradient norm")
    return figure


def lines(
    x: Sequence[float], series: Mapping[str, Sequence[float]], xlabel: str, ylabel: str,
    caption: str = "",
) -> Figure:  # fmt: skip
    """One line a name: x (N,), series: name → (N,)."""
    figure = _figure(caption, 3.0, 6.0)
    axes = figure.add_subplot()
    for name, y in series.items():
        axes.plot(x, y, label=name)
    axes.legend(frameon=False)
    _named(axes, xlabel, ylabel)
    return figure


def bars(values: Mapping[str, float], xlabel: str, caption: str = "") -> Figure:
    """A horizontal bar a name, in the order given, the first on top."""
    figure = _figure(caption, 0.6 + 0.22 * len(values), 6.0)
    axes = figure.add_subplot()
    axes.barh(list(values), list(values.values()))
    axes.invert_yaxis()
    _named(axes, xlabel, "")
    return figure


def histograms(
    series: Mapping[str, Sequence[float]], xlabel: str, ylabel: str = "count",
    bins: int | Sequence[float] = 30, caption: str = "",
) -> Figure:  # fmt: skip
    """Outlined histograms over one another, with the same bins: name → (N,)."""
    edges = np.histogram_bin_edges(np.concatenate(list(map(np.ravel, series.values()))), bins)
    figure = _figure(caption, 3.0, 6.0)
    axes = figure.add_subplot()
    for name, values in series.items():
        axes.hist(np.ravel(values), edges, histtype="step", linewidth=1.5, label=name)
    axes.legend(frameon=False)
    _named(axes, xlabel, ylabel)
    return figure


def _named(axes: Axes, xlabel: str, ylabel: str) -> None:
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)


def _figure(caption: str, height: float, width: float = WIDTH) -> Figure:
    """A Figure with room for its caption, wrapped to its width, below."""
    width = max(width, 5.0)
    characters = int(width * 72 / (0.48 * CAPTION_SIZE))
    text = textwrap.wrap(caption, characters)
    height += len(text) * 1.35 * CAPTION_SIZE / 72
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    if text:
        figure.supxlabel("\n".join(text), x=0.01, ha="left", fontsize=CAPTION_SIZE)
    return figure
