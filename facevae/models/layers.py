"""Layers of encoders and decoders: residual blocks, upsampling, normalization."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 8  # of GroupNorm: Wu & He, arXiv 1803.08494; fewer where the channels do not divide by it


class ResidualBlock(nn.Module):
    """x + f(x) with two 3×3 convolutions. Source: He et al., arXiv 1603.05027."""

    def __init__(self, channels: int, norm: str = "batch") -> None:
        super().__init__()
        last = normalization(norm, channels)
        assert isinstance(last.weight, Tensor)
        nn.init.zeros_(last.weight)  # starts as the identity, so depth costs nothing
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            normalization(norm, channels),
            nn.LeakyReLU(0.1),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            last,
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.body(x), 0.1)  # (N, C, H, W), unchanged


class Upsample(nn.Module):
    """Double a map and cut it to `size`, so that odd sizes come back as they were.

    `transposed` is the textbook's; `shuffle` is a quarter of the cost at large sizes, and begins as
    a nearest-neighbour enlargement (ICNR: Aitken et al., arXiv 1707.02937), `bilinear` leaves no
    mesh: the last doubling of a decoder with `shuffle` is bilinear.
    """

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], kind: str) -> None:
        super().__init__()
        self.size, self.kind = size, kind
        if kind == "transposed":
            self.convolution: nn.Module = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
        elif kind == "shuffle":
            self.convolution = nn.Conv2d(inputs, 4 * outputs, 3, padding=1)
            with torch.no_grad():
                weight = self.convolution.weight  # (4·C', C, 3, 3)
                weight.copy_(weight[::4].repeat_interleave(4, dim=0))
        else:
            self.convolution = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "bilinear":
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        x = self.convolution(x)
        if self.kind == "shuffle":
            x = F.pixel_shuffle(x, 2)  # (N, 4C', h, w) -> (N, C', 2h, 2w)
        height, width = self.size
        return x[:, :, :height, :width]  # (N, C', H, W)


def normalization(kind: str, channels: int) -> nn.Module:
    """BatchNorm2d, or GroupNorm, which does not depend on the batch."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(next(g for g in range(GROUPS, 0, -1) if channels % g == 0), channels)
