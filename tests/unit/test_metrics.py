"""evaluation.metrics: known errors give known figures, intervals hold what they should."""

import math

import numpy as np
import pytest
import torch

from facevae import FaceVAE, ModelConfig
from facevae.evaluation import metrics
from facevae.models.losses import gaussian_log_likelihood


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_errors_of_known_pictures():
    a = torch.full((2, 3, 8, 8), 0.5)
    assert torch.allclose(metrics.psnr(a, a + 0.1), torch.full((2,), 20.0), atol=1e-4)
    assert metrics.psnr(a, a).isinf().all()
    a = noise(2, 3, 32, 32).sigmoid()
    assert torch.allclose(metrics.ssim(a, a), torch.ones(2))
    assert (metrics.ssim(a, (a + 0.2 * noise(2, 3, 32, 32, seed=1)).clamp(0, 1)) < 0.9).all()


def test_an_interval_holds_the_mean_and_is_as_wide_as_theory_says():
    values = noise(400)
    found = metrics.interval(values)
    assert found["low"] < found["mean"] < found["high"]
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 / 20, rel=0.2)
    assert metrics.interval(torch.ones(5)) == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert metrics.interval(values) == found  # the same draws each time


def test_the_source_s_loss_leaves_out_the_constant_of_the_likelihood():
    """On [−1, 1] a source's summed squared error + KL is a Gaussian of σ² = 1/2; σ is half of that
    on [0, 1]."""
    config = ModelConfig((3, 8, 8), channels=(4,), sigma=math.sqrt(0.5) / 2)
    a, b, kl = noise(1, 3, 8, 8).sigmoid(), noise(1, 3, 8, 8, seed=1).sigmoid(), 7.0
    ours = kl - gaussian_log_likelihood(a, b, config.sigma).item()
    source = (2 * a - 2 * b).square().sum().item() + kl
    assert metrics.source_loss(ours, config) == pytest.approx(source, rel=1e-5)
    assert metrics.source_loss(ours, ModelConfig()) is None  # the optimal σ is no constant


def test_groups_are_those_that_the_labels_give(drawn_faces):
    rows = np.arange(len(drawn_faces))
    values = torch.from_numpy((drawn_faces.labels["gender"] == 1).astype(np.float32))
    found = metrics.by_group(values, drawn_faces, rows)
    assert found["gender female"]["average"]["mean"] == 1.0
    assert found["gender female"]["faces"] == int(values.sum())
    assert found["age 0–19"]["faces"] == (drawn_faces.labels["age"] < 20).sum()
    assert not [name for name in found if name.startswith("race")]  # drawn faces have none
    assert not metrics.by_group(values[:3], drawn_faces, rows[:3])  # too few of any


def test_figures_of_each_face_add_up(drawn_faces, tiny_run):
    model, rows = FaceVAE.from_pretrained(tiny_run / "best"), drawn_faces.split()["test"]
    table = metrics.per_face(model, drawn_faces, rows)
    assert torch.allclose(table["negative_elbo"], table["reconstruction"] + table["kl"], rtol=1e-4)
    assert torch.allclose(table["kl_per_latent"].sum(dim=1), table["kl"], rtol=1e-4)
    means = metrics.posteriors(model, drawn_faces, rows).mean
    assert torch.allclose(means, table["codes"], atol=1e-5)
    near = metrics.per_face(lambda images: images + 0.1, drawn_faces, rows)
    assert set(near) == {"psnr", "ssim", "l1"} and torch.allclose(near["l1"], torch.tensor(0.1))


def test_conditions_count_and_faces_without_are_left_out(drawn_faces, tiny_conditional_run):
    model = FaceVAE.from_pretrained(tiny_conditional_run / "best")
    rows, unknown = drawn_faces.split()["test"], drawn_faces.labels["gender"].copy()
    unknown[rows[:4]] = -1
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(drawn_faces.labels, "gender", unknown)
        known, given = metrics.labelled(model, drawn_faces, rows)
    assert np.array_equal(known, rows[4:]) and given.isfinite().all()
    ours, other = (metrics.per_face(model, drawn_faces, known, y) for y in (given, 1 - given))
    assert not torch.equal(ours["psnr"], other["psnr"])


def test_pca_of_more_components_is_nearer(drawn_faces):
    train, _, test = drawn_faces.split().values()
    few, many, fewer = (
        metrics.psnr(drawn_faces.tensor(test), pca(drawn_faces.tensor(test))).mean()
        for pca in (metrics.pca(drawn_faces, train[:faces], n)
                    for faces, n in ((None, 2), (None, 64), (20, 64)))
    )  # fmt: skip
    assert 5 < few < many < 60 and fewer < many  # as many components as there are faces


def test_frechet_distance_of_known_gaussians():
    """Means 3 apart and variances 1 and 4, in each of 9 dimensions: 9 · (9 + (2 − 1)²)."""
    a, b = noise(1200, 9), 2 * noise(1100, 9, seed=1) + 3
    assert metrics.frechet(a, b) == pytest.approx(90, rel=0.05)
    assert metrics.frechet(a, a) == pytest.approx(0, abs=1e-6)
    assert metrics.against_halves(a[:10], b) is None  # too few
    assert metrics.against_halves(a[:400], a[400:]) == pytest.approx(1, abs=0.5)
    assert metrics.against_halves(b[:400], a[:800]) > 20
