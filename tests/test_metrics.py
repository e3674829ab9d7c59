import numpy as np
import pytest
import torch

from facevae import metrics, prepare
from facevae.model import FaceVAE, ModelConfig


def test_psnr_of_known_errors():
    a = torch.full((2, 3, 8, 8), 0.5)
    assert torch.allclose(metrics.psnr(a, a + 0.1), torch.full((2,), 20.0), atol=1e-4)
    assert metrics.psnr(a, a).isinf().all()


def test_ssim_is_one_for_equal_and_falls_with_noise():
    a = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(metrics.ssim(a, a), torch.ones(2))
    assert (metrics.ssim(a, 1 - a) < 0.2).all()


def test_pca_with_every_component_is_exact_and_with_few_is_not(tmp_path):
    faces = prepare("synthetic", out=tmp_path / "faces", size=28, count=60, progress=False)
    rows = np.arange(40)
    assert metrics.pca_psnr(faces, rows, rows, 40) > 50
    assert metrics.pca_psnr(faces, rows, np.arange(40, 60), 5) < 25


def test_evaluate_adds_up_and_repeats(tmp_path):
    faces = prepare("synthetic", out=tmp_path / "faces", size=32, count=40, progress=False)
    model = FaceVAE(ModelConfig((3, 32, 32), latents=4, channels=(4, 8))).eval()
    figures = metrics.evaluate(model, faces, np.arange(33), batch=16)
    assert figures == metrics.evaluate(model, faces, np.arange(33), batch=16)
    assert figures["negative_elbo"] == pytest.approx(figures["reconstruction"] + figures["kl"])
    assert 0 < figures["psnr"] < 30 and 0 <= figures["active_units"] <= 4
