"""Exact rescaling to the prior: the pictures stay, the KL falls."""

import dataclasses

import numpy as np
import pytest
import torch

from facevae.config import ModelConfig
from facevae.latents.diagnostics import encoded
from facevae.models.vae import FaceVAE
from facevae.training.rescaling import rescale, rescale_to_prior
from facevae.training.runs import read_history, train
from tests.conftest import QUIET
from tests.unit.tiny_runs import TINY


@pytest.mark.parametrize("changes", [{}, {"spread_grid": 2}, {"conditions": ("age",)}])
def test_rescaling_leaves_pictures_and_their_likelihood_as_they_were(changes):
    torch.manual_seed(0)
    model = FaceVAE(ModelConfig((3, 16, 16), latents=4, channels=(4, 8), **changes)).eval()
    images = torch.rand(6, 3, 16, 16)
    condition = torch.rand(6, 1) if "conditions" in changes else None
    before = model.encode(images, condition)
    picture = model.decode(before.sample(torch.Generator().manual_seed(0)), condition)
    centre, scale = torch.randn(4), torch.rand(4) + 0.3
    rescale(model, centre, scale)
    after = model.encode(images, condition)
    assert torch.allclose(after.mean, (before.mean - centre) / scale, atol=1e-5)
    assert torch.allclose(after.std, before.std / scale, rtol=1e-4)
    same_z = after.sample(torch.Generator().manual_seed(0))
    assert torch.allclose(model.decode(same_z, condition), picture, atol=1e-5)


def test_a_trained_model_is_rescaled_to_the_prior_and_draws_the_same(drawn_faces, tmp_path):
    recipe = TINY.with_settings(["batch=32", "model.dropout=0", "keep_every=3", "lr=0.003"])
    model = train(recipe, drawn_faces, tmp_path, **QUIET)
    losses = [row["val_loss"] for row in read_history(tmp_path)]
    assert min(losses) == losses[-1]  # so that the last is the best, before it was rescaled
    raw = FaceVAE.from_pretrained(tmp_path / "epoch_003")
    rows = drawn_faces.split(0)["train"]
    before, after = encoded(raw, drawn_faces, rows), encoded(model, drawn_faces, rows)
    assert after.mean.mean(0).abs().max() < 1e-4
    square = (after.mean.square() + after.std.square()).mean(0)
    assert torch.allclose(square, torch.ones(4), atol=1e-3)
    assert after.kl().mean() < before.kl().mean()
    assert torch.allclose(model.decode(after.mean), raw.decode(before.mean), atol=1e-4)


def test_rescaling_is_done_where_mean_or_scale_is_off_and_then_no_more(small_faces):
    model, rows = FaceVAE(dataclasses.replace(TINY.model, image_shape=(3, 16, 16))), np.arange(60)
    assert rescale_to_prior(model, small_faces, rows) is True
    assert rescale_to_prior(model, small_faces, rows) is False
    for centre, scale in ((0.01, 1.0), (0.0, 1.01)):
        rescale(model, torch.full((4,), centre), torch.full((4,), scale))
        assert rescale_to_prior(model, small_faces, rows) is True
