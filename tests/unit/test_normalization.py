"""Mask and light, on drawn faces, whose light and skin are known."""

import numpy as np
import pytest

from facevae.data.normalization import (
    MAX_TILT,
    NEUTRAL,
    even_light,
    head_mask,
    light_slope,
    normalize,
)
from facevae.data.raster import LUMA
from facevae.data.synthetic import draw
from facevae.imaging.alignment import FRAMINGS

X = (np.arange(64) + 0.5) / 64 - 0.5


def face(**factors):
    return draw({"light": 0, "hair": 0} | factors, 64)[0]


def median_luma(levels):
    return np.median((levels @ LUMA)[head_mask(64) == 1])


def test_the_mask_keeps_the_landmarks_and_drops_the_corners():
    mask = head_mask(100)
    assert np.allclose(mask, mask[:, ::-1], atol=1e-6)  # floats beside the middle line
    assert all(mask[int(100 * y), int(100 * x)] == 1 for x, y in FRAMINGS["face"])
    assert mask[-1, 0] == mask[-1, -1] == mask[99, 5] == 0 and mask[0, 0] < 0.01
    assert 0.6 < (mask == 1).mean() < 0.7  # about what heads cover in UTKFace
    smaller = head_mask(200).reshape(100, 2, 100, 2).mean((1, 3))
    assert np.abs(smaller - mask).max() < 0.01  # the same shape at any size


def test_masking_leaves_every_bit_of_the_face_and_nothing_of_the_corners():
    crop = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    masked, mask = normalize(crop, mask=True), head_mask(64)
    assert np.array_equal(masked[mask == 1], crop[mask == 1])
    assert (masked[mask == 0] == NEUTRAL).all()
    between = (mask > 0.1) & (mask < 0.9)
    assert (np.abs(masked[between] - NEUTRAL) <= np.abs(crop[between] - NEUTRAL)).all()


def test_without_options_the_crop_is_untouched():
    crop = face()
    assert normalize(crop) is crop


@pytest.mark.parametrize("slope", [-0.5, -0.2, 0.3, 0.6])
def test_a_slope_of_light_is_found_and_taken_out(slope):
    levels = face().astype(np.float32)
    lit = levels * np.exp(slope * X)[None, :, None]
    # log(luma + 8) sees about luma / (luma + 8) of a slope: at levels over 80, 0.9 of it
    found = light_slope(lit @ LUMA) - light_slope(levels @ LUMA)
    assert found == pytest.approx(slope, rel=0.12)

    def sides(luma):
        return abs(luma[20:50, 12:26].mean() - luma[20:50, 38:52].mean())

    assert sides(even_light(lit) @ LUMA) < 0.3 * sides(lit @ LUMA)


def test_a_steep_slope_is_corrected_no_further_than_the_bound():
    lit = face() * np.exp(3 * X)[None, :, None]
    assert light_slope(lit @ LUMA) == pytest.approx(2 * np.log(MAX_TILT))


def test_a_fringe_on_one_side_is_not_taken_for_light():
    levels = face().astype(np.float32)
    fringe = levels.copy()
    fringe[:26, :26] = 20
    assert abs(light_slope(fringe @ LUMA) - light_slope(levels @ LUMA)) < 0.1


def test_exposures_come_closer_and_skins_stay_apart():
    light, dark = face(skin=0.1), face(skin=0.9)
    under, over = (even_light(np.clip(light * gain, 0, 255)) for gain in (0.75, 1.0))
    ratio = median_luma(over) / median_luma(under)
    assert ratio == pytest.approx((1 / 0.75) ** 0.5, rel=0.05)  # half of the way
    apart = median_luma(light) - median_luma(dark)
    evened = median_luma(even_light(light)) - median_luma(even_light(dark))
    assert apart > 80 and evened > 0.75 * apart  # drawn faces have no gloss to tell it by


def test_contrast_changes_about_the_median_and_colour_differences_stay():
    flat = 128 + 0.4 * (face().astype(np.float32) - 128)
    ratio = np.ptp(even_light(flat) @ LUMA) / np.ptp(flat @ LUMA)
    assert 1.2 < ratio < 1.35 * 1.15 * 1.01  # both bounded gains at most
    pure = np.tile(np.float32([120, 100, 90]), (64, 64, 1))
    out = even_light(pure)
    assert np.allclose(out / pure, out[0, 0, 0] / 120)  # a plain colour keeps its hue


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_plain_crops_and_noise_are_harmless(level):
    crop = np.full((64, 64, 3), level, np.uint8)
    both = normalize(crop, mask=True, expose=True)
    assert both.dtype == np.uint8 and np.ptp(both[head_mask(64) == 1]) == 0
    noise = np.clip(crop + np.random.default_rng(0).normal(0, 2, crop.shape), 0, 255)
    assert even_light(noise).std() < 1.15 * 1.35 * noise.std() + 0.1 * level  # 0.1: the tilt
