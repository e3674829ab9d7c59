"""`evaluate` from a trained folder to a table, or to JSON."""

import json
import re
import sys

import numpy as np
import pytest
import torch

from facevae.__main__ import main
from facevae.evaluation import metrics
from facevae.evaluation.edits import evaluate_studio
from facevae.studio import Studio
from tests.unit.features_stand_in import colours_as_features  # noqa: F401


def printed(capsys, run, faces, *options):
    assert main(["evaluate", str(run / "best"), "--data", str(faces.folder), *options]) == 0
    return capsys.readouterr().out


@pytest.mark.usefixtures("colours_as_features")
def test_edits_ages_and_samples_are_evaluated(drawn_faces, tiny_conditional_run, capsys):
    found = json.loads(printed(capsys, tiny_conditional_run, drawn_faces, "--edits", "--json"))
    assert found["edits"]["+Male"]["faces"] > 0 and 0 <= found["edits"]["+Male"]["read"] <= 1
    assert found["studio"]["PSNR of PCA, dB"]["mean"] > 10
    assert "too few faces about these ages" in found["ages"]  # of 30
    assert re.search(r"^unchanged photo, to the bit +yes$", metrics.text(found), re.MULTILINE)


@pytest.mark.usefixtures("colours_as_features")
def test_a_pretrained_autoencoder_stands_beside_the_model(drawn_faces, tiny_run, tmp_path, capsys):
    diffusers = pytest.importorskip("diffusers", reason="it is in tests/requirements.txt")
    torch.manual_seed(0)
    pretrained = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8), norm_num_groups=4,
    )  # fmt: skip
    pretrained.save_pretrained(tmp_path / "kl")
    name = f"diffusers:{tmp_path / 'kl'}"
    found = printed(capsys, tiny_run, drawn_faces, "--against", name, "--json")
    figures = json.loads(found)["figures"]
    assert set(figures["psnr"]) == {"this model", "PCA", name}
    assert figures["psnr"][name]["mean"] < figures["psnr"]["this model"]["mean"]  # untrained
    assert "negative_elbo" in figures and name not in figures["negative_elbo"]
    images = drawn_faces.tensor(np.arange(3))
    with torch.no_grad():
        decoded = ((pretrained.eval()(2 * images - 1).sample + 1) / 2).clamp(0, 1)
    reconstruct = metrics.autoencoder_kl(name)
    assert torch.allclose(reconstruct(images), decoded, atol=1e-5)
    grey = reconstruct(images[:, :1, :27, :21])  # one colour, sides that cannot be halved
    assert grey.shape == (3, 1, 27, 21)


def test_what_cannot_be_is_one_sentence(drawn_faces, grey_faces, tiny_run, monkeypatch, capsys):
    command = ["evaluate", str(tiny_run / "best"), "--data", str(drawn_faces.folder), "--no-pca"]
    monkeypatch.setitem(sys.modules, "diffusers", None)
    assert main([*command, "--against", "diffusers:nowhere"]) == 2
    assert "pip install diffusers" in capsys.readouterr().err
    with pytest.raises(ValueError, match="--framing face"):
        evaluate_studio(Studio.load(tiny_run / "best"), None, grey_faces)


def test_tables_line_up_and_name_what_leaks():
    share = {"mean": 0.9, "low": 0.8, "high": 1.0}
    put_on = {"faces": 20, "turned": share, "leaks": {"Male": 0.3}}
    figures = {"PSNR": share | {"mean": 25.123}, "same": True, "loss": 12345.6, "none": None}
    found = {"edits": {"+Bald": put_on, "−Bald": {"faces": 1}}, "studio": figures}
    edits, studio = metrics.text(found).split("\n\n")
    assert edits.split("\n") == [
        "edits  faces  turned               leaks",
        "+Bald  20     0.900 (0.800–1.000)  Male 0.300",
        "−Bald  1      –                    –",
    ]
    assert "25.12 (0.800–1.000)" in studio and "yes" in studio and "12346" in studio
