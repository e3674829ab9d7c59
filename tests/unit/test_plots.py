"""plots: both layouts of pictures, and Figures that leave pyplot's global state alone."""

import sys

import numpy as np
import pytest
import torch

from facevae import plots

LEVELS = np.random.default_rng(0).integers(0, 256, (5, 12, 10, 3), np.uint8)


def test_bytes_and_floats_give_the_same_levels():
    floats = torch.from_numpy(LEVELS).permute(0, 3, 1, 2) / 255  # (N, C, H, W)
    assert np.array_equal(plots.to_levels(floats), LEVELS)
    assert np.array_equal(plots.to_levels(LEVELS), LEVELS)
    assert plots.to_levels(LEVELS[..., :1]).shape == LEVELS.shape  # grey becomes RGB
    with pytest.raises(ValueError, match="four axes"):
        plots.to_levels(LEVELS[0])


@pytest.mark.parametrize("titles", [(), list("abc"), list("abcde")])
def test_the_sheet_holds_every_face(titles):
    figure = plots.show_faces(LEVELS, titles, columns=3)
    sheet = figure.axes[0].images[0].get_array()
    head = round(0.24 * 12) if len(titles) == 5 else 0
    assert sheet.shape == (2 * (12 + 1 + head), 3 * (10 + 1), 3)
    assert np.array_equal(sheet[head : head + 12, :10], LEVELS[0])
    assert np.array_equal(sheet[-13:-1, 11:21], LEVELS[4])
    assert [text.get_text() for text in figure.axes[0].texts] == [*titles]


@pytest.mark.parametrize("shape", [(2, 1), (9, 2)])
@pytest.mark.parametrize("name", ["A", "a name of 24 characters."])
def test_rows_have_a_label_with_room_and_pictures_fill_the_height(shape, name):
    lines, each = shape
    parts = {f"{name}{i}": np.zeros((each, 64, 64, 3), np.uint8) for i in range(lines)}
    figure = plots.rows(parts)
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == [*parts]
    assert min(text.get_window_extent().x0 for text in axes.texts) >= 0
    assert axes.get_window_extent().y0 < 0.35 * figure.dpi  # no empty band below the pictures


def test_diagrams_are_figures_of_their_own():
    row = {"train_loss": 3.0, "val_loss": 4.0, "kl": 1.0, "grad_norm": 0.5}
    history = [{"epoch": epoch, **row} for epoch in (1.0, 2.0)]
    for figure in (
        plots.curves(history), plots.lines([1, 2], {"a": [1, 2]}, "x", "y"),
        plots.bars({"a": 1, "b": 2}, "x"),
        plots.histograms({"a": np.arange(9), "b": torch.arange(4.0)}, "x", "y", 3),
    ):  # fmt: skip
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


def test_a_table_writes_each_number_in_its_place_and_stays_legible():
    axes = plots.table([[0, 0.25, 1], [1, 0.5, 0]], ["first", "second"], list("abc")).axes[0]
    texts = {text.get_position(): text for text in axes.texts}
    assert texts[1, 0].get_text() == "0.25" and texts[1, 1].get_text() == "0.50"
    assert (texts[0, 0].get_color(), texts[2, 0].get_color()) == ("k", "w")  # dark on light …
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]
