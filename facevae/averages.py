"""Averages of a network's weights over its training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def averaging(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """An exponential moving average that begins short: with the full decay at once, the first
    epochs' averages would be mostly of the weights that training began with."""

    def average(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        short = torch.as_tensor((1 + count) / (10 + count))  # a tensor: no GPU is waited for
        rate = 1 - short.clamp(max=decay)
        for old, new in zip(averaged, current, strict=True):
            old.lerp_(new, rate) if old.is_floating_point() else old.copy_(new)

    return average
