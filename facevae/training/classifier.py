"""Training of the attribute classifier, on faces that are moved, blurred and lit anew each time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from facevae.data.face_set import FaceSet
from facevae.models.classifier import AttributeClassifier, ClassifierConfig, middles, resized

SPREAD = 4.0  # years, standard deviation: near ages are nearly right
RATE, DECAY = 3e-3, 0.05  # of AdamW: the highest rate of the one cycle; of the weights
RARE = 4.0  # a class weighs at most this many times what it would by its share


def train_classifier(
    sets: Sequence[tuple[FaceSet, np.ndarray]],
    config: ClassifierConfig,
    epochs: int = 4,
    seed: int = 0,
    batch: int = 64,
    progress: bool = True,
) -> AttributeClassifier:
    """Train a classifier on rows of several face sets; what a set does not label is skipped.

    Args:
        sets: prepared faces and their row numbers.
        config: which attributes it reads. `Male` is read from a label `gender`, too.

    Raises:
        ValueError: an attribute that no set carries.
    """
    tables = [_targets(faces, rows, config) for faces, rows in sets]
    targets = torch.cat(tables)  # (N, A + 1), NaN where unknown
    for name, column in zip(config.attributes, targets.T, strict=False):
        if column.isnan().all():
            raise ValueError(f"no faces carry the label {name!r}: leave it out or add faces")
    weights = _weights(targets, len(config.attributes))
    places = [(s, int(r)) for s, (_, rows) in enumerate(sets) for r in rows]
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = AttributeClassifier(config)
        steps = max(2, epochs * (len(places) // batch))
        optimizer = torch.optim.AdamW(classifier.parameters(), lr=RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
        classifier.train()
        rows_of = torch.empty(0, dtype=torch.long)
        for _ in tqdm(range(steps), desc="classifier", disable=not progress):
            if len(rows_of) < batch:
                rows_of = torch.randperm(len(places), generator=generator)
            rows, rows_of = rows_of[:batch], rows_of[batch:]
            images = torch.stack([_picture(sets[s][0], r) for s, r in (places[i] for i in rows)])
            images = disturbed(resized(images, config.size), generator)
            loss = _loss(classifier, images, targets[rows], weights[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    classifier.half().float()  # as it will be saved
    return classifier.requires_grad_(False).eval()


def _picture(faces: FaceSet, row: int) -> Tensor:
    """(3, S, S) in [0, 1]."""
    return faces.tensor(np.array([row]))[0].expand(3, -1, -1)


def _targets(faces: FaceSet, rows: np.ndarray, config: ClassifierConfig) -> Tensor:
    """(M, A + 1): 0, 1 or NaN for each attribute, and years."""
    unknown = np.full(len(faces), -1)
    columns = []
    for name in config.attributes:
        values = faces.labels.get(name, unknown)
        gender = faces.labels.get("gender")
        if name == "Male" and name not in faces.labels and gender is not None:
            values = np.where(gender < 0, -1, 1 - gender)
        columns.append(values[rows])
    columns.append(faces.labels.get("age", unknown)[rows])
    table = np.stack(columns, axis=1).astype(np.float32)
    return torch.from_numpy(np.where(table < 0, np.nan, table))


def _weights(targets: Tensor, attributes: int) -> Tensor:
    """(N, A + 1): both classes of an attribute weigh alike, and each decade nearly so."""
    weights = torch.ones_like(targets)
    for k in range(targets.shape[1]):
        classes = targets[:, k] if k < attributes else (targets[:, k] / 10).floor().clamp(0, 8)
        known = classes[~classes.isnan()].long()
        if len(known):
            counts = torch.bincount(known).clamp(min=1)
            share = len(known) / counts / (counts > 1).sum().clamp(min=1)
            weights[:, k] = share.clamp(max=RARE)[classes.nan_to_num().long()]
    return weights


def _loss(
    classifier: AttributeClassifier, images: Tensor, targets: Tensor, weights: Tensor
) -> Tensor:
    """Cross entropy of attributes and of the age's distribution, over what is known."""
    logits, spans = classifier(images)
    known, targets = ~targets.isnan(), targets.nan_to_num()  # (N, A + 1)
    losses = F.binary_cross_entropy_with_logits(logits, targets[:, :-1], reduction="none")
    if spans is not None:
        off = (middles() - targets[:, -1:]) / SPREAD  # (N, SPANS)
        wanted = (-0.5 * off.square()).softmax(dim=1)
        losses = torch.cat(
            [losses, F.cross_entropy(spans, wanted, reduction="none")[:, None]], dim=1
        )
    width = losses.shape[1]
    total = (losses * weights[:, :width] * known[:, :width]).sum(dim=0)
    return total.div(known[:, :width].sum(dim=0).clamp(min=1)).sum()


def disturbed(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (N, 3, S, S) mirrored, moved, scaled, blurred and lit at random, each its own."""
    count = len(images)

    def between(low: float, high: float) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=generator) * (high - low) + low

    mirror = torch.where(between(0, 1) < 0.5, -1.0, 1.0)[:, 0, 0, 0]
    scale = between(0.92, 1.08)[:, 0, 0, 0]
    transform = torch.zeros(count, 2, 3)
    transform[:, 0, 0], transform[:, 1, 1] = mirror * scale, scale
    transform[:, :, 2] = torch.rand(count, 2, generator=generator) * 0.16 - 0.08  # ± 4 % of S
    grid = F.affine_grid(transform, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    sigma = torch.rand(1, generator=generator).item() * 1.2 + 0.3  # pixels, one a batch
    images = torch.where(between(0, 1) < 1 / 2, blurred(images, sigma), images)
    tint = torch.rand(count, 3, 1, 1, generator=generator) * 0.06 - 0.03
    images = (images - 0.5) * between(0.75, 1.25) + 0.5 + between(-0.12, 0.12) + tint
    return images.clamp(0, 1)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Images (N, C, H, W) under a Gaussian of `sigma` pixels, cut at 4 of them."""
    taps = torch.exp(-0.5 * (torch.arange(-4, 5) / sigma) ** 2)
    groups = images.shape[1]
    taps = (taps / taps.sum()).repeat(groups, 1, 1, 1)  # (C, 1, 1, 9)
    images = F.conv2d(F.pad(images, (4, 4, 0, 0), "replicate"), taps, groups=groups)
    return F.conv2d(F.pad(images, (0, 0, 4, 4), "replicate"), taps.mT, groups=groups)
