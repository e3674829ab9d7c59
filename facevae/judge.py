"""A judge of edits: a small network that reads attributes and age off a picture.

It is trained apart (`teaching`), on the training split alone, and is never part of a model's loss:
a model could learn to please it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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
from facevae.model import ResidualBlock

FORMAT = 2  # of judge.json
AGE_UNIT = 25.0  # years that count as 1 in the network, so that age weighs about as an attribute
BIN, BINS = 5.0, 20  # years: an age is told by how likely each of these spans is
DROPPED = 0.4  # of what the last two layers see, in training
YOUNG, OLD = 35, 50  # years: younger than the one is `Young`, older than the other is not
MIDDLE = (YOUNG + OLD) / 2
SURE = 0.8  # a label that was read counts from this probability on
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
    channels: tuple[int, ...] = (32, 64, 128, 192)


class Heads(nn.Module):
    """What is told of features: a line for each attribute, and the mean of an age's distribution.

    The mean of a softmax over spans of years errs less than a line for the age does. Source:
    Rothe, Timofte & Van Gool, "Deep expectation of real and apparent age", IJCV 2018.
    """

    def __init__(self, features: int, attributes: int, age: bool) -> None:
        super().__init__()
        self.lines = nn.Linear(features, attributes)
        self.ages = nn.Linear(features, BINS) if age else None

    def forward(self, features: Tensor) -> Tensor:
        """(N, F) → logits, and age in its unit last, (N, K)."""
        told = self.lines(features)
        if self.ages is None:
            return told
        years = self.ages(features).softmax(1) @ middles()  # (N, BINS) -> (N,)
        return torch.cat([told, years[:, None] / AGE_UNIT], dim=1)


def middles() -> Tensor:
    """The middle of each span of years, (BINS,)."""
    return BIN * (torch.arange(BINS) + 0.5)


class Judge(nn.Module):
    """Strided convolutions and residual blocks, averaged over the picture's quarters, then heads.

    `about` is kept with it: what it was taught by, as far as JSON holds it.
    """

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.config = config
        self.about: dict[str, Any] = {}
        inputs, stages = 3, []
        for channels in config.channels:
            stages += [nn.Conv2d(inputs, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels)]
            stages += [nn.ReLU(), ResidualBlock(channels)]
            inputs = channels
        self.stages = nn.Sequential(*stages)
        self.dense = nn.Linear(4 * inputs, 128)
        self.heads = Heads(128, len(config.attributes), config.age)
        self.to(memory_format=torch.channels_last)  # a sixth faster on CPUs

    def features(self, images: Tensor) -> Tensor:
        """The last layer before the labels: images (N, 1 or 3, H, W) in [0, 1] → (N, 128)."""
        images = sized(images, self.config.size).contiguous(memory_format=torch.channels_last)
        maps = self.stages(2 * images - 1)  # (N, 3, S, S) -> (N, C, s, s)
        quarters = F.adaptive_avg_pool2d(maps, 2).flatten(1)  # (N, 4C)
        return F.relu(self.dense(F.dropout(quarters, DROPPED, self.training)))  # (N, 128)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 1 or 3, H, W) in [0, 1] → logits, and age in its unit last, (N, K)."""
        return self.heads(self.features(images))

    @torch.inference_mode()
    def read(self, images: Tensor, batch: int = 256) -> Readings:
        """What it reads off images (N, 1 or 3, H, W) in [0, 1]: the mean of each and its mirror."""
        sides = (sized(part, self.config.size) for part in images.split(batch))
        pieces = [(self._told(one) + self._told(one.flip(3))) / 2 for one in sides]
        told = torch.cat(pieces)  # (N, K)
        readings = dict(zip(self.config.attributes, told.unbind(1), strict=False))
        return readings | ({"age": told[:, -1] * AGE_UNIT} if self.config.age else {})

    def _told(self, images: Tensor) -> Tensor:
        """Probabilities, and age in its unit last, (N, K)."""
        outputs, attributes = self(images), len(self.config.attributes)
        return torch.cat([outputs[:, :attributes].sigmoid(), outputs[:, attributes:]], dim=1)

    def save(self, folder: str | Path) -> None:
        """Write `judge.json` and `judge.safetensors`, the weights in float16."""
        folder = Path(folder)
        config = {"format": FORMAT, "config": asdict(self.config), "about": self.about}
        write_text(folder / "judge.json", json.dumps(config, indent=1) + "\n")
        weights = {
            k: v.half() if v.is_floating_point() else v for k, v in self.state_dict().items()
        }
        write_safetensors(folder / "judge.safetensors", weights)

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
            raise NotAJudge(
                f"{folder} holds no judge that can be read ({reason}): teach one anew, for a "
                "studio with `python -m facevae guide`, else with `judge` into another folder"
            ) from error
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


def pictures(faces: FaceSet, rows: np.ndarray, batch: int = 256) -> Iterator[Tensor]:
    """Rows of a FaceSet as images (M, C, H, W) in [0, 1], at most `batch` at a time."""
    for start in range(0, len(rows), batch):
        yield faces.tensor(rows[start : start + batch])


def read_faces(judge: Judge, faces: FaceSet, rows: np.ndarray) -> Readings:
    """What the judge reads off rows of a FaceSet, (M,) each."""
    parts = [judge.read(part) for part in pictures(faces, rows)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def has(readings: Mapping[str, Tensor], name: str) -> Tensor:
    """Over 0 where the attribute is seen, under 0 where it is not, (N,)."""
    if name == "Young" and name not in readings:
        return MIDDLE - readings["age"]
    return readings[name] - 0.5


def sure(probabilities: Tensor) -> np.ndarray:
    """Labels (N,) int8 from what a network read: 1, 0, and −1 where it is less sure than SURE."""
    read = probabilities.numpy()
    return np.where(read > SURE, 1, np.where(read < 1 - SURE, 0, -1)).astype(np.int8)


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
