import json
from pathlib import Path

import numpy as np
import pytest
import torch

from facevae import Gaussian, metrics, prepare
from facevae.model import FaceVAE, ModelConfig
from facevae.stored import NotAModel


def test_psnr_of_known_errors():
    a = torch.full((2, 3, 8, 8), 0.5)
    assert torch.allclose(metrics.psnr(a, a + 0.1), torch.full((2,), 20.0), atol=1e-4)
    assert metrics.psnr(a, a).isinf().all()


def test_l1_of_a_known_error():
    a = torch.full((2, 3, 8, 8), 0.5)
    assert torch.allclose(metrics.l1(a, a - 0.1), torch.full((2,), 0.1))


def test_a_paired_difference_is_sharper_than_its_parts():
    """The faces' own spread (10) drops out; the interval is that of the difference (0.1/√400)."""
    generator = torch.Generator().manual_seed(0)
    b = 10 * torch.randn(400, generator=generator)
    a = b + 1.0 + 0.1 * torch.randn(400, generator=generator)
    found = metrics.paired(a, b)
    assert found["low"] < 1.0 < found["high"] and found["low"] < found["mean"] < found["high"]
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * 0.1 / 20, rel=0.2)


def test_evaluate_sets_a_model_against_another(faces, tmp_path, capsys):
    from facevae.__main__ import main

    for seed in (0, 1):
        torch.manual_seed(seed)
        model = FaceVAE(ModelConfig((3, 32, 32), latents=4, channels=(4, 8)))
        model.save_pretrained(tmp_path / str(seed))
    one, other = str(tmp_path / "0"), str(tmp_path / "1")
    assert main(["evaluate", one, "--data", str(faces.folder), "--against", other]) == 0
    found = json.loads(capsys.readouterr().out)
    against = found["against"][other]
    assert against["psnr_difference"]["mean"] == pytest.approx(
        found["psnr"] - against["psnr"], abs=2e-3
    )
    assert found["pca_psnr"] > found["psnr"]  # of a model that was never trained
    assert "mig" not in found  # 60 drawn faces are too few, and nobody asked
    small = FaceVAE(ModelConfig((3, 16, 16), latents=4, channels=(4, 8)))
    small.save_pretrained(tmp_path / "small")
    asked = ["evaluate", one, "--data", str(faces.folder), "--against", str(tmp_path / "small")]
    assert main(asked) == 2
    assert "reads pictures of shape (3, 16, 16)" in capsys.readouterr().err
    assert main(["evaluate", one, "--data", str(faces.folder), "--factors", "race"]) == 2
    assert "no label 'race'" in capsys.readouterr().err
    assert main(["evaluate", one, "--data", str(faces.folder), "--factors", "content"]) == 2
    assert "no label 'content'" in capsys.readouterr().err


def test_evaluate_scores_drawn_faces_of_itself_and_others_by_the_labels_named(
    tmp_path, capsys, monkeypatch
):
    """A stand-in for the posterior that is two factors themselves: their gap is near 1."""
    from facevae.__main__ import main

    drawn = prepare("synthetic", out=tmp_path / "faces", size=16, count=240, progress=False)
    labels = np.stack([drawn.labels["age"], drawn.labels["light"]], axis=1)

    def posteriors(model, faces, rows, batch=64):
        exact = torch.from_numpy(labels[rows])
        return Gaussian(exact if model.config.latents == 2 else 0 * exact, 0 * exact)

    monkeypatch.setattr(metrics, "posteriors", posteriors)
    for latents in (2, 3):
        model = FaceVAE(ModelConfig((3, 16, 16), latents=latents, channels=(4, 8)))
        model.save_pretrained(tmp_path / str(latents))
    asked = ["evaluate", str(tmp_path / "2"), "--data", str(drawn.folder), "--no-pca"]
    other = str(tmp_path / "3")
    assert main([*asked, "--factors", "age", "light", "--against", other]) == 0
    found = json.loads(capsys.readouterr().out)
    # 240 faces in 20 × 20 cells: chance alone looks like about half of the information
    assert found["mig"] > 0.3 and found["sap"] > 0.9 and found["against"][other]["mig"] == 0.0
    assert main(asked) == 0  # unasked: all that they were drawn from, most of them not in the code
    assert 0 < json.loads(capsys.readouterr().out)["sap"] < 0.5


def test_models_share_the_faces_whose_conditions_are_known(tmp_path):
    faces = prepare("synthetic", out=tmp_path / "faces", size=16, count=4, progress=False)
    faces.labels["gender"][1] = -1
    plain = FaceVAE(ModelConfig((3, 16, 16), latents=4, channels=(4, 8)))
    aware = FaceVAE(ModelConfig((3, 16, 16), latents=4, channels=(4, 8), conditions=("gender",)))
    assert metrics.readable(faces, {"plain": plain}).tolist() == [0, 1, 2, 3]
    assert metrics.readable(faces, {"plain": plain, "aware": aware}).tolist() == [0, 2, 3]


def test_a_model_comes_from_the_hub_without_a_pickle(tmp_path, monkeypatch):
    import huggingface_hub

    model = FaceVAE(ModelConfig((3, 16, 16), latents=4, channels=(4, 8)))
    model.save_pretrained(tmp_path)
    asked = {}

    def download(name, allow_patterns):
        asked.update(name=name, patterns=allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    for name in ("hub:owner/name", "owner/name"):
        asked.clear()
        loaded = FaceVAE.from_pretrained(name)
        assert asked["name"] == "owner/name"
        assert all(p.endswith((".json", ".safetensors")) for p in asked["patterns"])
        assert torch.equal(loaded.decoder.dense.weight, model.decoder.dense.weight)
    asked.clear()
    Path("runs").mkdir()
    for name in ("runs/slip", "slip", "./owner/name", "owner/name/best"):
        with pytest.raises(NotAModel, match="No such file"):
            FaceVAE.from_pretrained(name)
    assert not asked  # the Hub was not asked


def test_a_name_that_the_hub_has_not_is_one_sentence(tmp_path, monkeypatch):
    import huggingface_hub

    def download(name, allow_patterns):
        raise OSError("404 Client Error.\nA page of advice.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotAModel, match=r"no folder owner/name here.*404 Client Error\.") as caught:
        FaceVAE.from_pretrained("owner/name")
    assert "\n" not in str(caught.value)


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
