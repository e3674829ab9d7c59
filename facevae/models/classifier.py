"""The editing classifier: a small network that labels a photo with attributes and an age.

It tells the studio what a face has now, and fills in labels that training faces lack. It is never
what edits are evaluated by: see `facevae.evaluation.classifier`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from facevae.io import local, write_safetensors, write_text
from facevae.models.layers import ResidualBlock

FORMAT = 3  # of classifier.json
SPAN, SPANS = 5.0, 20  # years: an age is the mean of a distribution over this many spans
AGE_UNIT = 25.0  # years that count as 1 in the loss, so that age weighs about as an attribute
DROPOUT = 0.3  # of the last two layers' inputs


class NotAClassifier(ValueError):
    """A folder that holds no attribute classifier which this version can read."""


@dataclass(frozen=True)
class ClassifierConfig:
    """What a classifier reads, in which framing, and from pictures of which size."""

    attributes: tuple[str, ...]
    age: bool = True
    framing: str = "head"
    size: int = 64  # pictures of other sizes are resized
    channels: tuple[int, ...] = (32, 64, 128, 192)
    cells: int = 4  # a side: the last map is averaged to these
    about: dict[str, Any] = field(default_factory=dict)  # what it was trained on, as JSON holds it


class AttributeClassifier(nn.Module):
    """Strided convolutions with residual blocks, then a line for each attribute and an age.

    The age is the mean of a softmax over spans of years, which errs less than one line does.
    Source: Rothe, Timofte & Van Gool, "Deep expectation of real and apparent age", IJCV 2018.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        inputs, stages = 3, []
        for channels in config.channels:
            stages += [nn.Conv2d(inputs, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels)]
            stages += [nn.ReLU(), ResidualBlock(channels)]
            inputs = channels
        self.stages = nn.Sequential(*stages)
        self.dense = nn.Linear(inputs * config.cells**2, 192)
        self.lines = nn.Linear(192, len(config.attributes))
        self.ages = nn.Linear(192, SPANS) if config.age else None
        self.to(memory_format=torch.channels_last)  # a sixth faster on CPUs

    @property
    def attributes(self) -> tuple[str, ...]:
        """CelebA's names of what it reads, besides the age."""
        return self.config.attributes

    @property
    def framing(self) -> str:
        """The framing of the faces it reads."""
        return self.config.framing

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images (N, 1 or 3, H, W) in [0, 1] → logits of attributes (N, A), of spans (N, SPANS)."""
        images = resized(images, self.config.size).contiguous(memory_format=torch.channels_last)
        maps = self.stages(2 * images - 1)  # (N, 3, S, S) -> (N, C, s, s)
        cells = F.adaptive_avg_pool2d(maps, self.config.cells).flatten(1)  # (N, C·cells²)
        features = F.relu(self.dense(F.dropout(cells, DROPOUT, self.training)))
        features = F.dropout(features, DROPOUT, self.training)  # (N, 192)
        return self.lines(features), None if self.ages is None else self.ages(features)

    @torch.inference_mode()
    def predict(self, images: Tensor, batch: int = 256) -> dict[str, Tensor]:
        """Probabilities of attributes, and `age` in years: the mean of each image and its mirror.

        Args:
            images: (N, 1 or 3, H, W) in [0, 1], in the classifier's framing.

        Returns:
            name → (N,), on the images' device.
        """
        rows = [self._table(part) for part in images.split(batch)]
        columns = torch.cat(rows).unbind(dim=1)
        names = (*self.attributes, "age") if self.ages is not None else self.attributes
        return dict(zip(names, columns, strict=True))

    def _table(self, images: Tensor) -> Tensor:
        """(N, A [+ 1]) probabilities and years."""
        small = resized(images, self.config.size)
        logits, spans = self(torch.cat([small, small.flip(3)]))
        columns = [logits.sigmoid()]
        if spans is not None:
            columns.append((spans.softmax(dim=1) @ middles().to(spans))[:, None])
        return sum(torch.cat(columns, dim=1).chunk(2)) / 2  # type: ignore[return-value]

    def save(self, folder: str | Path) -> None:
        """Write `classifier.json` and `classifier.safetensors`, the weights in float16."""
        folder = Path(folder)
        about = {"format": FORMAT, "config": asdict(self.config)}
        write_text(folder / "classifier.json", json.dumps(about, indent=1) + "\n")
        weights = {
            k: v.half() if v.is_floating_point() and "var" not in k else v
            for k, v in self.state_dict().items()
        }
        write_safetensors(folder / "classifier.safetensors", weights)

    @classmethod
    def load(cls, folder: str | Path) -> AttributeClassifier:
        """Read what `save` wrote, in eval mode.

        Raises:
            NotAClassifier: a file is missing, foreign or of another format.
        """
        try:
            folder = local(folder)
            held = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
            if held.get("format") != FORMAT:
                raise ValueError(f"its format is {held.get('format')}, this reads {FORMAT}")
            fields: dict[str, Any] = dict(held["config"])
            fields |= {k: tuple(v) for k, v in fields.items() if isinstance(v, list)}
            classifier = cls(ClassifierConfig(**fields))
            weights = load_file(folder / "classifier.safetensors")
            classifier.load_state_dict(
                {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
            )
        except (
            OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError,
        ) as error:  # fmt: skip
            reason = str(error).partition("\n")[0]
            raise NotAClassifier(
                f"{folder} holds no attribute classifier that can be read ({reason}): train one "
                "with `python -m facevae classifier`"
            ) from error
        return classifier.requires_grad_(False).eval()


def middles() -> Tensor:
    """The middle of each span of years, (SPANS,)."""
    return SPAN * (torch.arange(SPANS) + 0.5)


def resized(images: Tensor, size: int) -> Tensor:
    """Colour or grey images (N, 1 or 3, H, W) → (N, 3, size, size)."""
    if images.shape[-2:] != (size, size):
        images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
    return images.expand(-1, 3, -1, -1)
