"""Teaching a judge: by which faces, how disturbed, and for which loss.

It meets blurred, shifted, darker and brighter faces, so that it can read what a decoder draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from facevae.data import FaceSet
from facevae.judge import (
    AGE_UNIT,
    Heads,
    Judge,
    JudgeConfig,
    ages,
    attributes,
    middles,
    pictures,
    sized,
)
from facevae.memory import keep_freed

SPREAD, SPREAD_SHARE = 4.0, 0.3  # years, standard deviation: near ages are nearly right; weight
RATE, DECAY = 3e-3, 0.05  # of AdamW: the highest of the one cycle; of the weights


@dataclass(frozen=True)
class _Lessons:
    """Pictures (N, S, S, 3) uint8, targets (N, K) with NaN for unknown, weights (N, K)."""

    images: Tensor
    targets: Tensor
    weights: Tensor


def train_judge(
    sets: Sequence[tuple[FaceSet, np.ndarray]],
    names: Sequence[str] | None = None,
    epochs: int = 8,
    seed: int = 0,
    size: int = 64,
    batch: int = 64,
) -> Judge:
    """Teach a judge every label that the rows of the face sets carry; unknown ones are skipped.

    Each class of an attribute weighs the same, and each age band nearly so. On the CPU, where it
    takes minutes; one seed gives one judge.

    Args:
        names: attributes to read; all there are by default.

    Raises:
        ValueError: a name that no set carries, or nothing to learn.
    """
    carried = [attributes(faces) for faces, _ in sets]
    there = list(dict.fromkeys(name for labels in carried for name in labels))
    for name in names or ():
        if name not in there:
            raise ValueError(f"no faces carry the label {name!r}: there are {', '.join(there)}")
    with_age = any((ages(faces)[rows] >= 0).any() for faces, rows in sets)
    config = JudgeConfig(tuple(names if names is not None else there), with_age, size)
    if not config.attributes and not config.age:
        raise ValueError("these faces carry no label that a judge could learn")
    lessons = _lessons(sets, carried, config)
    keep_freed()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = Judge(config)
        _learn(judge, lessons, epochs, batch, torch.Generator().manual_seed(seed))
    judge.half().float()  # as it will be saved
    return judge.requires_grad_(False).eval()


def _learn(
    judge: Judge, lessons: _Lessons, epochs: int, batch: int, generator: torch.Generator
) -> None:
    batch = min(batch, len(lessons.images))
    steps = epochs * (len(lessons.images) // batch)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, max(steps, 2))
    judge.train()
    for _ in tqdm(range(epochs), desc="teaching", unit=" epoch", delay=5):
        order = torch.randperm(len(lessons.images), generator=generator)
        for rows in order[: len(order) - len(order) % batch].split(batch):
            images = lessons.images[rows].permute(0, 3, 1, 2).float() / 255  # (M, 3, S, S)
            features = judge.features(disturbed(images, generator))
            loss = _loss(judge.heads, features, lessons.targets[rows], lessons.weights[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()


def _loss(heads: Heads, features: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of attributes and absolute error of age, over what is known.

    The age's distribution is held to one about the true age, too.
    """
    outputs, known, targets = heads(features), ~targets.isnan(), targets.nan_to_num()  # (N, K)
    lines = heads.lines.out_features
    losses = F.binary_cross_entropy_with_logits(
        outputs[:, :lines], targets[:, :lines], reduction="none"
    )
    if heads.ages is not None:
        off = (middles() - AGE_UNIT * targets[:, -1:]) / SPREAD  # (N, BINS)
        wanted = (-0.5 * off.square()).softmax(1)
        spread = F.cross_entropy(heads.ages(features), wanted, reduction="none")
        error = (outputs[:, -1] - targets[:, -1]).abs() + SPREAD_SHARE * spread
        losses = torch.cat([losses, error[:, None]], dim=1)
    return (losses * weights * known).sum(0).div(known.sum(0).clamp(min=1)).sum()


def disturbed(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (N, 3, S, S) mirrored, shifted, scaled, blurred, darkened … at random, each its own.

    Half are mirrored and two thirds blurred by a Gaussian of up to 1.5 pixels: decoders draw so.
    """
    count = len(images)

    def between(low: float, high: float) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=generator) * (high - low) + low

    mirror = torch.where(between(0, 1) < 0.5, -1.0, 1.0)[:, 0, 0, 0]
    scale = between(0.92, 1.08)[:, 0, 0, 0]
    shift = torch.rand(count, 2, generator=generator) * 0.16 - 0.08  # ± 4 % of S
    images = moved(images, mirror, scale, shift)
    sigma = torch.rand(1, generator=generator).item() * 1.2 + 0.3  # pixels, one a batch
    images = torch.where(between(0, 1) < 2 / 3, blurred(images, sigma), images)
    tint = torch.rand(count, 3, 1, 1, generator=generator) * 0.06 - 0.03
    images = (images - 0.5) * between(0.75, 1.25) + 0.5 + between(-0.12, 0.12) + tint
    return images.clamp(0, 1)


def moved(images: Tensor, mirror: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Images (N, C, S, S), each looked at anew: mirrored where `mirror` (N,) is −1, not 1, its
    frame `scale` (N,) times as wide and moved by `shift` (N, 2) in halves of the side."""
    transform = torch.zeros(len(images), 2, 3)
    transform[:, 0, 0], transform[:, 1, 1] = mirror * scale, scale
    transform[:, :, 2] = shift
    grid = F.affine_grid(transform, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Images (N, C, H, W) under a Gaussian of `sigma` pixels, cut at 4 of them."""
    taps = torch.exp(-0.5 * (torch.arange(-4, 5) / sigma) ** 2)
    taps = (taps / taps.sum()).repeat(images.shape[1], 1, 1, 1)  # (C, 1, 1, 9)
    groups = images.shape[1]
    images = F.conv2d(F.pad(images, (4, 4, 0, 0), "replicate"), taps, groups=groups)
    return F.conv2d(F.pad(images, (0, 0, 4, 4), "replicate"), taps.mT, groups=groups)


def _lessons(
    sets: Sequence[tuple[FaceSet, np.ndarray]],
    carried: Sequence[dict[str, np.ndarray]],
    config: JudgeConfig,
) -> _Lessons:
    images, parts = [], []
    for (faces, rows), labels in zip(sets, carried, strict=True):
        unknown = np.full(len(faces), -1)
        columns = [labels.get(name, unknown)[rows].astype(float) for name in config.attributes]
        if config.age:
            columns.append(ages(faces)[rows] / AGE_UNIT)
        table = np.stack(columns, axis=1)
        parts.append(np.where(table < 0, np.nan, table))
        small = [sized(part, config.size) for part in pictures(faces, rows)]
        images += [part.mul(255).round().byte().permute(0, 2, 3, 1) for part in small]
    targets = np.concatenate(parts).astype(np.float32)
    weights = np.ones_like(targets)
    for k in range(targets.shape[1]):
        last = config.age and k == targets.shape[1] - 1
        weights[:, k] = _evened(np.floor(targets[:, k] * AGE_UNIT / 10) if last else targets[:, k])
    return _Lessons(torch.cat(images), torch.from_numpy(targets), torch.from_numpy(weights))


def _evened(classes: np.ndarray) -> np.ndarray:
    """Weights (N,) of mean about 1 under which classes (NaN: none) count alike, 4 at most."""
    known = ~np.isnan(classes)
    weights = np.zeros(len(classes), np.float32)
    if known.any():
        _, which, counts = np.unique(classes[known], return_inverse=True, return_counts=True)
        weights[known] = np.minimum(known.sum() / len(counts) / counts[which.reshape(-1)], 4.0)
    return weights
