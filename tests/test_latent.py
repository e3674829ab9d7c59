import pytest
import torch

from facevae import latent

A, B = torch.tensor([[3.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]])
T = torch.linspace(0, 1, 5)


@pytest.mark.parametrize("path", latent.PATHS.values())
def test_paths_begin_and_end_to_the_bit(path):
    a, b = torch.randn(1, 64), torch.randn(1, 64)
    points = path(a, b, T)
    assert points.shape == (5, 64)
    assert torch.equal(points[:1], a) and torch.equal(points[-1:], b)


def test_the_middle_of_a_line_is_the_mean():
    assert torch.allclose(latent.linear(A, B, T)[2], (A + B)[0] / 2)


def test_the_arc_keeps_its_length_where_the_chord_cuts_through():
    points = latent.spherical(A, B, T)
    assert torch.allclose(points.norm(dim=1), torch.linspace(3, 1, 5), atol=1e-5)
    assert torch.allclose(points[2] / 2.0, torch.tensor([0.5**0.5, 0.5**0.5, 0.0]), atol=1e-5)


def test_parallel_and_zero_vectors_fall_back_to_the_line():
    for b in (2 * A, torch.zeros(1, 3), -A):
        assert torch.allclose(latent.spherical(A, b, T), latent.linear(A, b, T))


def test_a_fitted_prior_draws_what_it_was_fitted_to(tmp_path):
    generator = torch.Generator().manual_seed(0)
    mixing = torch.tensor([[2.0, 0.0], [1.0, 0.5]])
    means = torch.randn(20_000, 2, generator=generator) @ mixing.T + torch.tensor([1.0, -1.0])
    prior = latent.GaussianPrior.fit(means)
    prior.save(tmp_path / "prior.safetensors")
    drawn = latent.GaussianPrior.load(tmp_path / "prior.safetensors").sample(20_000, generator, 1.0)
    assert torch.allclose(drawn.mean(0), means.mean(0), atol=0.05)
    assert torch.allclose(drawn.T.cov(), mixing @ mixing.T, atol=0.15)
    cold = prior.sample(1000, generator, temperature=0.0)
    assert torch.allclose(cold, prior.mean.expand(1000, 2))
