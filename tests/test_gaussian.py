import torch

from facevae import Gaussian


def example(n=4, d=3):
    generator = torch.Generator().manual_seed(0)
    return Gaussian(torch.randn(n, d, generator=generator), torch.randn(n, d, generator=generator))


def test_kl_closed_form_agrees_with_monte_carlo():
    posterior = example()
    generator = torch.Generator().manual_seed(1)
    repeated = Gaussian(posterior.mean.repeat(200_000, 1), posterior.logvar.repeat(200_000, 1))
    z = repeated.sample(generator)
    log_q = torch.distributions.Normal(repeated.mean, repeated.std).log_prob(z).sum(1)
    log_p = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    difference = (log_q - log_p).view(-1, 4)
    error = 5 * difference.std(0) / len(difference) ** 0.5  # five standard errors
    assert ((difference.mean(0) - posterior.kl()).abs() < error).all()


def test_kl_is_zero_at_the_prior_alone():
    assert torch.equal(Gaussian(torch.zeros(2, 5), torch.zeros(2, 5)).kl(), torch.zeros(2))
    assert (example().kl() > 0).all()


def test_samples_have_the_mean_and_spread_they_should():
    posterior = Gaussian(torch.full((100_000, 1), 2.0), torch.full((100_000, 1), -1.0))
    z = posterior.sample(torch.Generator().manual_seed(0))
    assert abs(z.mean().item() - 2.0) < 0.01
    assert abs(z.std().item() - posterior.std[0].item()) < 0.01


def test_one_seed_gives_one_draw():
    draws = [example().sample(torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(*draws)


def test_an_extreme_log_variance_stays_finite():
    posterior = Gaussian.from_parameters(torch.tensor([[0.0, 1e6], [0.0, -1e6]]))
    assert posterior.kl().isfinite().all()
