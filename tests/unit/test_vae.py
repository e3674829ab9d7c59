"""FaceVAE: every size and option, conditions, what an edit shows, and learning by heart."""

import dataclasses

import pytest
import torch

from facevae.config import RECIPES, ModelConfig
from facevae.data.synthetic import draw_faces
from facevae.models import losses
from facevae.models.vae import FULL_CHANGE, FaceVAE, Upsample, age_weights, soften

SMALL = ModelConfig(image_shape=(3, 32, 32), latents=8, channels=(8, 16))
STUDIO = ModelConfig(
    image_shape=(3, 32, 32), latents=8, channels=(8, 16), decoder_channels=(16, 12, 8), blocks=0,
    upsample="shuffle", spread_grid=2, conditions=("Smiling", "age"), condition_encoder=False,
    film=True, hold=True, age_anchors=(10.0, 30.0, 70.0),
)  # fmt: skip


def studio():
    """A conditional model whose condition already does something."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FaceVAE(STUDIO)
        for stage in model.decoder.stages:
            torch.nn.init.normal_(stage.film.weight, std=0.3)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("shape", [(1, 28, 20), (3, 64, 48), (1, 33, 57), (3, 128, 128)])
def test_every_size_comes_back(shape, pool):
    model = FaceVAE(ModelConfig(shape, latents=5, channels=(4, 8, 8), pool=pool)).eval()
    images = torch.rand(2, *shape)
    posterior = model.encode(images)
    assert posterior.mean.shape == (2, 5)
    decoded = model.decode(posterior.mean)
    assert decoded.shape == images.shape
    assert decoded.min() >= 0 and decoded.max() <= 1


@pytest.mark.parametrize(
    "changes",
    [{"spread_grid": 2}, {"blocks": 0}, {"dropout": 0.2}, {"likelihood": "bernoulli"},
     {"norm": "group"}, {"upsample": "shuffle"}, {"decoder_channels": (8, 6, 4)},
     {"conditions": ("age",), "film": True},
     {"conditions": ("age",), "condition_encoder": False, "age_anchors": (10, 40)}],
)  # fmt: skip
def test_every_option_builds_and_gives_a_gradient_to_all_parameters(changes):
    model = FaceVAE(ModelConfig((1, 16, 16), latents=3, channels=(4, 8), **changes))
    condition = torch.rand(6, 1) if "conditions" in changes else None
    log_likelihood, posterior = model(torch.rand(6, 1, 16, 16), condition)
    losses.negative_elbo(log_likelihood, posterior.kl()).mean().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_group_norm_does_not_depend_on_the_batch():
    model = FaceVAE(dataclasses.replace(SMALL, norm="group"))
    images = torch.rand(4, 3, 32, 32)
    together = model.train().encode(images).mean
    assert torch.allclose(together[:1], model.encode(images[:1]).mean, atol=1e-5)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())


def test_a_shuffled_doubling_begins_as_the_nearest_neighbour():
    doubled = Upsample(3, 2, (8, 8), "shuffle")(torch.rand(1, 3, 4, 4)).detach()
    bias = doubled - doubled[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    spread = bias.reshape(2, 4, 2, 4, 2).permute(0, 2, 4, 1, 3).flatten(3)
    assert spread.std(dim=3).max() < 1e-6  # what differs within a cell is the bias alone


def test_conditions_reach_encoder_and_decoder_and_are_asked_for():
    config = ModelConfig((1, 16, 16), latents=3, channels=(4, 8), conditions=("age", "gender"))
    model, z, images = FaceVAE(config).eval(), torch.zeros(1, 3), torch.rand(1, 1, 16, 16)
    young, old = torch.tensor([[0.1, 0.0]]), torch.tensor([[0.9, 0.0]])
    assert not torch.equal(model.decode(z, young), model.decode(z, old))
    assert not torch.equal(model.encode(images, young).mean, model.encode(images, old).mean)
    with pytest.raises(ValueError, match="needs the condition"):
        model.decode(z)
    with pytest.raises(ValueError, match="needs the condition"):
        model.encode(images)
    with pytest.raises(ValueError, match="takes no condition"):
        FaceVAE(SMALL).decode(torch.zeros(1, 8), torch.zeros(1, 2))


def test_an_encoder_without_conditions_ignores_them():
    model, images = studio(), torch.rand(2, 3, 32, 32)
    assert torch.equal(model.encode(images).mean, model.encode(images, torch.rand(2, 2)).mean)


def test_a_picture_of_another_size_is_refused_by_name():
    with pytest.raises(ValueError, match="prepare the faces at its size"):
        FaceVAE(SMALL).encode(torch.rand(1, 3, 64, 64))


def test_with_nothing_changed_the_photo_is_shown_to_the_bit():
    model, photo = studio(), torch.rand(2, 3, 32, 32)
    z, y = model.encode(photo).mean, torch.tensor([[0.0, 0.3], [1.0, 0.6]])
    shown = model.show(photo, z, y, y)
    assert torch.allclose(shown, photo, atol=1e-6)


def test_what_is_shown_is_the_formula():
    """decode(z, y′) + hold · (photo − decode(z, y)), where hold comes from 1 with the change."""
    model, photo = studio(), torch.rand(1, 3, 32, 32)
    z, y, other = model.encode(photo).mean, torch.tensor([[0.0, 0.3]]), torch.tensor([[1.0, 0.3]])
    before, (after, hold) = model.decode(z, y), model.decode_and_hold(z, other)
    assert hold.shape == (1, 1, 32, 32) and hold.min() > 0 and hold.max() < 1
    assert torch.equal(after, model.decode(z, other)) and not torch.equal(after, before)
    expected = after + hold * (photo - before)
    assert torch.allclose(model.show(photo, z, y, other), expected, atol=1e-5)


def test_the_distance_of_conditions_rises_to_one_and_softens_the_hold():
    model, y = studio(), torch.tensor([[0.0, 0.3]])
    moved = [model.distance(y, torch.tensor([[d, 0.3]])).item() for d in (0.0, 0.1, 0.5, 1.0)]
    assert moved == pytest.approx([0.0, 0.1 / FULL_CHANGE, 1.0, 1.0])
    older = model.distance(y, torch.tensor([[0.0, 0.5]])).item()  # half way from 30 to 70
    assert older == pytest.approx(min(1.0, 0.5 / FULL_CHANGE))
    hold = torch.full((2, 1, 1, 1), 0.4)
    assert soften(hold, torch.tensor([0.0, 0.5])).flatten().tolist() == pytest.approx([1.0, 0.7])


def test_ages_are_weights_of_the_two_nearest_anchors():
    years = torch.tensor([5.0, 10.0, 25.0, 70.0, 99.0])
    weights = age_weights(years, (10.0, 30.0, 70.0))
    expected = [[1, 0, 0], [1, 0, 0], [0.25, 0.75, 0], [0, 0, 1], [0, 0, 1]]
    assert torch.allclose(weights, torch.tensor(expected))


def test_the_first_batch_sets_sigma_and_later_ones_move_it():
    """Its running average starts at the first batch's optimum, not at 1."""
    model = FaceVAE(SMALL).train()
    assert model.variance == 0
    images, logits = torch.rand(4, 3, 32, 32), torch.zeros(4, 3, 32, 32)
    first = losses.optimal_sigma(logits.sigmoid(), images).square()
    model.log_likelihood(logits, images)
    assert torch.allclose(model.variance, first)
    model.log_likelihood(logits + 3, images)
    second = losses.optimal_sigma((logits + 3).sigmoid(), images).square()
    momentum = FaceVAE.SIGMA_MOMENTUM
    assert torch.allclose(model.variance, (1 - momentum) * first + momentum * second)
    kept = model.variance.clone()
    scored = model.eval().log_likelihood(logits, images)
    assert torch.equal(model.variance, kept)
    assert torch.allclose(
        scored, losses.gaussian_log_likelihood(logits.sigmoid(), images, kept.sqrt())
    )


def test_a_given_sigma_stays():
    model = FaceVAE(dataclasses.replace(SMALL, sigma=0.5)).train()
    model(torch.rand(4, 3, 32, 32))
    assert model.variance == 0.25


def test_the_studio_recipe_builds():
    config = dataclasses.replace(RECIPES["studio"].model, image_shape=(3, 128, 128))
    model = FaceVAE(config).eval()
    condition = torch.zeros(1, 13)
    picture, hold = model.decode_and_hold(torch.zeros(1, 256), condition)
    assert picture.shape == (1, 3, 128, 128) and hold.shape == (1, 1, 128, 128)
    assert hold.mean().item() == pytest.approx(0.88, abs=0.03)


def test_eight_faces_can_be_learnt_by_heart():
    images = torch.from_numpy(draw_faces(8, size=16)[0]).permute(0, 3, 1, 2).float() / 255
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FaceVAE(ModelConfig((3, 16, 16), latents=16, channels=(16, 32), blocks=0))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(250):
        log_likelihood, posterior = model(images, generator=generator)
        optimizer.zero_grad()
        (losses.negative_elbo(log_likelihood, posterior.kl()).mean() / 768).backward()
        optimizer.step()
    model.eval()
    error = (images - model.decode(model.encode(images).mean)).square().flatten(1).mean(1)
    assert -10 * error.max().log10() > 28  # dB: plainly the same eight faces
