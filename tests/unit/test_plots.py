"""plots: both layouts of pictures, and Figures that leave pyplot's global state alone."""

import io
import sys

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from facevae import plots

LEVELS = np.random.default_rng(0).integers(0, 256, (5, 12, 10, 3), np.uint8)


def test_bytes_and_floats_give_the_same_levels():
    floats = torch.from_numpy(LEVELS).permute(0, 3, 1, 2) / 255  # (N, C, H, W)
    assert np.array_equal(plots.to_levels(floats), LEVELS)
    assert np.array_equal(plots.to_levels(LEVELS), LEVELS)
    assert plots.to_levels(LEVELS[..., :1]).shape == LEVELS.shape  # grey becomes RGB


def test_a_single_picture_without_its_axis_is_refused():
    with pytest.raises(ValueError, match="four axes"):
        plots.to_levels(LEVELS[0])


@pytest.mark.parametrize("titles", [(), list("abc"), list("abcde")])
def test_the_sheet_holds_every_face(titles):
    figure = plots.show_faces(LEVELS, titles, columns=3, caption="See: noise.", labels=["1", "2"])
    sheet = figure.axes[0].images[0].get_array()
    head = round(0.24 * 12) if len(titles) == 5 else 0
    assert sheet.shape == (2 * (12 + 1 + head), 3 * (10 + 1), 3)
    assert np.array_equal(sheet[head : head + 12, :10], LEVELS[0])
    assert np.array_equal(sheet[-13:-1, 11:21], LEVELS[4])


def test_rows_have_a_line_for_each_name():
    figure = plots.rows({"before": LEVELS, "after": LEVELS})
    assert [text.get_text() for text in figure.axes[0].texts] == ["before", "after"]


@pytest.mark.parametrize("shape", [(2, 1), (9, 2)])
@pytest.mark.parametrize("name", ["A", "a name of 24 characters."])
def test_pictures_fill_the_room_above_their_caption(shape, name):
    """Whatever the labels take at the side: no empty band between the pictures and the caption."""
    lines, each = shape
    parts = {f"{name}{i}": np.zeros((each, 64, 64, 3), np.uint8) for i in range(lines)}
    figure = plots.rows(parts, caption="See: nothing.")
    figure.draw_without_rendering()
    caption = figure.texts[-1].get_window_extent()
    gap = figure.axes[0].get_window_extent().y0 - caption.y1
    assert gap < 0.35 * figure.dpi  # inches: the paddings of the layout, and rounding


def test_diagrams_are_figures_with_their_captions():
    row = {"train_loss": 3.0, "val_loss": 4.0, "kl": 1.0, "grad_norm": 0.5}
    history = [{"epoch": epoch, **row} for epoch in (1.0, 2.0)]
    figures = [
        plots.curves(history, caption="See: curves."),
        plots.lines([1, 2], {"a": [1, 2]}, "x", "y", caption="See: a line."),
        plots.bars({"a": 1, "b": 2}, "x", caption="See: bars."),
        plots.histograms({"a": np.arange(9)}, "x", "y", 3, caption="See: counts."),
        plots.scatter(np.ones((3, 2)), np.arange(3.0), {}, "axis {}", caption="See: points."),
    ]
    for figure in figures:
        assert isinstance(figure, Figure)
        assert figure.get_supxlabel().startswith("See: ")
        figure.draw_without_rendering()
    if "matplotlib.pyplot" in sys.modules:
        assert not sys.modules["matplotlib.pyplot"].get_fignums()


def test_a_scatter_has_a_legend_of_names_or_a_scale():
    points, values = np.arange(12.0).reshape(6, 2), np.array([0, 0, 1, 1, 1, 2.0])
    named = plots.scatter(points, values, {0.0: "a", 1.0: "b"}, "component {}").axes
    assert [text.get_text() for text in named[0].get_legend().get_texts()] == ["a", "b"]
    assert [len(dots.get_offsets()) for dots in named[0].collections] == [2, 3]  # 2 has no name
    scale = plots.scatter(points, values, {}, "component {}").axes
    assert len(scale) == 2 and scale[0].get_legend() is None
    assert scale[0].get_ylabel() == "component 2"


def test_ranked_bars_stand_in_the_order_given():
    bars = plots.ranked([3, 1, 2], "latent", "nats").axes[0].patches
    assert [bar.get_height() for bar in bars] == [3, 1, 2]


def test_a_png_is_transparent_and_its_ink_follows_the_page():
    def draw():
        return plots.lines([1], {"a": [2]}, "epoch", "y", size=plots.SMALL)

    inks = []
    for dark in (False, True):
        levels = np.asarray(Image.open(io.BytesIO(plots.png(draw, dark))).convert("RGBA"))
        width, height = (round(2 * plots.DPI * inches) for inches in plots.SMALL)
        assert levels.shape == (height, width, 4) and levels[0, 0, 3] == 0
        inks.append(levels[levels[..., 3] == 255][:, :3].mean())
    assert inks[0] < 110 < inks[1]  # dark ink on a light page, light ink on a dark one


def test_a_table_writes_each_number_in_its_place_and_stays_legible():
    numbers = [[0, 0.25, 1], [1, 0.5, 0]]
    axes = plots.table(numbers, ["first", "second"], list("abc"), "See.").axes[0]
    texts = {text.get_position(): text for text in axes.texts}
    assert texts[1, 0].get_text() == "0.25" and texts[1, 1].get_text() == "0.50"
    assert (texts[0, 0].get_color(), texts[2, 0].get_color()) == ("k", "w")  # dark on light …
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]
