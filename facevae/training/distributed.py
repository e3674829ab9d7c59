"""Several processes, as `accelerate launch` or `torchrun` starts them, in a few plain functions."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, distributed

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")


def accelerator(device: torch.device) -> Accelerator | None:
    """The Accelerator of the launched processes; None for the one process that most runs are.

    Precision is the recipe's setting, so the launcher's own is not used.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    from accelerate import Accelerator

    return Accelerator(cpu=device.type == "cpu", mixed_precision="no")


def ranks() -> tuple[int, int]:
    """The number of this process, and how many there are."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def total(values: Tensor) -> Tensor:
    """The sum of a tensor over all processes."""
    if ranks()[1] > 1:
        distributed.all_reduce(values)
    return values


def from_first(make: Callable[[], T]) -> T:
    """What `make` returns or raises on the first process, the only one that reads files."""
    rank, world = ranks()
    if world == 1:
        return make()
    box: list = [None]
    if rank == 0:
        try:
            box = [make()]
        except Exception as error:  # raised below, by all: none is left waiting
            box = [error]
    distributed.broadcast_object_list(box)
    if isinstance(box[0], Exception):
        raise box[0]
    return box[0]
