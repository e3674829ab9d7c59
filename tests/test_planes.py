import pytest
import torch

import facevae
from facevae.latent import GaussianPrior, MixturePrior
from facevae.page.planes import REACH, Planes, moments


@pytest.fixture(scope="module")
def studio():
    return facevae.Studio.load()


@pytest.fixture(scope="module")
def planes(studio):
    return Planes(studio)


def test_the_moments_of_a_mixture_are_those_of_its_draws():
    factors = torch.stack([torch.diag(torch.tensor([1.0, 2.0, 0.5])), 0.5 * torch.eye(3)])
    means = torch.tensor([[0.0, 0, 0], [3.0, 0, -1]])
    prior = MixturePrior(torch.tensor([0.75, 0.25]), means, factors)
    mean, covariance = moments(prior)
    draws = prior.sample(200_000, torch.Generator().manual_seed(0), temperature=1.0)
    # the error of a covariance of n draws is about its size / √n: 0.01
    assert torch.allclose(draws.mean(dim=0), mean, atol=0.03)
    assert torch.allclose(draws.T.cov(), covariance, atol=0.06)
    shared = MixturePrior(prior.weights, means, factors[:1])
    alike = MixturePrior(prior.weights, means, factors[[0, 0]])
    assert torch.allclose(moments(shared)[1], moments(alike)[1])


def test_the_main_plane_holds_the_two_widest_directions():
    class Tiny:
        prior = GaussianPrior(torch.tensor([1.0, 2, 3]), torch.diag(torch.tensor([0.5, 3.0, 2.0])))

    planes = Planes(Tiny())
    assert torch.allclose(planes.main.abs(), torch.tensor([[0.0, 3, 0], [0, 0, 2]]), atol=1e-5)
    assert torch.allclose(planes.codes(torch.zeros(1, 2)), Tiny.prior.mean)
    moved = planes.codes(torch.tensor([[1.0, -1.0]]), (0, 2)) - Tiny.prior.mean
    assert torch.allclose(moved, REACH * torch.tensor([[0.5, 0, -2.0]]), atol=1e-5)


def test_the_strongest_latents_change_the_picture_the_most(studio, planes):
    order = planes.strongest()
    assert sorted(order) == [*range(studio.model.config.latents)]

    def change(latent: int) -> float:
        ends = torch.tensor([[-0.8, 0.0], [0.8, 0.0]])  # two standard deviations
        other = order[-1] if latent != order[-1] else order[0]
        pictures = studio.model.decode(planes.codes(ends, (latent, other)))
        return (pictures[0] - pictures[1]).square().mean().item()

    changes = [change(latent) for latent in (order[0], order[1], order[20], order[-1])]
    assert changes == sorted(changes, reverse=True)
