"""The mixture prior: known mixtures are found again, and draws are as fitted."""

import pytest
import torch

from facevae.models.priors import MixturePrior


@pytest.fixture(scope="module")
def codes():
    """Two clusters, 3 of 10 near −2, the rest wider about 2; latent 1 follows latent 0."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2000, 3, generator=generator)
    noise[:, 1] += noise[:, 0]
    low = torch.rand(2000, 1, generator=generator) < 0.3
    return torch.where(low, 0.15 * noise - 2, 0.3 * noise + 2)


@pytest.fixture(scope="module")
def prior(codes):
    return MixturePrior.fit(codes, components=2)


def test_a_known_mixture_is_found_again(prior):
    low, high = prior.means[:, 0].argsort().tolist()
    assert torch.allclose(prior.weights[[low, high]], torch.tensor([0.3, 0.7]), atol=0.03)
    assert torch.allclose(prior.means[low], torch.full((3,), -2.0), atol=0.05)
    expected = 0.09 * torch.tensor([[1.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    for which, share in ((high, 1.0), (low, 0.25)):
        found = prior.factors[which] @ prior.factors[which].T
        assert torch.allclose(found, share * expected, atol=0.02)


def test_draws_repeat_by_seed_and_have_the_moments_of_the_codes(prior, codes):
    draws = [prior.sample(20_000, torch.Generator().manual_seed(1), 1.0) for _ in range(2)]
    assert torch.equal(*draws)
    mean, std = prior.moments()
    for found in (codes, draws[0]):
        assert torch.allclose(mean, found.mean(0), atol=0.06)
        assert torch.allclose(std, found.std(0), rtol=0.03)
    cold = prior.sample(9, torch.Generator().manual_seed(2), temperature=0.0)
    assert all((prior.means == one).all(1).any() for one in cold)


def test_few_codes_share_a_covariance_and_many_latents_keep_the_file_small():
    codes = torch.randn(4000, 200, generator=torch.Generator().manual_seed(0))
    shared = MixturePrior.fit(codes[:60, :40])
    assert shared.factors.shape == (1, 40, 40) and len(shared.weights) == 3
    assert MixturePrior.fit(codes[:12]).means.shape == (1, 200)
    assert shared.sample(4, torch.Generator()).isfinite().all()
    assert torch.allclose(shared.moments()[1], codes[:60, :40].std(0, correction=0), rtol=1e-2)
    assert sum(t.numel() * 4 for t in vars(MixturePrior.fit(codes)).values()) < 2e6  # bytes
