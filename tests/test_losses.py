import math

import torch

from facevae import losses


def test_bernoulli_is_the_log_probability_of_black_and_white():
    logits = torch.tensor([[[[0.0, 2.0], [-1.0, 3.0]]]])
    images = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    expected = torch.distributions.Bernoulli(logits=logits).log_prob(images).sum()
    assert torch.allclose(losses.bernoulli_log_likelihood(logits, images)[0], expected)


def test_gaussian_is_the_log_density_summed_over_numbers():
    mean, images = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    expected = torch.distributions.Normal(mean, 0.3).log_prob(images).flatten(1).sum(1)
    got = losses.gaussian_log_likelihood(mean, images, 0.3)
    assert torch.allclose(got, expected, rtol=1e-5)


def test_no_other_sigma_is_likelier_than_the_optimal_one():
    mean, images = torch.rand(4, 1, 8, 8), torch.rand(4, 1, 8, 8)
    best = losses.optimal_sigma(mean, images)
    at = [losses.gaussian_log_likelihood(mean, images, best * f).sum() for f in (0.9, 1.0, 1.1)]
    assert at[1] > at[0] and at[1] > at[2]


def test_a_perfect_reconstruction_stays_finite():
    images = torch.rand(2, 1, 4, 4)
    sigma = losses.optimal_sigma(images, images)
    assert losses.gaussian_log_likelihood(images, images, sigma).isfinite().all()


def test_beta_weighs_the_kl_alone():
    log_likelihood, kl = torch.tensor([-10.0]), torch.tensor([3.0])
    assert losses.negative_elbo(log_likelihood, kl).item() == 13.0
    assert losses.negative_elbo(log_likelihood, kl, beta=4.0).item() == 22.0


def test_mean_mse_with_a_weight_hides_a_variance():
    """weight · KL + mean MSE has the gradient of the ELBO with σ² = weight · D / 2."""
    size, weight, kl = 48, 0.01, torch.tensor([2.0])
    images = torch.rand(1, 3, 4, 4)
    a = torch.rand(1, 3, 4, 4, requires_grad=True)
    ((a - images).square().mean() + weight * kl).sum().backward()
    hidden = a.grad.clone()
    a.grad = None
    sigma = math.sqrt(weight * size / 2)
    elbo = losses.negative_elbo(losses.gaussian_log_likelihood(a, images, sigma), kl)
    (weight * elbo).sum().backward()
    assert torch.allclose(hidden, a.grad, rtol=1e-4)
