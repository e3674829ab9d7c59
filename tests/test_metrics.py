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


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("metrics")
    return prepare("synthetic", out=folder / "faces", size=32, count=60, progress=False)


def test_figures_of_a_model_add_up_and_repeat(faces):
    model = FaceVAE(ModelConfig((3, 32, 32), latents=4, channels=(4, 8))).eval()
    table = metrics.per_face(model, faces, np.arange(33), batch=16)
    again = metrics.per_face(model, faces, np.arange(33), batch=16)
    assert all(torch.equal(values, again[name]) for name, values in table.items())
    figures = metrics.summary(table)
    assert figures["negative_elbo"] == pytest.approx(figures["reconstruction"] + figures["kl"])
    assert 0 < figures["psnr"] < 30 and 0 <= figures["active_units"] <= 4


def test_groups_average_their_own_faces(faces):
    rows = np.arange(60)
    groups = metrics.by_group(torch.from_numpy(faces.labels["gender"].astype(float)), faces, rows)
    assert groups["gender male"]["mean"] == 0.0 and groups["gender female"]["mean"] == 1.0
    assert groups["gender male"]["faces"] + groups["gender female"]["faces"] == 60
    assert sum(v["faces"] for k, v in groups.items() if k.startswith("age")) <= 60
