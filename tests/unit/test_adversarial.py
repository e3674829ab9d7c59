"""Critics and stage 2 on a backbone that needs no downloaded weights."""

import numpy as np
import pytest
import torch
from torch import nn

from facevae.config import ModelConfig
from facevae.models.critic import CHANNELS, ConditionCritic, RealismCritic, hinge_critic
from facevae.models.vae import FaceVAE
from facevae.training.adversarial import EditRecipe, EditTrainer
from facevae.training.edit_faces import EditFaces

NAMES = ("Eyeglasses", "Bald", "Bangs", "age")
ANCHORS = (10.0, 40.0, 70.0)
SIDE = 32


class RandomBackbone(nn.Module):
    """Random convolutions with the strides and channels of the real backbone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        inputs = (3, *CHANNELS)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(inputs, CHANNELS, strict=False)
        )
        self.requires_grad_(False)

    def forward(self, images):
        maps = []
        for layer in self.layers:
            images = layer(images).relu()
            maps.append(images)
        return maps


@pytest.fixture
def model():
    torch.manual_seed(0)
    return FaceVAE(ModelConfig(
        image_shape=(3, SIDE, SIDE), latents=8, channels=(8, 8), decoder_channels=(8, 8, 8),
        blocks=0, upsample="shuffle", conditions=NAMES, condition_encoder=False, film=True,
        hold=True, age_anchors=ANCHORS,
    ))  # fmt: skip


@pytest.fixture
def faces():
    """Eyeglasses are a dark bar; nothing else shows."""
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 2, (60, 4)).astype(np.float32))
    labels[:, 3] = torch.from_numpy(rng.uniform(0.05, 0.75, 60).astype(np.float32))
    labels[:10, 1] = torch.nan
    pictures = torch.rand(60, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) / 4 + 0.6
    pictures[labels[:, 0] == 1, :, 10:16] = 0.1
    condition = labels.nan_to_num(0.5)
    whole = np.arange(60) >= 5
    return EditFaces(NAMES, lambda rows: pictures[rows].clone(), condition, labels, whole, ANCHORS)


def trainer(model, faces, **changes):
    recipe = EditRecipe(batch=8, ramp=5, **changes)
    return EditTrainer(model, faces, recipe, backbone=RandomBackbone())


def test_draws_are_even_over_attributes_and_leave_padded_faces_to_the_critic(faces):
    rng = np.random.default_rng(1)
    drawn = [faces.draw(rng, False, 0.25) for _ in range(800)]
    columns = np.bincount([column for _, column in drawn], minlength=4) / 800
    assert columns == pytest.approx([0.25] * 4, abs=0.06)
    assert min(row for row, _ in drawn) >= 5
    glasses = [row for row, column in drawn if column == 0]
    assert faces.labels[glasses, 0].mean() == pytest.approx(0.5, abs=0.12)
    assert min(row for row, _ in (faces.draw(rng, True, 0.25) for _ in range(200))) < 5


def test_unknown_labels_are_drawn_for_no_critic(faces):
    rng = np.random.default_rng(1)
    rows = [row for row, column in (faces.draw(rng, True, 0.2) for _ in range(600)) if column == 1]
    assert rows and min(rows) >= 10


def test_a_step_trains_the_decoder_and_not_the_encoder(model, faces):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run = trainer(model, faces)
    losses = run.step()
    assert all(np.isfinite(value) for value in losses.values())
    moved = {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert any(name.startswith("decoder.stages") for name in moved)
    assert any(".film." in name for name in moved)
    assert not any(name.startswith("encoder") or "running" in name for name in moved)


def test_what_was_asked_for_weighs_and_tied_attributes_do_not(model, faces):
    run = trainer(model, faces, second=0.0, partial=0.0, age_share=0.0)
    edit = run._edit()
    asked = (edit["weight"] >= 1.0).sum(dim=1)
    assert (asked == 1).all()
    column = edit["weight"].argmax(dim=1)
    start = edit["labels"].gather(1, column[:, None])[:, 0].round()
    goal = edit["target"].gather(1, column[:, None])[:, 0]
    assert torch.equal(goal, 1 - start)


def test_resuming_goes_on_to_the_bit(model, faces):
    state = {name: value.clone() for name, value in model.state_dict().items()}
    straight = trainer(model, faces)
    for _ in range(3):
        straight.step()
    again = FaceVAE(model.config)
    again.load_state_dict(state)
    first = trainer(again, faces)
    first.step()
    held = first.state()
    other = FaceVAE(model.config)
    other.load_state_dict(state)
    second = trainer(other, faces)
    second.restore(held)
    for _ in range(2):
        second.step()
    assert second.steps == 3
    for one, two in zip(model.decoder.parameters(), other.decoder.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-5)


def test_an_edit_learns_to_draw_what_the_critic_looks_for(model, faces):
    """With realism and preservation off, glasses put on darken the bar's rows."""
    alone = dict.fromkeys(("realism", "kept", "held", "alone", "second", "age_share"), 0.0)
    rates = {"decoder_rate": 3e-3, "film_rate": 1e-2, "critic_rate": 3e-3}
    run = trainer(model, faces, ema=0.5, **alone, **rates)
    for _ in range(60):
        run.step()
    edited = run.edited_model()
    rows = np.flatnonzero((faces.labels[:, 0] == 0).numpy())
    photo, y = faces.images(rows), faces.condition[rows]
    target = y.clone()
    target[:, 0] = 1.0
    with torch.inference_mode():
        z = edited.encode(photo).mean
        change = edited.show(photo, z, y, target) - photo
    assert change[:, :, 10:16].mean() < change[:, :, 20:].mean() - 0.02


def test_critics_give_a_score_at_each_scale_and_logits_of_attributes_and_ages():
    maps = RandomBackbone()(torch.rand(2, 3, 64, 64))
    scores = RealismCritic(64)(maps)
    assert len(scores) == len(CHANNELS) and all(len(score) == 2 for score in scores)
    attributes, ages = ConditionCritic(3, 4)(maps)
    assert attributes.shape == (2, 3) and ages.shape == (2, 4)


def test_the_hinge_is_zero_where_the_critic_is_sure():
    real, fake = [torch.full((2, 4), 1.5)], [torch.full((2, 4), -1.5)]
    assert hinge_critic(real, fake) == 0
    assert hinge_critic(fake, real) == pytest.approx(5.0)
