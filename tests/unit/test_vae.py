"""FaceVAE: sizes, options, the hold of a photo, learning by heart, and conditions that change."""

from dataclasses import replace

import pytest
import torch

from facevae.config import ModelConfig
from facevae.data.synthetic import draw_faces
from facevae.models import losses, vae
from facevae.models.conditions import at_age, changed
from facevae.models.vae import FaceVAE, Upsample, age_weights, soften
from tests.unit.studios import CONFIGS, tiny_model

SMALL = ModelConfig(image_shape=(3, 32, 32), latents=8, channels=(8, 16))
STUDIO = replace(CONFIGS["studio"], spread_grid=2, fine_blocks=2, leak=0)


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("shape", [(1, 28, 20), (3, 64, 48), (1, 33, 57), (3, 128, 128)])
def test_every_size_comes_back(shape, pool):
    model = FaceVAE(ModelConfig(shape, latents=5, channels=(4, 8, 8), pool=pool)).eval()
    images = torch.rand(2, *shape)
    posterior = model.encode(images)
    decoded = model.decode(posterior.mean)
    assert posterior.mean.shape == (2, 5) and decoded.shape == images.shape
    assert decoded.min() >= 0 and decoded.max() <= 1


@pytest.mark.parametrize("changes", [
    {"spread_grid": 2}, {"blocks": 0}, {"dropout": 0.2}, {"likelihood": "bernoulli"},
    {"norm": "group"}, {"upsample": "shuffle"}, {"decoder_channels": (8, 6, 4)},
    {"conditions": ("age",), "film": True}, {"input_range": "unit"},
    {"conditions": ("age",), "condition_encoder": False, "age_anchors": (10, 40)},
])  # fmt: skip
def test_every_option_builds_and_gives_a_gradient_to_all_parameters(changes):
    model = FaceVAE(ModelConfig((1, 16, 16), latents=3, channels=(4, 8), **changes))
    condition = torch.rand(6, 1) if "conditions" in changes else None
    log_likelihood, posterior = model(torch.rand(6, 1, 16, 16), condition)
    losses.negative_elbo(log_likelihood, posterior.kl()).mean().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_the_input_range_is_what_the_encoder_sees_and_nothing_else():
    signed, unit = (FaceVAE(replace(SMALL, input_range=r)).eval() for r in ("signed", "unit"))
    unit.load_state_dict(signed.state_dict())
    images, z = torch.rand(2, 3, 32, 32), torch.randn(2, 8)
    assert torch.allclose(unit.encode(2 * images - 1).mean, signed.encode(images).mean, atol=1e-5)
    assert not torch.allclose(unit.encode(images).mean, signed.encode(images).mean, atol=1e-3)
    assert torch.equal(unit.decode(z), signed.decode(z))  # the likelihood is in the same units


def test_group_norm_does_not_depend_on_the_batch():
    model = FaceVAE(replace(SMALL, norm="group", channels=(8, 11)))
    images = torch.rand(4, 3, 32, 32)
    together = model.train().encode(images).mean
    assert torch.allclose(together[:1], model.encode(images[:1]).mean, atol=1e-5)


def test_new_blocks_and_modulations_are_the_identity_and_a_shuffle_the_nearest_neighbour():
    rectified = FaceVAE(replace(STUDIO, blocks=1, leak=0)).modules()  # with ReLU throughout
    assert not any(getattr(m, "leak", 0) or getattr(m, "negative_slope", 0) for m in rectified)
    x = torch.rand(2, 8, 6, 6)
    assert torch.equal(vae.ResidualBlock(8)(x), x)  # which is above 0
    stage = vae.DecoderStage(replace(STUDIO, leak=0.3), 8, 4, (12, 12), "bilinear")
    normed = stage.norm(stage.upsample(x))
    modulated = stage(x, torch.rand(2, STUDIO.condition_numbers))
    assert torch.equal(modulated, torch.nn.functional.leaky_relu(normed, 0.3))
    shapes = {"transposed": (3, 2, 4, 4), "bilinear": (2, 3, 3, 3), "shuffle": (8, 3, 3, 3)}
    for kind, shape in shapes.items():
        assert Upsample(3, 2, (8, 8), kind).convolution.weight.shape == shape
    doubled = Upsample(3, 2, (8, 8), "shuffle")(torch.rand(1, 3, 4, 4)).detach()
    cells = torch.nn.functional.pixel_unshuffle(doubled, 2).unflatten(1, (2, 4))
    spread = (cells - cells[:, :, :1]).flatten(3).std(dim=3)
    assert spread.max() < 1e-6  # what differs within a cell is the bias alone


def test_conditions_reach_encoder_and_decoder_and_are_asked_for():
    config = ModelConfig((1, 16, 16), latents=3, channels=(4, 8), conditions=("age", "gender"))
    model, z, images = FaceVAE(config).eval(), torch.zeros(1, 3), torch.rand(1, 1, 16, 16)
    young, old = torch.tensor([[0.1, 0.0]]), torch.tensor([[0.9, 0.0]])
    assert not torch.equal(model.decode(z, young), model.decode(z, old))
    assert not torch.equal(model.encode(images, young).mean, model.encode(images, old).mean)
    plain, studio, photo = FaceVAE(SMALL), tiny_model(STUDIO), torch.rand(2, 3, 64, 64)
    for call, given, says in (
        (model.decode, [z], "needs the condition"), (model.encode, [images], "needs the condition"),
        (plain.decode, [torch.zeros(1, 8), young], "takes no condition"),
        (plain.encode, [images], "prepare the faces at its size"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=says):
            call(*given)
    assert torch.equal(studio.encode(photo).mean, studio.encode(photo, torch.rand(2, 5)).mean)


def test_an_edit_decoder_draws_its_hold_beside_the_picture_and_begins_as_the_decoder():
    studio, z = tiny_model(STUDIO), torch.randn(2, 8)
    y = torch.tensor([[0.0, 0, 0, 0, 0.3], [1.0, 0, 0, 0, 0.3]])
    picture, hold = studio.decode_edit(z, y)
    assert hold.shape == (2, 1, 64, 64) and hold.min() > 0 and hold.max() < 1
    assert picture.shape == (2, 3, 64, 64) and not torch.equal(picture, studio.decode(z, y))
    first = FaceVAE(replace(STUDIO, hold=False)).eval()
    assert all(len(one.stages[2].blocks) == 2 for one in (first.decoder, studio.edit_decoder))
    picture, hold = first.with_edit_decoder().decode_edit(z, y)
    assert torch.allclose(picture, first.decode(z, y), atol=1e-5)
    assert hold.mean().item() == pytest.approx(0.88, abs=0.01)


def test_ages_weigh_two_anchors_and_the_distance_of_conditions_softens_the_hold():
    weights = age_weights(torch.tensor([5.0, 10.0, 25.0, 70.0, 99.0]), (10.0, 30.0, 70.0))
    expected = [[1, 0, 0], [1, 0, 0], [0.25, 0.75, 0], [0, 0, 1], [0, 0, 1]]
    assert torch.allclose(weights, torch.tensor(expected))

    def distance(smile, age):
        """From no smile at 40."""
        y = torch.tensor([[0.0, 0, 0, 0, 0.4], [smile, 0, 0, 0, age]])
        return FaceVAE(STUDIO).distance(y[:1], y[1:]).item()

    moved = [distance(smile, 0.4) for smile in (0.0, 0.1, 0.5, 1.0)]
    assert moved == pytest.approx([0.0, 0.1 / vae.FULL_CHANGE, 1.0, 1.0])
    older = distance(0.0, 0.5)  # half way from 40 to 60
    assert older == pytest.approx(min(1.0, 0.5 / vae.FULL_CHANGE))
    hold = torch.full((2, 1, 1, 1), 0.4)
    assert soften(hold, torch.tensor([0.0, 0.5])).flatten().tolist() == pytest.approx([1.0, 0.7])


def test_the_first_batch_sets_sigma_later_ones_move_it_and_a_given_one_stays():
    model, logits = FaceVAE(SMALL).train(), torch.zeros(4, 3, 32, 32)
    images = torch.rand(4, 3, 32, 32)
    first, second = (losses.optimal_sigma((logits + d).sigmoid(), images).square() for d in (0, 3))
    model.log_likelihood(logits, images)
    assert torch.allclose(model.variance, first)
    model.log_likelihood(logits + 3, images)
    assert torch.allclose(model.variance, torch.lerp(first, second, vae.SIGMA_MOMENTUM))
    kept = model.variance.clone()
    scored = model.eval().log_likelihood(logits, images)
    expected = losses.gaussian_log_likelihood(logits.sigmoid(), images, kept.sqrt())
    assert torch.equal(model.variance, kept) and torch.allclose(scored, expected)
    given = FaceVAE(replace(SMALL, sigma=0.5)).train()
    given(images)
    assert given.variance == 0.25


def test_eight_faces_can_be_learnt_by_heart():
    images = torch.from_numpy(draw_faces(8, size=16)[0]).permute(0, 3, 1, 2).float() / 255
    torch.manual_seed(0)
    model = FaceVAE(ModelConfig((3, 16, 16), latents=16, channels=(16, 32), blocks=0))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(250):
        log_likelihood, posterior = model(images)
        optimizer.zero_grad()
        (losses.negative_elbo(log_likelihood, posterior.kl()).mean() / 768).backward()
        optimizer.step()
    model.eval()
    error = (images - model.decode(model.encode(images).mean)).square().flatten(1).mean(1)
    assert -10 * error.max().log10() > 28  # dB: plainly the same eight faces


NAMES = ("Smiling", "Beard", "Mustache", "Bangs", "Black_Hair", "Blond_Hair", "Bald",
         "Heavy_Makeup", "Male", "age")  # fmt: skip


def condition(**has):
    return torch.tensor([[float(has.get(name, 0.0)) for name in NAMES]])


@pytest.mark.parametrize(("wanted", "has", "expected"), [
    ({"Smiling": 0}, {"Smiling": 0.25}, {"Smiling": 0.25}),
    ({"Smiling": 0.5}, {"Smiling": 0.5}, {"Smiling": 0.75}),
    ({"Smiling": -0.5}, {"Smiling": 0.5}, {"Smiling": 0.25}),
    ({"Blond_Hair": 1}, {"Black_Hair": 1}, {"Blond_Hair": 1}),
    ({"Blond_Hair": 0.5}, {"Black_Hair": 1}, {"Blond_Hair": 0.5, "Black_Hair": 0.5}),
    ({"Black_Hair": 1}, {"Bald": 1}, {"Black_Hair": 1}), ({"Bangs": 1}, {"Bald": 1}, {"Bangs": 1}),
    ({"Bald": 1}, {"Bangs": 1, "Black_Hair": 1}, {"Bald": 1}),
    ({"Bald": 1, "Bangs": 0.5}, {}, {"Bald": 1, "Bangs": 0.5}),
    ({"Mustache": 1}, {}, {"Mustache": 1, "Beard": 1}),
    ({"Beard": -1}, {"Beard": 1, "Mustache": 1}, {}),
    ({"Male": 1}, {"Heavy_Makeup": 1}, {"Male": 1}),
    ({"Male": -1}, {"Male": 1, "Beard": 1, "Mustache": 1, "Bald": 1}, {}),
    ({"Male": -1, "Beard": 1}, {"Male": 1}, {"Beard": 1}),
    ({"age": 0.5}, {"age": 0.25, "Smiling": 1}, {"age": 0.5, "Smiling": 1}),
    ({"age": 0.05}, {"Beard": 1, "Bald": 0.25, "Male": 1}, {"age": 0.05, "Bald": 0.25, "Male": 1}),
    ({"age": 0.05, "Beard": 1}, {}, {"age": 0.05, "Beard": 1}),
    ({"age": 0.15}, {"Beard": 1}, {"age": 0.15, "Beard": 1}),
])  # fmt: skip
def test_what_is_wanted_takes_along_what_excludes_it(wanted, has, expected):
    before = condition(**has)
    result = changed(NAMES, before, wanted)[0]
    found = {name: value.item() for name, value in zip(NAMES, result, strict=True) if value}
    assert found == pytest.approx(expected) and torch.equal(before, condition(**has))


def test_each_face_moves_from_where_it_is_and_growing_up_brings_a_beard_back_bit_by_bit():
    both = torch.cat([condition(Smiling=1), condition(Bangs=1)])
    assert changed(NAMES, both, {"Smiling": 0.5})[:, 0].tolist() == [1.0, 0.5]
    assert changed(NAMES, both, {"Bald": 1.0}, ["Bangs"])[1, NAMES.index("Bangs")] == 1
    assert changed(("Bald",), torch.zeros(1, 1), {"Bald": 1.0}).tolist() == [[1.0]]
    bearded, ages = condition(Beard=1).repeat(4, 1), torch.tensor([0.05, 0.11, 0.14, 0.4])
    grown = at_age(NAMES, bearded, ages)
    assert grown[:, NAMES.index("Beard")].tolist() == pytest.approx([0, 0.5, 1, 1])
    assert torch.equal(grown[:, NAMES.index("age")], ages)
    assert at_age(NAMES, bearded, ages, ["Beard"])[0, NAMES.index("Beard")] == 1
