"""Mask and light, on drawn faces, whose light and skin are known."""

import numpy as np
import pytest

from facevae.data.normalization import LUMA, NEUTRAL, even_light, head_mask, normalize
from facevae.data.synthetic import draw
from facevae.imaging.alignment import FRAMINGS

X = (np.arange(64) + 0.5) / 64 - 0.5


def face(**factors):
    return draw({"light": 0, "hair": 0} | factors, 64)[0].astype(np.float32)


def median_luma(levels):
    return np.median((levels @ LUMA)[head_mask(64) == 1])


def test_the_mask_keeps_the_landmarks_and_every_bit_of_the_face_and_plain_crops_stay_plain():
    mask = head_mask(100)
    assert np.allclose(mask, mask[:, ::-1], atol=1e-6)
    assert all(mask[int(100 * y), int(100 * x)] == 1 for x, y in FRAMINGS["face"])
    assert 0.6 < (mask == 1).mean() < 0.7  # about what heads cover in UTKFace
    crop = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    masked = normalize(crop, mask=True)
    assert np.array_equal(masked[mask == 1], crop[mask == 1])
    assert (masked[mask == 0] == NEUTRAL).all() and mask[-1, 0] == mask[-1, -1] == 0
    assert np.array_equal(normalize(crop), crop)
    for level in (0, 1, 128, 255):
        both = normalize(np.full((64, 64, 3), level, np.uint8), mask=True, expose=True)
        assert both.dtype == np.uint8 and np.ptp(both[head_mask(64) == 1]) == 0


@pytest.mark.parametrize("slope", [-0.5, -0.2, 0.3, 0.6])
def test_a_slope_of_light_is_taken_out(slope):
    def sides(levels):
        luma = levels @ LUMA
        return abs(luma[20:50, 12:26].mean() - luma[20:50, 38:52].mean())

    lit = face() * np.exp(slope * X)[None, :, None]
    assert sides(even_light(lit)) < 0.3 * sides(lit)
    steep = face() * np.exp(3 * X)[None, :, None]  # is corrected no further than the bound
    assert sides(even_light(steep)) > 0.5 * sides(steep)


def test_exposures_come_closer_and_skins_stay_apart():
    light, dark = face(skin=0.1), face(skin=0.9)
    ratio = median_luma(even_light(light)) / median_luma(even_light(0.75 * light))
    assert ratio == pytest.approx((1 / 0.75) ** 0.5, rel=0.05)  # half of the way
    apart = median_luma(light) - median_luma(dark)
    evened = median_luma(even_light(light)) - median_luma(even_light(dark))
    assert apart > 80 and evened > 0.7 * apart  # drawn faces have no gloss to tell it by
    flat = 128 + 0.4 * (face() - 128)
    assert 1.2 < np.ptp(even_light(flat) @ LUMA) / np.ptp(flat @ LUMA) < 1.6  # more contrast
