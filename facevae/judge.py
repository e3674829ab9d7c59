"""A judge of edits: a small network that reads attributes and age off a picture.

It is trained apart, on the training split alone, and is never part of a model's loss: a model
could learn to please it. It meets blurred, shifted, darker and brighter faces in training, so that
it can read what a decoder draws.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from facevae.data import FaceSet
from facevae.files import write_safetensors, write_text

FORMAT = 1  # of judge.json
AGE_UNIT = 25.0  # years that count as 1 in the network, so that age weighs about as an attribute
YOUNG, OLD = 35, 50  # years: younger than the one is `Young`, older than the other is not
MIDDLE = (YOUNG + OLD) / 2
Readings = dict[str, Tensor]
"""Attribute → probability (N,) in [0, 1]; "age" → years (N,)."""


UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)


class NotAJudge(ValueError):
    """A folder that holds no judge which this version can read."""


@dataclass(frozen=True)
class JudgeConfig:
    """What a judge reads, and from pictures of which size (others are resized)."""

    attributes: tuple[str, ...]
    age: bool
    size: int = 64
    channels: tuple[int, ...] = (24, 48, 96, 160)


class Judge(nn.Module):
    """Strided convolutions, averaged over the picture's quarters, then a line for each label.

    `about` is kept with it: what it was taught by, as far as JSON holds it.
    """

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        self.about: dict[str, Any] = {}
        inputs, stages = 3, []
        for channels in config.channels:
            stages += [nn.Conv2d(inputs, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels)]
            stages.append(nn.ReLU())
            inputs = channels
        self.stages = nn.Sequential(*stages)
        self.dense = nn.Linear(4 * inputs, 128)
        self.heads = nn.Linear(128, len(config.attributes) + config.age)

    def features(self, images: Tensor) -> Tensor:
        """The last layer before the labels: images (N, 1 or 3, H, W) in [0, 1] → (N, 128)."""
        return self._features(sized(images, self.config.size))

    def _features(self, images: Tensor) -> Tensor:
        maps = self.stages(2 * images - 1)  # (N, 3, S, S) -> (N, C, s, s)
        return F.relu(self.dense(F.adaptive_avg_pool2d(maps, 2).flatten(1)))  # (N, 4C) -> (N, 128)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures of the judge's own size → logits, and age in its unit last, (N, K)."""
        return self.heads(self._features(images))

    @torch.inference_mode()
    def read(self, images: Tensor, batch: int = 256) -> Readings:
        """What it reads off images (N, 1 or 3, H, W) in [0, 1]."""
        pieces = [self(sized(part, self.config.size)) for part in images.split(batch)]
        outputs = torch.cat(pieces) if pieces else torch.zeros(0, self.heads.out_features)
        names = self.config.attributes
        readings = {name: outputs[:, i].sigmoid() for i, name in enumerate(names)}
        return readings | ({"age": outputs[:, -1] * AGE_UNIT} if self.config.age else {})

    def save(self, folder: str | Path) -> None:
        """Write `judge.json` and `judge.safetensors`."""
        folder = Path(folder)
        config = {"format": FORMAT, "config": asdict(self.config), "about": self.about}
        write_text(folder / "judge.json", json.dumps(config, indent=1) + "\n")
        write_safetensors(folder / "judge.safetensors", self.state_dict())

    @classmethod
    def load(cls, folder: str | Path) -> Judge:
        """Read what `save` wrote, in eval mode.

        Raises:
            NotAJudge: a file is missing, foreign or of another format.
        """
        folder = Path(folder)
        try:
            held = json.loads((folder / "judge.json").read_text(encoding="utf-8"))
            if held.get("format") != FORMAT:
                raise ValueError(f"its format is {held.get('format')}, this reads {FORMAT}")
            fields: dict[str, Any] = dict(held["config"])
            fields |= {k: tuple(v) for k, v in fields.items() if isinstance(v, list)}
            judge = cls(JudgeConfig(**fields))
            judge.load_state_dict(load_file(folder / "judge.safetensors"))
            judge.about = held["about"]
        except (*UNREADABLE, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise NotAJudge(f"{folder} holds no judge that can be read ({reason})") from error
        return judge.requires_grad_(False).eval()


def sized(images: Tensor, size: int) -> Tensor:
    """Colour or grey images (N, 1 or 3, H, W) → (N, 3, size, size)."""
    if images.shape[-2:] != (size, size):
        images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
    return images.expand(-1, 3, -1, -1)


def attributes(faces: FaceSet) -> dict[str, np.ndarray]:
    """The yes-or-no labels of faces by CelebA's names: (N,) int8 of 1, 0 and −1 (unknown).

    `gender` becomes `Male`; a label that repeats another is left out.
    """
    found: dict[str, np.ndarray] = {}
    for name, values in faces.labels.items():
        if values.dtype.kind == "i" and set(np.unique(values)) - {-1} == {0, 1}:
            if name == "gender":
                name, values = "Male", np.where(values < 0, -1, 1 - values)
            if name != "class":  # the number of the folder: a named label says the same
                found.setdefault(name, values.astype(np.int8))
    found.pop("No_Beard" if "Beard" in found else "", None)
    return found


def ages(faces: FaceSet) -> np.ndarray:
    """Ages in years (N,), −1 where unknown."""
    return faces.labels.get("age", np.full(len(faces), -1)).astype(np.int64)


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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = Judge(config)
    _learn(judge, lessons, epochs, batch, torch.Generator().manual_seed(seed))
    return judge.requires_grad_(False).eval()


def _learn(
    judge: Judge, lessons: _Lessons, epochs: int, batch: int, generator: torch.Generator
) -> None:
    batch = min(batch, len(lessons.images))
    steps = epochs * (len(lessons.images) // batch)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, max(steps, 2))
    judge.train()
    for _ in range(epochs):
        order = torch.randperm(len(lessons.images), generator=generator)
        for rows in order[: len(order) - len(order) % batch].split(batch):
            images = lessons.images[rows].permute(0, 3, 1, 2).float() / 255  # (M, 3, S, S)
            loss = _loss(judge(disturbed(images, generator)), lessons, rows, judge.config)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()


def _loss(outputs: Tensor, lessons: _Lessons, rows: Tensor, config: JudgeConfig) -> Tensor:
    """Cross-entropy of attributes and absolute error of age, over what is known."""
    targets, weights = lessons.targets[rows], lessons.weights[rows]
    known = ~targets.isnan()
    targets = targets.nan_to_num()
    losses = F.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
    if config.age:
        error = F.l1_loss(outputs[:, -1:], targets[:, -1:], reduction="none")
        losses = torch.cat([losses[:, :-1], error], dim=1)
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
    transform = torch.zeros(count, 2, 3)
    transform[:, 0, 0], transform[:, 1, 1] = mirror * scale, scale
    transform[:, :, 2] = torch.rand(count, 2, generator=generator) * 0.16 - 0.08  # ± 4 % of S
    grid = F.affine_grid(transform, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    sigma = torch.rand(1, generator=generator).item() * 1.2 + 0.3  # pixels, one a batch
    images = torch.where(between(0, 1) < 2 / 3, blurred(images, sigma), images)
    tint = torch.rand(count, 3, 1, 1, generator=generator) * 0.06 - 0.03
    images = (images - 0.5) * between(0.75, 1.25) + 0.5 + between(-0.12, 0.12) + tint
    return images.clamp(0, 1)


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
    pictures, parts = [], []
    for (faces, rows), labels in zip(sets, carried, strict=True):
        unknown = np.full(len(faces), -1)
        columns = [labels.get(name, unknown)[rows].astype(float) for name in config.attributes]
        if config.age:
            columns.append(ages(faces)[rows] / AGE_UNIT)
        table = np.stack(columns, axis=1)
        parts.append(np.where(table < 0, np.nan, table))
        small = [sized(part, config.size) for part in _parts(faces, rows)]
        pictures += [part.mul(255).round().byte().permute(0, 2, 3, 1) for part in small]
    targets = np.concatenate(parts).astype(np.float32)
    weights = np.ones_like(targets)
    for k in range(targets.shape[1]):
        last = config.age and k == targets.shape[1] - 1
        weights[:, k] = _evened(np.floor(targets[:, k] * AGE_UNIT / 10) if last else targets[:, k])
    return _Lessons(torch.cat(pictures), torch.from_numpy(targets), torch.from_numpy(weights))


def _evened(classes: np.ndarray) -> np.ndarray:
    """Weights (N,) of mean about 1 under which classes (NaN: none) count alike, 4 at most."""
    known = ~np.isnan(classes)
    weights = np.zeros(len(classes), np.float32)
    if known.any():
        _, which, counts = np.unique(classes[known], return_inverse=True, return_counts=True)
        weights[known] = np.minimum(known.sum() / len(counts) / counts[which.reshape(-1)], 4.0)
    return weights


def _parts(faces: FaceSet, rows: np.ndarray, batch: int = 256) -> Iterator[Tensor]:
    for start in range(0, len(rows), batch):
        yield faces.tensor(rows[start : start + batch])


def read_faces(judge: Judge, faces: FaceSet, rows: np.ndarray) -> Readings:
    """What the judge reads off rows of a FaceSet, (M,) each."""
    parts = [judge.read(part) for part in _parts(faces, rows)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def has(readings: Mapping[str, Tensor], name: str) -> Tensor:
    """Over 0 where the attribute is seen, under 0 where it is not, (N,)."""
    if name == "Young" and name not in readings:
        return MIDDLE - readings["age"]
    return readings[name] - 0.5


def held_out(judge: Judge, faces: FaceSet, rows: np.ndarray) -> dict[str, dict[str, float]]:
    """How well it reads unseen faces: balanced accuracy of attributes, mean error of age in years.

    Balanced accuracy is the mean of the shares right among those with and those without: 0.5 is
    chance. Labels that these faces do not carry are left out.
    """
    readings, known = read_faces(judge, faces, rows), attributes(faces)
    report: dict[str, dict[str, float]] = {}
    for name in judge.config.attributes:
        labels = torch.from_numpy(known[name][rows]) if name in known else torch.empty(0)
        if (labels == 0).any() and (labels == 1).any():
            yes = readings[name] > 0.5
            right = [(yes[labels == value] == bool(value)).float().mean() for value in (0, 1)]
            report[name] = {
                "balanced_accuracy": round(float(sum(right) / 2), 3),
                "faces": int((labels >= 0).sum()),
            }
    true = torch.from_numpy(ages(faces)[rows])
    if judge.config.age and (true >= 0).any():
        error = (readings["age"] - true)[true >= 0].abs().mean()
        report["age"] = {"mean_error": round(float(error), 2), "faces": int((true >= 0).sum())}
    return report
