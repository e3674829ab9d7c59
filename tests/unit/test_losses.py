"""The posterior, likelihoods and objectives against closed forms, torch and sampling."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from facevae.models import losses
from facevae.models.gaussian import Gaussian

POSTERIOR = Gaussian(*torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0)))


def test_kl_and_density_are_torchs_and_the_kl_is_zero_at_the_prior():
    q = Normal(POSTERIOR.mean, POSTERIOR.std)
    expected = kl_divergence(q, Normal(0, 1))
    assert torch.allclose(POSTERIOR.kl_per_latent(), expected, atol=1e-6)
    assert torch.allclose(POSTERIOR.kl(), expected.sum(1))
    assert torch.equal(Gaussian(torch.zeros(2, 5), torch.zeros(2, 5)).kl(), torch.zeros(2))
    z = torch.randn(5, 3)
    assert torch.allclose(POSTERIOR.log_density(z), q.log_prob(z[:, None]), atol=1e-5)


def test_parameters_are_bounded_and_one_seed_gives_one_draw_which_carries_the_gradient():
    found = Gaussian.from_parameters(torch.tensor([[1.0, 2.0, 1e6, -1e6]]))
    assert found.mean.tolist() == [[1.0, 2.0]] and found.logvar.tolist() == [[8.0, -14.0]]
    assert found.kl().isfinite().all()
    draws = [POSTERIOR.sample(torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(*draws) and not torch.equal(draws[0], POSTERIOR.sample())
    mean = torch.zeros(2, 3, requires_grad=True)
    Gaussian(mean, torch.zeros(2, 3)).sample().sum().backward()
    assert torch.equal(mean.grad, torch.ones(2, 3))


def test_likelihoods_are_those_of_torch_and_no_other_sigma_is_likelier_than_the_optimal_one():
    mean, images = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5).round()
    expected = Normal(mean, 0.3).log_prob(images).flatten(1).sum(1)
    assert torch.allclose(losses.gaussian_log_likelihood(mean, images, 0.3), expected, rtol=1e-5)
    expected = Bernoulli(logits=mean).log_prob(images).flatten(1).sum(1)
    assert torch.allclose(losses.bernoulli_log_likelihood(mean, images), expected, rtol=1e-5)
    mean, images = torch.rand(4, 1, 8, 8), torch.rand(4, 1, 8, 8)
    best = losses.optimal_sigma(mean, images)
    at = [losses.gaussian_log_likelihood(mean, images, best * f).sum() for f in (0.9, 1.0, 1.1)]
    assert at[1] > at[0] and at[1] > at[2]
    sigma = losses.optimal_sigma(images, images)  # a perfect picture stays finite
    assert losses.gaussian_log_likelihood(images, images, sigma).isfinite().all()


def aggregate(correlation, faces=2048):
    """Posteriors of faces whose codes together are N(0, [[1, r], [r, 1]]), and a draw from each."""
    generator = torch.Generator().manual_seed(0)
    noise = 0.1  # a posterior's variance; the means carry the rest of it, and all correlation
    cov = torch.full((2, 2), correlation).fill_diagonal_(1.0)
    factor = torch.linalg.cholesky(cov - noise * torch.eye(2))
    means = torch.randn(faces, 2, generator=generator) @ factor.T
    posterior = Gaussian(means, torch.full_like(means, math.log(noise)))
    return posterior, posterior.sample(generator)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_total_correlation_of_a_known_gaussian(correlation):
    """TC = −½ log(1 − r²), and the dimension-wise KL of N(0, 1) is 0.

    2,048 draws spread by 0.014; 8 batches of 256 by 0.04 each, and the estimate is 0.02 low.
    """
    posterior, z = aggregate(correlation)
    information, tc, dimensions = losses.kl_parts(z, posterior, len(z))
    expected = -0.5 * math.log(1 - correlation**2)
    assert abs(tc.mean().item() - expected) < 0.03 and abs(dimensions.mean().item()) < 0.03
    assert information.mean() > 0
    batches = zip(posterior.mean.split(256), posterior.logvar.split(256), z.split(256), strict=True)
    found = [losses.kl_parts(z, Gaussian(m, v), 2048)[1].mean() for m, v, z in batches]
    assert abs(torch.stack(found).mean().item() - expected) < 0.05


def test_the_parts_of_the_kl_add_up_whatever_the_batch():
    """Their sum is log q(z | x) − log p(z), exactly: at β = 1 the objective is the ELBO."""
    posterior, z = aggregate(0.5, faces=64)
    q = Normal(posterior.mean, posterior.std)
    exact = (q.log_prob(z) - Normal(0, 1).log_prob(z)).sum(1)
    for n in (64, 1000, 100_000):
        assert torch.allclose(sum(losses.kl_parts(z, posterior, n)), exact, atol=1e-3)
    same = Gaussian(torch.zeros(16, 3), torch.zeros(16, 3))  # then q(z) is each of them
    information, tc, _ = losses.kl_parts(torch.randn(16, 3), same, 5000)
    assert information.abs().max() < 1e-4 and tc.abs().max() < 1e-4
    with pytest.raises(ValueError, match="batch of 64 out of 4"):
        losses.kl_parts(z, posterior, 4)


def test_the_objective_is_the_one_place_of_the_weight():
    posterior, _ = aggregate(0.5, faces=32)
    ll, kl = torch.full((32,), -10.0), posterior.kl()
    assert torch.equal(losses.Objective()(ll, posterior), kl + 10)
    assert torch.allclose(losses.Objective(beta=4.0)(ll, posterior, 0.5), 2 * kl + 10)
    held = losses.Objective(beta=100.0, capacity=kl.mean().item())
    assert torch.allclose(held(ll, posterior), torch.tensor(10.0), atol=1e-3)
    assert held(ll, posterior, progress=0.0).mean() > 100


def test_tcvae_at_beta_one_is_the_elbo_on_average_and_beta_weighs_the_correlation():
    posterior, _ = aggregate(0.8)
    found = []
    for objective in (losses.Objective(beta, tcvae=True, faces=2048) for beta in (1.0, 4.0)):
        seeded = torch.Generator().manual_seed(1)
        found.append(objective(torch.zeros(2048), posterior, generator=seeded).mean().item())
    assert abs(found[0] - posterior.kl().mean().item()) < 0.1  # one draw of z a face
    assert abs((found[1] - found[0]) - 3 * -0.5 * math.log(1 - 0.8**2)) < 0.1
