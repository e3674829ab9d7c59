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
from typing import TYPE_CHECKING, Any, TypeVar

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
        return _summed(value.clone(memory_format=torch.contiguous_format))

    backward = forward


def _summed(value: Tensor) -> Tensor:
    """A contiguous tensor of its own, summed over the processes in place."""
    if ranks()[1] > 1:
        distributed.all_reduce(value)
    return value


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
        normed, average, variance, count = _Normed.apply(
            x.float(), self.weight, self.bias, self.eps
        )
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(average, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        return normed.to(x.dtype)


AXES = (0, 2, 3)  # of (N, C, H, W): all but the channels


class _Normed(torch.autograd.Function):
    """Images (N, C, H, W) normed by all processes' mean and variance; these (C,), and of how many
    numbers each is. One message a pass, and torch's fused kernels for what is as large as images.

    Source: Ioffe & Szegedy, arXiv 1502.03167, Algorithm 1 and the gradients after it.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        count = x.numel() // x.shape[1]
        message = torch.zeros(3, x.shape[1], dtype=torch.float64, device=x.device)
        if count:  # a process may have no image of a batch
            spread, mean_ = (part.double() for part in torch.var_mean(x, AXES, correction=0))
            message = count * torch.stack([torch.ones_like(mean_), mean_, spread + mean_.square()])
        message = _summed(message)
        number = message[0, 0]
        average = message[1] / number
        variance = (message[2] / number - average.square()).clamp(min=0).float()
        average = average.float()
        ctx.save_for_backward(x, weight, average, variance, number.float())
        ctx.eps = eps
        ctx.mark_non_differentiable(average, variance)
        normed = F.batch_norm(x, average, variance, weight, bias, False, 0.0, eps)
        return normed, average, variance, number.float()

    @staticmethod
    def backward(ctx: Any, given: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, average, variance, number = ctx.saved_tensors
        # as if mean and variance were given; then what hangs on them is taken off
        direct, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            given, x, weight, average, variance, None, None, False, ctx.eps, [True, True, True]
        )
        sums = _summed(torch.stack([of_weight, of_bias]))
        inverse = (variance + ctx.eps).rsqrt()
        slope = -weight * inverse.square() * sums[0] / number  # (C,)
        level = -weight * inverse * sums[1] / number - slope * average
        change = torch.addcmul(level[:, None, None], x, slope[:, None, None])  # (N, C, H, W)
        return direct + change, of_weight, of_bias, None


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
