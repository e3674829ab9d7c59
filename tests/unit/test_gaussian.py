"""The posterior: closed forms against torch.distributions and against sampling."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from facevae.models.gaussian import Gaussian


@pytest.fixture
def posterior():
    return Gaussian(*torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0)))


def test_kl_and_density_are_torchs_and_the_kl_is_zero_at_the_prior(posterior):
    q = Normal(posterior.mean, posterior.std)
    expected = kl_divergence(q, Normal(0, 1))
    assert torch.allclose(posterior.kl_per_latent(), expected, atol=1e-6)
    assert torch.allclose(posterior.kl(), expected.sum(1))
    assert torch.equal(Gaussian(torch.zeros(2, 5), torch.zeros(2, 5)).kl(), torch.zeros(2))
    z = torch.randn(5, 3)
    assert torch.allclose(posterior.log_density(z), q.log_prob(z[:, None]), atol=1e-5)


def test_kl_closed_form_agrees_with_monte_carlo(posterior):
    many = Gaussian(posterior.mean.repeat(100_000, 1), posterior.logvar.repeat(100_000, 1))
    z = many.sample(torch.Generator().manual_seed(1))
    log_ratio = Normal(many.mean, many.std).log_prob(z).sum(1) - Normal(0.0, 1.0).log_prob(z).sum(1)
    drawn = log_ratio.view(-1, 4)
    error = 5 * drawn.std(0) / len(drawn) ** 0.5  # five standard errors
    assert ((drawn.mean(0) - posterior.kl()).abs() < error).all()


def test_one_seed_gives_one_draw_which_carries_the_gradient(posterior):
    draws = [posterior.sample(torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(*draws) and not torch.equal(draws[0], posterior.sample())
    mean = torch.zeros(2, 3, requires_grad=True)
    Gaussian(mean, torch.zeros(2, 3)).sample().sum().backward()
    assert torch.equal(mean.grad, torch.ones(2, 3))


def test_parameters_are_means_and_then_bounded_log_variances_and_batches_join():
    part = Gaussian.from_parameters(torch.tensor([[1.0, 2.0, 1e6, -1e6]]))
    whole = Gaussian.cat([part, part])
    assert whole.mean.tolist() == [[1.0, 2.0]] * 2 and whole.logvar.tolist() == [[8.0, -14.0]] * 2
    assert whole.kl().isfinite().all()
