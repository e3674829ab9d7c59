"""Residuals carried along a morph: landmarks meet, ends are exact, nothing tears."""

import time

import pytest
import torch
from torch.nn import functional as F

from facevae.imaging.alignment import FRAMINGS
from facevae.imaging.morphing import (
    BICUBIC_MAX_SIDE,
    GRID,
    STAYS,
    Carrier,
    displacement,
    warp,
)

A = torch.tensor(FRAMINGS["face"], dtype=torch.float32)
SHIFT = torch.tensor([(0.04, 0.02), (0.03, -0.03), (-0.02, 0.05), (0.05, 0.0), (0.0, -0.04)])
B = A + SHIFT
SIZE = 96


def dots(points: torch.Tensor, size: int = SIZE) -> torch.Tensor:
    """A soft dot of radius 2 % at each point, one channel each: (1, 5, size, size)."""
    line = (torch.arange(size) + 0.5) / size
    x, y = line[None, None, :], line[None, :, None]
    squares = (x - points[:, :1, None]).square() + (y - points[:, 1:, None]).square()
    return torch.exp(-squares / 0.02**2)[None]


def centres(pictures: torch.Tensor) -> torch.Tensor:
    """The centre of mass of each channel of (1, 5, S, S), as fractions: (5, 2)."""
    line = (torch.arange(pictures.shape[-1]) + 0.5) / pictures.shape[-1]
    mass = pictures[0].sum(dim=(1, 2))
    x, y = (pictures[0] * line).sum(dim=(1, 2)), (pictures[0] * line[:, None]).sum(dim=(1, 2))
    return torch.stack([x / mass, y / mass], dim=1)


def carried_alone(first: torch.Tensor, t: float) -> torch.Tensor:
    """`first` warped as the first of two, without the second's share."""
    carrier = Carrier(first, first, A, B)
    return carrier.warped(carrier.both, t)[:1]


@pytest.mark.parametrize("t", [0.25, 0.5, 1 - 1e-3])
def test_landmarks_come_to_stand_between_those_of_both_faces(t):
    # half a pixel: a dot is bent as well as moved, and so its centre of mass is a little off
    assert (centres(carried_alone(dots(A), t)) - torch.lerp(A, B, t)).abs().max() < 0.005


def test_half_way_the_features_of_both_lie_on_each_other():
    carrier = Carrier(dots(A), dots(B), A, B)
    one, other = carrier.warped(carrier.both, 0.5)
    apart = (dots(A) - dots(B)).abs().sum()
    assert (one - other).abs().sum() < 0.25 * apart  # what is left is their bent shape


def test_the_border_stays():
    bend = displacement(B, -SHIFT, SIZE)
    edge = torch.cat([bend[..., 0], bend[..., -1], bend[..., 0, :], bend[..., -1, :]], dim=-1)
    assert edge.abs().max() < 0.1 * SHIFT.abs().max()
    assert bend.abs().max() < 1.3 * SHIFT.norm(dim=1).max()  # no overshoot in between


def test_no_displacement_gives_the_picture_back():
    picture = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    still = torch.zeros(2, 2, GRID, GRID)
    assert torch.allclose(warp(picture, still), picture, atol=1e-4)  # float32 places


@pytest.mark.parametrize("size", [128, 320])
def test_fine_detail_outlives_the_move(size):
    noise = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) - 0.5
    noise = F.avg_pool2d(noise, 3, 1, 1)  # as fine as a photo is
    # bicubic sampling keeps 0.97 of this variance, bilinear 0.79: the price of a quick large strip
    kept = carried_alone(noise, 0.5).var() / noise.var()
    assert kept > (0.93 if size <= BICUBIC_MAX_SIDE else 0.7)


@pytest.mark.parametrize("points", [(A, B), (None, B), (None, None)])
def test_the_ends_are_the_residuals_to_the_bit(points):
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 1, 3, 50, 50, generator=generator) - 0.5
    carrier = Carrier(a, b, *points)
    assert torch.equal(carrier.at(0.0), a) and torch.equal(carrier.at(1.0), b)


def test_there_and_back_are_one_way():
    a, b = dots(A) - 0.3, 0.4 * dots(B)
    there, back = Carrier(a, b, A, B).at(0.3), Carrier(b, a, B, A).at(0.7)
    assert torch.allclose(there, back, atol=1e-4)  # float32, and t + (1 − t) ≠ 1 to the bit


def test_like_residuals_fade_evenly_and_unlike_ones_keep_the_stronger_past_the_middle():
    faint = torch.full((1, 3, 64, 64), 0.01)
    even = Carrier(faint, -faint)  # 0.02 apart: as far as noise
    assert torch.allclose(even.share(0.3), torch.tensor(0.3))
    strong = Carrier(torch.full((1, 3, 64, 64), 0.5), faint)
    assert torch.allclose(strong.share(0.5), torch.tensor(1 / (1 + STAYS)))
    shares = [strong.share(t).mean().item() for t in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1


def test_landmarks_that_coincide_or_lie_far_off_do_not_tear_the_picture():
    one_place = torch.full((5, 2), 0.5)
    for a, b in ((one_place, B), (A, one_place), (A - 3.0, B), (A, A)):
        moved = Carrier(dots(A), dots(B), a, b).at(0.4)
        assert moved.isfinite().all() and moved.abs().max() < 1.2  # a bicubic overshoots


def test_a_frame_at_the_apps_size_is_quick():
    a, b = (F.interpolate(dots(p)[:, :3], (320, 320)) for p in (A, B))
    carrier = Carrier(a, b, A, B)
    spent = []
    for k in range(5):
        before = time.process_time()
        carrier.at(0.1 + 0.2 * k)
        spent.append(time.process_time() - before)
    assert min(spent) < 0.03  # 5 ms on one core; 25 of them are a strip
