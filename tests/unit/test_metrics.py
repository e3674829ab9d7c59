"""metrics: known errors give known figures, intervals hold what they should, PCA is the bound."""

import numpy as np
import pytest
import torch

from facevae.config import ModelConfig
from facevae.evaluation import metrics
from facevae.models.vae import FaceVAE


def test_psnr_and_l1_of_known_errors():
    a = torch.full((2, 3, 8, 8), 0.5)
    assert torch.allclose(metrics.psnr(a, a + 0.1), torch.full((2,), 20.0), atol=1e-4)
    assert metrics.psnr(a, a).isinf().all()
    assert torch.allclose(metrics.l1(a, a - 0.1), torch.full((2,), 0.1))


def test_ssim_is_one_for_equal_images_and_falls_with_noise():
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(2, 3, 32, 32, generator=generator)
    noisy = (a + 0.2 * torch.randn(a.shape, generator=generator)).clamp(0, 1)
    assert torch.allclose(metrics.ssim(a, a), torch.ones(2))
    assert (metrics.ssim(a, noisy) < 0.9).all()


def test_an_interval_holds_the_mean_and_is_as_wide_as_theory_says():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0))
    found = metrics.interval(values)
    assert found["low"] < found["mean"] < found["high"]
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 / 20, rel=0.2)
    assert metrics.interval(torch.ones(5)) == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert metrics.interval(values) == found  # the same draws each time


def test_a_paired_difference_is_sharper_than_its_parts():
    """The faces' own spread (10) drops out; the interval is that of the difference (0.1/√400)."""
    generator = torch.Generator().manual_seed(0)
    b = 10 * torch.randn(400, generator=generator)
    a = b + 1.0 + 0.1 * torch.randn(400, generator=generator)
    found = metrics.paired(a, b)
    assert found["low"] < 1.0 < found["high"]
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * 0.1 / 20, rel=0.2)


def test_groups_are_those_that_the_labels_give(drawn_faces):
    rows = np.arange(len(drawn_faces))
    values = torch.from_numpy((drawn_faces.labels["gender"] == 1).astype(np.float32))
    found = metrics.by_group(values, drawn_faces, rows)
    assert found["gender female"]["mean"] == 1.0 and found["gender male"]["mean"] == 0.0
    assert found["gender female"]["faces"] == int(values.sum())
    assert not [name for name in found if name.startswith("race")]  # drawn faces have none
    assert not metrics.by_group(values[:3], drawn_faces, rows[:3])  # too few of any


def test_figures_of_each_face_add_up(drawn_faces, tiny_run):
    model, rows = FaceVAE.from_pretrained(tiny_run / "best"), drawn_faces.split()["test"]
    table = metrics.per_face(model, drawn_faces, rows, batch=7)
    assert torch.allclose(table["negative_elbo"], table["reconstruction"] + table["kl"], rtol=1e-4)
    assert torch.allclose(table["kl_per_latent"].sum(dim=1), table["kl"], rtol=1e-4)
    found = metrics.summary(table)
    assert found["psnr"] == pytest.approx(table["psnr"].mean().item())
    assert 0 < found["active_units"] <= 8
    means = metrics.posteriors(model, drawn_faces, rows, batch=5).mean
    assert torch.allclose(means, metrics.posteriors(model, drawn_faces, rows).mean, atol=1e-5)


def test_conditions_come_from_labels_or_as_given(drawn_faces, tiny_conditional_run):
    model = FaceVAE.from_pretrained(tiny_conditional_run / "best")
    rows = drawn_faces.split()["test"]
    labels = torch.from_numpy(drawn_faces.conditions(model.config.conditions)[rows])
    ours = metrics.per_face(model, drawn_faces, rows)["psnr"]
    assert torch.equal(ours, metrics.per_face(model, drawn_faces, rows, labels)["psnr"])
    other = metrics.per_face(model, drawn_faces, rows, 1 - labels)["psnr"]
    assert not torch.equal(ours, other)
    assert np.array_equal(metrics.known_rows(model, drawn_faces, rows), rows)


def test_faces_of_another_shape_are_refused(drawn_faces):
    model = FaceVAE(ModelConfig((3, 16, 16), latents=4, channels=(4, 8)))
    with pytest.raises(ValueError, match=r"m reads pictures of shape \(3, 16, 16\)"):
        metrics.known_rows(model, drawn_faces, np.arange(3), "m")


def test_pca_of_more_components_is_nearer(drawn_faces):
    split = drawn_faces.split()
    few, many = (metrics.pca_psnr(drawn_faces, split["train"], split["test"], k) for k in (2, 64))
    assert 5 < few < many < 60
    # more components than training faces: as many as there are
    assert metrics.pca_psnr(drawn_faces, split["train"][:20], split["test"], 64) < many
