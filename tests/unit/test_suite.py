"""evaluation.suite: `evaluate --edits` from a trained folder to a table."""

import json

import numpy as np
import pytest
import torch

from facevae.__main__ import main
from facevae.evaluation import classifier, edits, features, suite
from facevae.studio import Studio
from tests.unit.features_stand_in import colour_features


@pytest.fixture
def stand_in(monkeypatch):
    for module in (features, classifier, edits, suite):
        monkeypatch.setattr(module, "features", colour_features)
    monkeypatch.setattr(features, "backbone", lambda: None)


def test_conditions_that_have_no_label_are_read(drawn_faces, tiny_conditional_run, tiny_run):
    studio, rows = Studio.load(tiny_conditional_run / "best"), np.arange(20)
    known = torch.from_numpy(drawn_faces.conditions(("age", "gender"))[rows])
    assert torch.equal(suite.filled_conditions(studio, drawn_faces, rows), known)
    gender = drawn_faces.labels["gender"].copy()
    try:
        drawn_faces.labels["gender"][:10] = -1
        filled = suite.filled_conditions(studio, drawn_faces, rows)
    finally:
        drawn_faces.labels["gender"][:] = gender
    assert torch.equal(filled[10:], known[10:]) and torch.equal(filled[:, 0], known[:, 0])
    assert filled.isfinite().all() and not torch.equal(filled[:10, 1], known[:10, 1])
    assert suite.filled_conditions(Studio.load(tiny_run / "best"), drawn_faces, rows) is None


@pytest.mark.parametrize("kind", ["json", "tables"])
def test_edits_ages_and_samples_are_evaluated(
    kind, drawn_faces, tiny_conditional_run, tmp_path, stand_in, capsys
):
    data = str(drawn_faces.folder)
    command = ["evaluate", str(tiny_conditional_run / "best"), "--data", data, "--no-pca",
               "--part", "train", "--edits", "--classifier", str(tmp_path), "--classifier-data",
               data, "--faces", "10"]  # fmt: skip
    assert main([*command, *(["--json"] if kind == "json" else [])]) == 0
    text = capsys.readouterr().out
    if kind == "tables":
        assert "+Male" in text and "unchanged photo, to the bit" in text and "an edit" not in text
        return
    found = json.loads(text)["studio"]
    assert found["classifier"]["Male"] > 0.5 and found["unchanged"] is True
    assert found["attributes"]["Male"]["on"]["faces"] > 0
    assert found["milliseconds"]["edit"] > 0 and found["milliseconds"]["whole photo"] > 0
    assert found["realism"]["samples"]["halves"] > 0
    assert set(found["ages"]["read"]) == {"20", "30", "40", "50", "60", "70"}


def test_faces_of_another_framing_are_refused(grey_faces, tiny_run):
    studio = Studio.load(tiny_run / "best")
    with pytest.raises(ValueError, match="--framing face"):
        suite.evaluate_studio(studio, grey_faces, "test", None)
