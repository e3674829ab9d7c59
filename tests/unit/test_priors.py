"""The mixture prior: known mixtures are found again, and draws are as fitted."""

import pytest
import torch

from facevae.models.priors import MixturePrior


def two_clusters(n=2000, latents=3):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(n, latents, generator=generator)
    noise[:, 1] += noise[:, 0]
    return noise * 0.3 + torch.where(torch.rand(n, 1, generator=generator) < 0.3, -2.0, 2.0)


@pytest.fixture(scope="module")
def prior():
    return MixturePrior.fit(two_clusters(), components=2)


def test_a_known_mixture_is_found_again(prior):
    order = prior.means[:, 0].argsort()
    assert torch.allclose(prior.weights[order], torch.tensor([0.3, 0.7]), atol=0.03)
    assert torch.allclose(prior.means[order[0]], torch.full((3,), -2.0), atol=0.05)
    covariance = prior.factors[order[1]] @ prior.factors[order[1]].T
    expected = 0.09 * torch.tensor([[1.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    assert torch.allclose(covariance, expected, atol=0.02)


def test_the_likelihood_is_that_of_torchs_mixture(prior):
    parts = torch.distributions.MultivariateNormal(prior.means, scale_tril=prior.factors)
    which = torch.distributions.Categorical(prior.weights)
    mixture = torch.distributions.MixtureSameFamily(which, parts)
    codes = two_clusters(50)
    assert torch.allclose(prior.log_likelihood(codes), mixture.log_prob(codes), atol=1e-4)


def test_draws_have_the_moments_of_the_codes(prior):
    codes, draws = two_clusters(), prior.sample(20_000, torch.Generator().manual_seed(1), 1.0)
    mean, std = prior.moments()
    for found in (codes, draws):
        assert torch.allclose(mean, found.mean(0), atol=0.06)
        assert torch.allclose(std, found.std(0), rtol=0.03)


def test_a_seed_gives_the_same_draws_and_temperature_nought_the_means(prior):
    draws = [prior.sample(5, torch.Generator().manual_seed(2)) for _ in range(2)]
    assert torch.equal(*draws) and draws[0].shape == (5, 3)
    cold = prior.sample(9, torch.Generator().manual_seed(2), temperature=0.0)
    assert all((prior.means == one).all(1).any() for one in cold)


def test_few_codes_share_a_covariance_or_make_one_component():
    codes = torch.randn(60, 40, generator=torch.Generator().manual_seed(0))
    shared = MixturePrior.fit(codes)
    assert shared.factors.shape == (1, 40, 40) and len(shared.weights) == 3
    assert MixturePrior.fit(codes[:12]).means.shape == (1, 40)
    assert shared.sample(4, torch.Generator().manual_seed(0)).isfinite().all()
    mean, std = shared.moments()
    assert torch.allclose(mean, codes.mean(0), atol=1e-4)
    assert torch.allclose(std, codes.std(0, correction=0), rtol=1e-2)


def test_many_latents_keep_the_file_small():
    codes = torch.randn(4000, 200, generator=torch.Generator().manual_seed(0))
    tensors = MixturePrior.fit(codes, components=8).tensors()
    assert sum(tensor.numel() * 4 for tensor in tensors.values()) < 2e6  # bytes


def test_tensors_make_the_same_prior_and_foreign_ones_are_refused(prior):
    again = MixturePrior.from_tensors(prior.tensors())
    draws = [one.sample(3, torch.Generator().manual_seed(0)) for one in (prior, again)]
    assert torch.equal(*draws)
    with pytest.raises(ValueError, match="has weights, means and factors, not"):
        MixturePrior.from_tensors({"mean": torch.zeros(3)})
    with pytest.raises(ValueError, match="do not fit together"):
        MixturePrior.from_tensors(prior.tensors() | {"means": torch.zeros(2, 4)})
