"""Several processes as one: a batch is cut into parts, and its statistics stay those of the whole.

With one process everything here is the identity. Source of the scheme: Goyal et al., "Accurate,
large minibatch SGD", arXiv 1706.02677; BatchNorm over processes as in Peng et al., "MegDet",
arXiv 1711.07240.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """Rows start … stop of a batch of `total` rows: what one process computes, perhaps none."""

    start: int
    stop: int
    total: int

    @classmethod
    def of(cls, total: int) -> Part:
        """This process's part of a batch."""
        rank, world = ranks()
        return cls(total * rank // world, total * (rank + 1) // world, total)

    @classmethod
    def alone(cls, total: int) -> Part:
        """All of a batch."""
        return cls(0, total, total)

    def noise(
        self, columns: int, generator: torch.Generator | None, device: torch.device
    ) -> Tensor:
        """This part of the (total, columns) normal draw that one process alone would make."""
        return torch.randn(self.total, columns, generator=generator, device=device)[self.rows]

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop)


def launched() -> bool:
    """Whether `torchrun` or `accelerate launch` started several of us."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def accelerator(device: str | torch.device) -> Accelerator | None:
    """The Accelerator of the launched processes; None for the one process that most runs are.

    Precision is the recipe's affair, so the launcher's setting for it is not taken.
    """
    if not launched():
        return None
    from accelerate import Accelerator

    return Accelerator(cpu=torch.device(device).type == "cpu", mixed_precision="no")


@contextmanager
def first_goes_first(device: str | torch.device) -> Iterator[None]:
    """One process of each machine is through the block before the others enter it: what it draws
    or fetches into files is then there."""
    started = accelerator(device)
    with started.local_main_process_first() if started else nullcontext():
        yield


def ranks() -> tuple[int, int]:
    """(number of this process, how many there are)."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def from_first(make: Callable[[], T]) -> T:
    """What `make` gives on the first process, the only one that reads files; what it raises too."""
    rank, world = ranks()
    if world == 1:
        return make()
    box: list = [None, None]
    if rank == 0:
        try:
            box[0] = make()
        except Exception as error:  # raised below, on all: none is left waiting
            box[1] = error
    distributed.broadcast_object_list(box)
    if box[1] is not None:
        raise box[1]
    return box[0]


def total(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes, with its gradient."""
    return value if ranks()[1] == 1 else _Sum.apply(value)


def mean(values: Tensor, axes: tuple[int, ...] | None = None) -> Tensor:
    """The mean of `values` over axes (all of them by default) in all processes' parts together."""
    if ranks()[1] == 1:
        return values.mean(axes)
    sums, count = _sums(values, axes)
    return sums / count


def share(losses: Tensor, part: Part) -> Tensor:
    """Losses (B,) of a part as a scalar whose mean over the processes is that of the whole batch.

    So gradients can be averaged over the processes, be their parts equal or not.
    """
    world = ranks()[1]
    return losses.mean() if world == 1 else losses.sum() * (world / part.total)


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a tensor that each process has."""
    return total(value) / ranks()[1]


def whole(rows: Tensor, part: Part) -> Tensor:
    """The whole batch's rows (total, D) from this part's (B, D), with the gradient."""
    if ranks()[1] == 1:
        return rows
    return total(F.pad(rows, (0, 0, part.start, part.total - part.stop)))


class _Sum(torch.autograd.Function):
    """Every process sees the sum, so what any of them lost by it comes back to each."""

    @staticmethod
    def forward(ctx: FunctionCtx, value: Tensor) -> Tensor:
        value = value.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(value)
        return value

    backward = forward


def _sums(values: Tensor, axes: tuple[int, ...] | None) -> tuple[Tensor, Tensor]:
    """The sum over axes in all processes, and over how many numbers each sum runs."""
    sums = values.sum(axes)
    count = sums.new_tensor([values.numel() // sums.numel()])
    both = total(torch.cat([sums.flatten(), count]))
    return both[:-1].reshape(sums.shape), both[-1]


class BatchNorm(nn.BatchNorm2d):
    """BatchNorm2d whose statistics in training are those of the whole batch, on any device
    (torch's own SyncBatchNorm runs on GPUs alone), in float32 whatever the images are in."""

    running_mean: Tensor  # none of the four is ever None here
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        values, axes = x.float(), (0, 2, 3)
        sums, count = _sums(values, axes)
        average = sums / count  # (C,)
        centred = values - average[:, None, None]
        variance = _sums(centred.square(), axes)[0] / count  # (C,)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(average, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


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
