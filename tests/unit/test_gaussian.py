"""The posterior: closed forms against sampling."""

import torch

from facevae.models.gaussian import Gaussian


def example(n=4, d=3):
    generator = torch.Generator().manual_seed(0)
    return Gaussian(torch.randn(n, d, generator=generator), torch.randn(n, d, generator=generator))


def test_kl_closed_form_agrees_with_monte_carlo():
    posterior = example()
    generator = torch.Generator().manual_seed(1)
    repeated = Gaussian(posterior.mean.repeat(100_000, 1), posterior.logvar.repeat(100_000, 1))
    z = repeated.sample(generator)
    log_q = torch.distributions.Normal(repeated.mean, repeated.std).log_prob(z).sum(1)
    log_p = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    difference = (log_q - log_p).view(-1, 4)
    error = 5 * difference.std(0) / len(difference) ** 0.5  # five standard errors
    assert ((difference.mean(0) - posterior.kl()).abs() < error).all()


def test_kl_is_that_of_torch_and_zero_at_the_prior_alone():
    posterior = example()
    q = torch.distributions.Normal(posterior.mean, posterior.std)
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0, 1))
    assert torch.allclose(posterior.kl_per_latent(), expected, atol=1e-6)
    assert torch.allclose(posterior.kl(), expected.sum(1))
    assert torch.equal(Gaussian(torch.zeros(2, 5), torch.zeros(2, 5)).kl(), torch.zeros(2))


def test_samples_have_the_mean_and_spread_they_should():
    posterior = Gaussian(torch.full((100_000, 1), 2.0), torch.full((100_000, 1), -1.0))
    z = posterior.sample(torch.Generator().manual_seed(0))
    assert abs(z.mean().item() - 2.0) < 0.01
    assert abs(z.std().item() - posterior.std[0].item()) < 0.01


def test_one_seed_gives_one_draw_which_carries_the_gradient():
    draws = [example().sample(torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(*draws) and not torch.equal(draws[0], example().sample())
    mean = torch.zeros(2, 3, requires_grad=True)
    Gaussian(mean, torch.zeros(2, 3)).sample().sum().backward()
    assert torch.equal(mean.grad, torch.ones(2, 3))


def test_the_density_of_each_draw_under_each_posterior():
    posterior, z = example(), torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
    expected = torch.distributions.Normal(posterior.mean, posterior.std).log_prob(z[:, None])
    assert torch.allclose(posterior.log_density(z), expected, atol=1e-5)


def test_an_extreme_log_variance_stays_finite():
    posterior = Gaussian.from_parameters(torch.tensor([[0.0, 1e6], [0.0, -1e6]]))
    assert posterior.logvar.flatten().tolist() == [8.0, -14.0]
    assert posterior.kl().isfinite().all()


def test_parameters_are_means_and_then_log_variances_and_batches_join():
    parts = [Gaussian.from_parameters(torch.tensor([[1.0, 2.0, 3.0, 4.0]])) for _ in range(2)]
    whole = Gaussian.cat(parts)
    assert whole.mean.tolist() == [[1.0, 2.0]] * 2 and whole.logvar.tolist() == [[3.0, 4.0]] * 2
