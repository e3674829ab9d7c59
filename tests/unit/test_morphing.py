"""Residuals carried along a morph: landmarks meet, ends are exact, nothing tears."""

import pytest
import torch
from scipy.ndimage import center_of_mass
from torch.nn import functional as F

from facevae.imaging.alignment import FRAMINGS
from facevae.imaging.morphing import BICUBIC_MAX_SIDE, STAYS, mix_residuals, warp

A = torch.tensor(FRAMINGS["face"], dtype=torch.float32)
SHIFT = torch.tensor([(0.04, 0.02), (0.03, -0.03), (-0.02, 0.05), (0.05, 0.0), (0.0, -0.04)])
B = A + SHIFT


def dots(points, size=96):
    """A soft dot of radius 2 % at each point, one channel each: (1, 5, size, size)."""
    line = (torch.arange(size) + 0.5) / size
    x, y = line[None, None, :], line[None, :, None]
    squares = (x - points[:, :1, None]).square() + (y - points[:, 1:, None]).square()
    return torch.exp(-squares / 0.02**2)[None]


def centres(pictures):
    """The centre of mass of each channel of (1, 5, S, S), as fractions: (5, 2)."""
    found = torch.tensor([center_of_mass(picture) for picture in pictures[0].numpy()])
    return (found.flip(1) + 0.5) / pictures.shape[-1]  # (row, column) → (x, y)


def between(a, b, t, points_a=A, points_b=B):
    points = None if points_a is None else torch.stack([points_a, points_b])
    return mix_residuals(torch.cat([a, b]), torch.tensor([1 - t, t]), points)


@pytest.mark.parametrize("t", [0.25, 0.5, 0.9])
def test_landmarks_come_to_stand_between_those_of_both_faces(t):
    middle = torch.lerp(A, B, t)
    for points in (A, B):  # half a pixel: a dot is bent as well as moved
        assert (centres(warp(dots(points), middle, points - middle)) - middle).abs().max() < 0.005
    assert (centres(between(dots(A), dots(B), t)) - middle).abs().max() < 0.005
    three = torch.cat([dots(A), dots(B), dots(A - SHIFT)])
    mixed = mix_residuals(three, torch.ones(3) / 3, torch.stack([A, B, A - SHIFT]))
    assert (centres(mixed) - A).abs().max() < 0.005


def test_the_border_stays_and_no_displacement_gives_the_picture_back():
    ramp = torch.stack(torch.meshgrid(*[torch.linspace(0, 1, 64)] * 2, indexing="xy"))[None]
    moved = warp(ramp, B, -SHIFT) - ramp
    edge = torch.cat([moved[..., 0], moved[..., -1], moved[..., 0, :], moved[..., -1, :]], dim=-1)
    assert edge.abs().max() < 0.1 * SHIFT.abs().max()
    assert moved.abs().max() < 1.3 * SHIFT.norm(dim=1).max()  # no overshoot in between
    assert torch.allclose(warp(ramp, B, 0 * SHIFT), ramp, atol=1e-4)  # float32 places


@pytest.mark.parametrize("size", [128, 320])
def test_fine_detail_outlives_the_move(size):
    noise = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) - 0.5
    noise = F.avg_pool2d(noise, 3, 1, 1)  # as fine as a photo is
    # bicubic sampling keeps 0.97 of this variance, bilinear 0.79: the price of a quick large strip
    kept = warp(noise, A, SHIFT / 2).var() / noise.var()
    assert kept > (0.93 if size <= BICUBIC_MAX_SIDE else 0.7)


def test_a_face_alone_keeps_its_residual_to_the_bit_and_the_ends_are_reached_smoothly():
    a, b = torch.rand(2, 1, 3, 50, 50, generator=torch.Generator().manual_seed(0)) - 0.5
    assert torch.equal(mix_residuals(a, torch.ones(1), A[None]), a)
    assert (between(a, b, 1e-5) - a).abs().max() < 0.01
    assert (between(a, b, 1 - 1e-5) - b).abs().max() < 0.01


def test_like_residuals_fade_evenly_and_unlike_ones_keep_the_stronger_past_the_middle():
    faint, strong = torch.full((1, 3, 64, 64), 0.01), torch.full((1, 3, 64, 64), 0.5)
    even = between(faint, -faint, 0.3, None, None)  # 0.02 apart: as far as noise
    assert torch.allclose(even, 0.4 * faint, atol=1e-6)
    means = [between(strong, faint, t, None, None).mean().item() for t in (0.2, 0.5, 0.8)]
    shares = [(mean - 0.01) / 0.49 for mean in means]
    assert shares == sorted(shares, reverse=True)
    assert shares[1] == pytest.approx(STAYS / (1 + STAYS), abs=1e-4)


def test_landmarks_that_coincide_or_lie_far_off_do_not_tear_the_picture():
    one_place = torch.full((5, 2), 0.5)
    for a, b in ((one_place, B), (A, one_place), (A - 3.0, B), (A, A)):
        moved = between(dots(A), dots(B), 0.4, a, b)
        assert moved.isfinite().all() and moved.abs().max() < 1.2  # a bicubic overshoots
