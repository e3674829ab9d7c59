"""plots: both layouts of pictures, and Figures that leave pyplot's global state alone."""

import sys

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

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


def test_rows_have_a_line_a_name():
    figure = plots.rows({"before": LEVELS, "after": LEVELS})
    assert [text.get_text() for text in figure.axes[0].texts] == ["before", "after"]


def test_diagrams_are_figures_with_their_captions():
    row = {"train_loss": 3.0, "val_loss": 4.0, "kl": 1.0, "grad_norm": 0.5}
    history = [{"epoch": epoch, **row} for epoch in (1.0, 2.0)]
    figures = [
        plots.curves(history, caption="See: curves."),
        plots.lines([1, 2], {"a": [1, 2]}, "x", "y", caption="See: a line."),
        plots.bars({"a": 1, "b": 2}, "x", caption="See: bars."),
        plots.histograms({"a": np.arange(9)}, "x", "y", 3, caption="See: counts."),
    ]
    for figure in figures:
        assert isinstance(figure, Figure)
        assert figure.get_supxlabel().startswith("See: ")
        figure.draw_without_rendering()
    if "matplotlib.pyplot" in sys.modules:
        assert not sys.modules["matplotlib.pyplot"].get_fignums()
