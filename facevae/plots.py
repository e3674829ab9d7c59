"""Arrays in, matplotlib Figures out, without global state: what notebooks and report draw."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

DPI, WIDTH = 80, 8.0  # dots an inch, inches
Images = np.ndarray | Tensor


def to_levels(images: Images) -> np.ndarray:
    """Pictures as uint8 (N, H, W, 3): from uint8 (N, H, W, C) or float (N, C, H, W) in [0, 1]."""
    images = images.detach().cpu().numpy() if isinstance(images, Tensor) else images
    if images.ndim != 4:
        raise ValueError(f"pictures have four axes, (N, …): these have the shape {images.shape}")
    if images.dtype != np.uint8:
        images = np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)
        images = images.transpose(0, 2, 3, 1)  # (N, C, H, W) -> (N, H, W, C)
    return np.broadcast_to(images, (*images.shape[:3], 3))


def show_faces(
    images: Images, titles: Sequence[str] = (), columns: int = 8, labels: Sequence[str] = ()
) -> Figure:
    """Faces as in `to_levels`, titles above each or the first row alone, a label left of a row."""
    images = to_levels(images)
    n, height, width, _ = images.shape
    columns, gap = min(columns, n), max(1, width // 32)
    head = round(0.24 * height) if len(titles) > columns else 0
    step_y, step_x = height + gap + head, width + gap
    sheet = np.full((-(-n // columns) * step_y, columns * step_x, 3), 255, np.uint8)
    corners = [(i // columns * step_y + head, i % columns * step_x) for i in range(n)]
    for image, (y, x) in zip(images, corners, strict=True):
        sheet[y : y + height, x : x + width] = image
    room = 0.2 + 0.09 * max(map(len, labels)) if labels else 0.1  # inches, at 10 points a letter
    wide = min(WIDTH - room, 1.15 * columns)
    tall = wide * len(sheet) / sheet.shape[1] + (0.2 if titles else 0.1)
    axes = _axes(tall, wide + room)
    axes.imshow(sheet, interpolation="nearest")
    axes.set(frame_on=False, xticks=[], yticks=[], anchor="E")  # labels need the room on the left
    for title, (y, x) in zip(titles, corners, strict=False):
        axes.text(x + width / 2, y - gap, title, ha="center", va="bottom", fontsize=8)
    for label, (y, _) in zip(labels, corners[::columns], strict=False):
        axes.text(-2 * gap, y + height / 2, label, ha="right", va="center")
    return axes.figure


def rows(pictures: Mapping[str, Images], titles: Sequence[str] = ()) -> Figure:
    """Labelled rows of as many pictures each, for before and after: label → (N, …)."""
    images = np.concatenate([to_levels(part) for part in pictures.values()])
    return show_faces(images, titles, len(images) // len(pictures), list(pictures))


def curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Loss, KL and gradient norm against the epoch, from the rows of `read_history`."""
    figure = Figure(figsize=(WIDTH, 2.5), dpi=DPI, layout="constrained")
    panels = {"loss (nats per image)": ["train_loss", "val_loss"], "KL (nats per image)": ["kl"],
              "gradient norm": ["grad_norm"]}  # fmt: skip
    for axes, (ylabel, columns) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for name in columns:
            axes.plot([r["epoch"] for r in history], [r[name] for r in history], ".-", label=name)
        _finish(axes, "epoch", ylabel)
    return figure


def lines(
    x: Sequence[float], series: Mapping[str, Sequence[float]], xlabel: str, ylabel: str
) -> Figure:
    """A line a name: x (N,), series: name → (N,)."""
    axes = _axes(3.0)
    for name, y in series.items():
        axes.plot(x, y, "." if len(x) == 1 else "-", label=name)
    return _finish(axes, xlabel, ylabel)


def bars(values: Mapping[str, float], xlabel: str) -> Figure:
    """A horizontal bar a name, the first on top."""
    axes = _axes(0.6 + 0.22 * len(values))
    axes.barh(list(values), list(values.values()))
    axes.invert_yaxis()
    return _finish(axes, xlabel, "")


def table(values: Images, rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """Numbers (R, C) with names at their edges, shaded from the least to the greatest."""
    values = np.asarray(values, dtype=float)
    axes = _axes(0.5 + 0.28 * len(rows), 6.5)
    axes.imshow(values, cmap="Greens", aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        light = 2 * value <= values.min() + values.max()
        axes.text(j, i, f"{value:.2f}", ha="center", va="center", color="k" if light else "w")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    return axes.figure


def histograms(
    series: Mapping[str, Images], xlabel: str, ylabel: str, bins: int | Sequence[float] = 30
) -> Figure:
    """Outlined histograms, name → (N,), over the same bins (a number or edges)."""
    axes, values = _axes(3.0), [np.asarray(v) for v in series.values()]
    axes.hist(values, bins, histtype="step", linewidth=1.5, label=list(series))
    return _finish(axes, xlabel, ylabel)


def scatter(points: Images, values: Images, names: Mapping[float, str], axis: str) -> Figure:
    """Points (N, 2) coloured by values (N,), by name if there are `names`; axis: "component {}"."""
    axes, points = _axes(4.0, 5.0), np.asarray(points)
    for value, name in names.items():
        axes.scatter(*points[np.asarray(values) == value].T, s=9, alpha=0.75, label=name)
    if not names:
        axes.figure.colorbar(axes.scatter(*points.T, s=9, alpha=0.75, c=values), ax=axes)
    return _finish(axes, axis.format(1), axis.format(2))


def _finish(axes: Any, xlabel: str, ylabel: str) -> Figure:
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    return axes.figure


def _axes(height: float, width: float = 6.0) -> Any:
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained").add_subplot()
