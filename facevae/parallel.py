"""Several processes as one: a batch is cut into parts, and its statistics stay those of the whole.

With one process everything here is the identity. Source of the scheme: Goyal et al., "Accurate,
large minibatch SGD", arXiv 1706.02677; BatchNorm over processes as in Peng et al., "MegDet",
arXiv 1711.07240.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Part:
    """Rows start … stop of a batch of `total` rows: what one process computes."""

    start: int
    stop: int
    total: int

    @classmethod
    def of(cls, total: int) -> Part:
        """This process's part of a batch."""
        rank, world = ranks()
        return cls(total * rank // world, total * (rank + 1) // world, total)

    def noise(self, columns: int, generator: torch.Generator | None, device) -> Tensor:
        """This part of the (total, columns) normal draw that one process alone would make."""
        return torch.randn(self.total, columns, generator=generator, device=device)[self.rows]

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop)


def launched() -> bool:
    """Whether `accelerate launch` (or torchrun) started several of us."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def ranks() -> tuple[int, int]:
    """(number of this process, how many there are)."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def mean(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes, with its gradient."""
    world = ranks()[1]
    if world == 1:
        return value
    return distributed.nn.functional.all_reduce(value) / world


def total(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes, without gradient."""
    if ranks()[1] > 1:
        distributed.all_reduce(value)
    return value


class BatchNorm(nn.BatchNorm2d):
    """BatchNorm2d whose statistics in training are those of the whole batch, on any device
    (torch's own SyncBatchNorm runs on GPUs alone)."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        axes, world = (0, 2, 3), ranks()[1]
        average = mean(x.mean(axes))  # (C,)
        variance = mean((x - average[:, None, None]).square().mean(axes))  # (C,)
        count = x.numel() // x.shape[1] * world
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(average, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return x * scale[:, None, None] + (self.bias - average * scale)[:, None, None]


def spread_batch_norm(module: nn.Module) -> nn.Module:
    """Replace each BatchNorm2d in a module by BatchNorm, with the same parameters and buffers."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            made = BatchNorm(child.num_features, child.eps, child.momentum)
            made.load_state_dict(child.state_dict())
            setattr(module, name, made.to(child.weight.device))
        else:
            spread_batch_norm(child)
    return module
