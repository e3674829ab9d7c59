"""Evaluation classifier: linear heads on frozen ImageNet features, fitted to real labels alone. It
is of another architecture than what trains a model, and in no loss: none learns to please it."""

from functools import cache
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils.class_weight import compute_sample_weight
from torch import Tensor

from facevae.config import ATTRIBUTES
from facevae.data.face_set import FaceSet, evenly
from facevae.models.classifier import imagenet, resized

LABELS = (*ATTRIBUTES, "Young", "age")  # by CelebA's names
SIDE, POOLED, MIDDLE_BLOCK = 128, 1280, 10  # pixels; features of the last layer; a block before
MAX_WEIGHT = 20.0  # of a face of a rare kind, in faces
HEAD_C, AGE_ALPHA = 1.25, 0.7  # regularisation, as scikit-learn has it
backbone = cache(imagenet)  # EfficientNet-Lite1


@torch.inference_mode()
def features(images: Tensor) -> Tensor:
    """ImageNet features of images (N, 1 or 3, H, W) in [0, 1], (N, 6400): POOLED of the last layer,
    averaged over the picture, then those of a block before, which keep their place."""
    network, middle, found = backbone(1), [], []
    hook = network._blocks[MIDDLE_BLOCK].register_forward_hook(lambda *call: middle.append(call[2]))
    with hook, torch.autocast("cpu", torch.bfloat16):  # a third of the time, the same accuracy
        for part in images.split(64):
            x = (255.0 * resized(part, SIDE) - 127.0) / 128.0  # (N, 3, SIDE, SIDE)
            x = x.contiguous(memory_format=torch.channels_last)
            last = network.extract_features(x).float().mean((2, 3))  # (N, 1280, 4, 4)
            found.append(torch.cat([last, middle.pop().float().flatten(1)], dim=1))  # (N, 80, 8, 8)
    return torch.cat(found)


def held_out(classifier: Any, faces: FaceSet, seed: int = 0) -> dict[str, float]:
    """How well a classifier (of editing, too) reads 2,000 test faces: the balanced accuracy of each
    attribute, NaN where they do not show both classes, and the mean error of `age` in years."""
    rows, report = evenly(faces.split(seed)["test"], 2000), {}
    for name, read in classifier.predict(faces.tensor(rows)).items():
        label, values = faces.known_labels([name])[rows, 0], read.numpy()
        right = [((values > 0.5) == side)[label == side] for side in (0, 1)]
        parts = [np.abs(values - label)[~np.isnan(label)]] if name == "age" else right
        report[name] = float(np.mean([part.mean() if len(part) else np.nan for part in parts]))
    return report


class EvaluationClassifier:
    """Attributes and age of pictures, by linear heads on frozen features: `heads`, name → model,
    fitted to at most `most` labelled training faces; `report`, what `held_out` says of them. All
    classes (of age: decades) weigh the same, and so do men and women within them unless one is
    rare: else a head would read a beard off a jaw."""

    def __init__(self, faces: FaceSet, most: int = 12_000) -> None:
        rows, self.heads = evenly(faces.split()["train"], most), {}
        parts = np.array_split(rows, 1 + len(rows) // 1000)  # not all pictures in memory at once
        x = torch.cat([features(faces.tensor(part)) for part in parts]).numpy()
        labels = faces.known_labels(LABELS)[rows]
        self.mean, self.spread = x.mean(axis=0), x.std(axis=0).clip(1e-3)
        x = (x - self.mean) / self.spread
        sides = np.nan_to_num(labels[:, LABELS.index("Male")], nan=2)
        for name, y in zip(LABELS, labels.T, strict=True):
            known = ~np.isnan(y)
            classes = (y[known] // 10 if name == "age" else y[known]).astype(int)
            if len(set(classes)) < 2:
                continue
            weights = compute_sample_weight("balanced", 3 * classes + sides[known])
            weights = weights.clip(max=MAX_WEIGHT)
            weights /= np.bincount(classes, weights)[classes]
            head = Ridge(AGE_ALPHA) if name == "age" else LogisticRegression(C=HEAD_C, max_iter=200)
            self.heads[name] = head.fit(x[known], y[known], weights)
        if not self.heads:
            raise ValueError(f"these faces carry none of the labels {LABELS}: name CelebA's faces")
        self.report = held_out(self, faces)

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        return self.read(features(images))

    def read(self, found: Tensor) -> dict[str, Tensor]:
        """Probabilities (N,) by attribute, and `age` in years, of features (N, F)."""
        x, read = (found.numpy() - self.mean) / self.spread, {}
        for name, head in self.heads.items():
            values = head.predict(x) if name == "age" else head.predict_proba(x)[:, 1]
            read[name] = torch.from_numpy(values).float()
        return read
