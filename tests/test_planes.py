import pytest
import torch

import facevae
from facevae.latent import GaussianPrior
from facevae.page.planes import REACH, Planes


@pytest.fixture(scope="module")
def studio():
    return facevae.Studio.load()


@pytest.fixture(scope="module")
def planes(studio):
    return Planes(studio)


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
