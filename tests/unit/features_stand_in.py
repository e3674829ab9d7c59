"""A stand-in for the ImageNet features: the mean colours of the cells of a picture."""

import json

import numpy as np
import pytest
from torch.nn import functional as F

from facevae.data.face_set import FaceSet
from facevae.evaluation import classifier, edits


def colour_features(images):
    """(N, C, H, W) → (N, 48)."""
    return F.adaptive_avg_pool2d(images.expand(-1, 3, -1, -1), 4).flatten(1)


@pytest.fixture
def colours_as_features(monkeypatch):
    for module in (classifier, edits):
        monkeypatch.setattr(module, "features", colour_features)


def write_faces(folder, images, **labels):
    """Prepared faces of pictures (N, H, W, 3) from 0 to 255."""
    np.save(folder / "images.npy", images.clip(0, 255).round().astype(np.uint8))
    content = np.arange(len(images), dtype=np.uint64) * 7919
    np.savez(folder / "labels.npz", content=content, **labels)
    about = {"source": "celeba", "options": {"framing": "head"}}
    (folder / "manifest.json").write_text(json.dumps(about))
    return FaceSet(folder)
