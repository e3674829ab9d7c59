"""Arrays in, matplotlib Figures out: what the notebooks and the report draw.

Only this module imports matplotlib, and it uses no global state. A caption says what to see.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from torch import Tensor

DPI, WIDTH, CAPTION_SIZE = 80, 8.0, 9  # dots an inch, inches, points
SMALL = (5.0, 2.7)  # inches of a diagram that can be read on a phone
INKS = (  # on a light page, on a dark one
    ("#0f766e", "#c2410c", "#4338ca", "#be185d", "#4d7c0f"),
    ("#2dd4bf", "#fb923c", "#a5b4fc", "#f9a8d4", "#bef264"),
)
Images = np.ndarray | Tensor


def to_levels(images: Images) -> np.ndarray:
    """Pictures as uint8 (N, H, W, 3): from uint8 (N, H, W, C) or float (N, C, H, W) in [0, 1]."""
    if isinstance(images, Tensor):
        images = images.detach().cpu().numpy()
    if images.ndim != 4:
        raise ValueError(f"pictures have four axes, (N, …): these have the shape {images.shape}")
    if images.dtype != np.uint8:
        images = np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)
        images = images.transpose(0, 2, 3, 1)  # (N, C, H, W) -> (N, H, W, C)
    return np.broadcast_to(images, (*images.shape[:3], 3))


def show_faces(
    images: Images, titles: Sequence[str] = (), columns: int = 8, caption: str = "",
    labels: Sequence[str] = (),
) -> Figure:  # fmt: skip
    """Faces as in `to_levels`, titles above each or the first row alone, a label left of a row."""
    images = to_levels(images)
    n, height, width, _ = images.shape
    columns, gap = min(columns, n), max(1, width // 32)
    head = round(0.24 * height) if len(titles) > columns else 0
    step_y, step_x = height + gap + head, width + gap
    sheet = np.full((-(-n // columns) * step_y, columns * step_x, 3), 255, np.uint8)
    for i, image in enumerate(images):
        y, x = i // columns * step_y + head, i % columns * step_x
        sheet[y : y + height, x : x + width] = image
    room = 0.2 + 0.08 * max(map(len, labels)) if labels else 0.1  # inches, at 10 points a letter
    inches = min(WIDTH - room, 1.15 * columns)
    tall = inches * len(sheet) / sheet.shape[1] + 0.1 + 0.1 * bool(titles)
    figure = _figure(caption, tall, inches + room)
    axes = figure.add_subplot()
    axes.imshow(sheet, interpolation="nearest")
    axes.set_axis_off()
    for i, title in enumerate(titles):
        x, y = i % columns * step_x + width / 2, i // columns * step_y + head - gap
        axes.text(x, y, title, ha="center", va="bottom", fontsize=8)
    for i, label in enumerate(labels):
        axes.text(-2 * gap, i * step_y + head + height / 2, label, ha="right", va="center")
    return figure


def rows(pictures: Mapping[str, Images], titles: Sequence[str] = (), caption: str = "") -> Figure:
    """Labelled rows of as many pictures each, for before and after: label → (N, …)."""
    images = np.concatenate([to_levels(part) for part in pictures.values()])
    return show_faces(images, titles, len(images) // len(pictures), caption, list(pictures))


def curves(history: Sequence[Mapping[str, float]], caption: str = "") -> Figure:
    """Loss, KL and gradient norm against the epoch, from the rows of `read_history`."""
    figure = _figure(caption, 2.5)
    panels = {"loss (nats per image)": {"training": "train_loss", "validation": "val_loss"},
              "KL (nats per image)": {"validation": "kl"},
              "gradient norm": {"training": "grad_norm"}}  # fmt: skip
    for axes, (ylabel, columns) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for name, column in columns.items():
            axes.plot([r["epoch"] for r in history], [r[column] for r in history], ".-", label=name)
        _finish(axes, "epoch", ylabel)
    return figure


def lines(
    x: Sequence[float] | np.ndarray, series: Mapping[str, Sequence[float]], xlabel: str,
    ylabel: str, caption: str = "", size: tuple[float, float] = (6.0, 3.0),
) -> Figure:  # fmt: skip
    """A line a name: x (N,), series: name → (N,), size in inches."""
    axes = _figure(caption, size[1], size[0]).add_subplot()
    for name, y in series.items():
        axes.plot(x, y, "." if len(x) == 1 else "-", label=name)
    if np.equal(np.mod(x, 1), 0).all():  # epochs: no half ones on the axis
        axes.locator_params("x", integer=True)
    return _finish(axes, xlabel, ylabel)


def bars(values: Mapping[str, float], xlabel: str, caption: str = "") -> Figure:
    """A horizontal bar a name, the first on top."""
    axes = _figure(caption, 0.6 + 0.22 * len(values), 6.0).add_subplot()
    axes.barh(list(values), list(values.values()))
    axes.invert_yaxis()
    return _finish(axes, xlabel, "")


def table(values: Images, rows: Sequence[str], columns: Sequence[str], caption: str = "") -> Figure:
    """Numbers (R, C) with names at their edges, shaded from the least to the greatest."""
    values = np.asarray(values, dtype=float)
    figure = _figure(caption, 0.5 + 0.28 * len(rows), 6.5)
    axes = figure.add_subplot()
    axes.imshow(values, cmap="Greens", aspect="auto")
    half = (values.min() + values.max()) / 2
    for (i, j), value in np.ndenumerate(values):
        axes.text(j, i, f"{value:.2f}", ha="center", va="center", color="wk"[int(value <= half)])
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def histograms(
    series: Mapping[str, Images], xlabel: str, ylabel: str,
    bins: int | Sequence[float] | np.ndarray = 30, caption: str = "",
) -> Figure:  # fmt: skip
    """Outlined histograms, name → (N,), over the same bins (a number or edges)."""
    edges = np.histogram_bin_edges(np.concatenate(list(series.values())), bins)
    axes = _figure(caption, 3.0, 6.0).add_subplot()
    for name, values in series.items():
        axes.hist(np.asarray(values), edges.tolist(), histtype="step", linewidth=1.5, label=name)
    return _finish(axes, xlabel, ylabel)


def ranked(values: Sequence[float], xlabel: str, ylabel: str) -> Figure:
    """A thin vertical bar a value (N,), in the order given, numbered from 1."""
    axes = _figure("", SMALL[1], SMALL[0]).add_subplot()
    axes.bar(np.arange(1, len(values) + 1), values, width=0.85 if len(values) < 64 else 1.0)
    axes.locator_params("x", integer=True)
    return _finish(axes, xlabel, ylabel)


def scatter(
    points: Images, values: np.ndarray, names: Mapping[float, str], axis: str, caption: str = ""
) -> Figure:
    """Points (N, 2) coloured by values (N,): by name where a value has one, else on a scale.

    `axis` names both axes, with a place for 1 and 2: "component {}".
    """
    axes = _figure(caption, 0.8 * SMALL[0], SMALL[0]).add_subplot()
    points, size = np.asarray(points), np.clip(8000 / len(points), 7, 24)
    style = {"s": size, "linewidths": 0, "alpha": 0.75}
    for value, name in names.items():
        axes.scatter(*points[values == value].T, label=name, **style)
    if not names:
        shown = axes.scatter(points[:, 0], points[:, 1], c=values, **style)
        axes.figure.colorbar(shown, ax=axes, shrink=0.8, aspect=30).outline.set_visible(False)
    figure = _finish(axes, axis.format(1), axis.format(2))
    if names:  # above the points, not on them
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(names))
    return figure


def png(draw: Callable[[], Figure], dark: bool = False) -> bytes:
    """The Figure that `draw` makes as a PNG without a ground, in ink for a light or dark page."""
    inked = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    style = dict.fromkeys(inked, "#d6d1ca" if dark else "#3b3632") | {
        "axes.facecolor": "none",
        "axes.prop_cycle": cycler(color=INKS[dark]),
        "figure.facecolor": "none",
        "font.size": 11.5,
        "image.cmap": "cool" if dark else "viridis",  # its dark end is lost on a dark page
    }
    with matplotlib.rc_context(style):  # type: ignore[arg-type]  # which wants literals
        file = io.BytesIO()
        draw().savefig(file, format="png", dpi=2 * DPI)
    return file.getvalue()


def _finish(axes: Axes, xlabel: str, ylabel: str) -> Figure:
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    assert isinstance(axes.figure, Figure)  # not a SubFigure
    return axes.figure


def _figure(caption: str, height: float, width: float = WIDTH) -> Figure:
    """A Figure with room for its caption, wrapped to its width, below."""
    width = max(width, 5.0)
    text = textwrap.wrap(caption, int(width * 72 / (0.48 * CAPTION_SIZE)))
    size = width, height + len(text) * 1.35 * CAPTION_SIZE / 72
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    figure.supxlabel("\n".join(text), x=0.01, ha="left", fontsize=CAPTION_SIZE)
    return figure
