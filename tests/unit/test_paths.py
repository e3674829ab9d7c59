"""Paths between codes and traversals of one latent."""

import pytest
import torch

from facevae.latents.paths import PATHS, linear, spherical, traversal

A, B = torch.tensor([[3.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
T = torch.linspace(0, 1, 5)


@pytest.mark.parametrize("path", PATHS.values())
def test_paths_begin_and_end_to_the_bit(path):
    a, b = torch.randn(1, 64), torch.randn(1, 64)
    points = path(a, b, T)
    assert points.shape == (5, 64)
    assert torch.equal(points[:1], a) and torch.equal(points[-1:], b)


def test_the_arc_keeps_its_length_where_the_line_cuts_through():
    assert torch.allclose(linear(A, B, T)[2], (A + B)[0] / 2)
    points = spherical(A, B, T)
    assert torch.allclose(points.norm(dim=1), torch.linspace(3, 1, 5), atol=1e-5)
    assert torch.allclose(points[2] / 2.0, torch.tensor([0.5**0.5, 0.5**0.5, 0.0]), atol=1e-5)
    for b in (2 * A, torch.zeros(1, 3), -A):  # no arc
        assert torch.allclose(spherical(A, b, T), linear(A, b, T))


def test_a_traversal_moves_one_latent_by_its_own_deviations():
    codes = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 8.0]])
    path = traversal(codes, 0, steps=3, reach=2.0)
    assert torch.equal(path[:, 0], torch.tensor([-2.0, 2.0, 6.0]))  # mean 2, deviation 2
    assert torch.equal(path[:, 1], torch.full((3,), 4.0))
