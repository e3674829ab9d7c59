"""Active latents, maps, and what can be read from codes."""

import pytest
import torch

from facevae.latents.diagnostics import by_kl, map_2d, r_squared


def test_latents_come_in_the_order_of_their_kl_without_inactive_ones():
    kl = torch.tensor([[0.5, 0.001, 3.0, 0.02], [0.7, 0.0, 1.0, 0.04]])
    assert by_kl(kl) == [2, 0, 3]


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_map_keeps_clusters_apart_and_repeats(method):
    generator = torch.Generator().manual_seed(0)
    right = torch.arange(200) >= 100
    codes = torch.randn(200, 8, generator=generator)
    codes[:, 0] += torch.where(right, 6.0, -6.0)
    points = map_2d(codes, method, seed=1)
    assert points.shape == (200, 2)
    assert torch.equal(points, map_2d(codes, method, seed=1))
    centres = torch.stack([points[right].mean(dim=0), points[~right].mean(dim=0)])
    apart = (centres[0] - centres[1]).norm()
    assert apart > 2 * max(points[right].std(dim=0).max(), points[~right].std(dim=0).max())
    with pytest.raises(ValueError, match="'umap' is unknown"):
        map_2d(codes, "umap")


def test_r_squared_is_the_share_that_can_be_read():
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(2000, 6, generator=generator)
    noise = torch.randn(2000, generator=generator)
    half = (codes[:, 0] + noise).numpy()  # as much noise as signal
    held = r_squared(codes[:1500], half[:1500], codes[1500:], half[1500:])
    assert held == pytest.approx(0.5, abs=0.07)
    absent = noise.numpy()
    nothing = r_squared(codes[:1500], absent[:1500], codes[1500:], absent[1500:])
    assert nothing == pytest.approx(0.0, abs=0.02)
