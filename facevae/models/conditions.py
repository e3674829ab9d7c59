"""Conditions of a model and how they change together: a bald head has no fringe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

ATTRIBUTES = (  # CelebA's names, and Beard (its No_Beard turned round), that the studio edits
    "Smiling", "Mouth_Slightly_Open", "Eyeglasses", "Beard", "Mustache", "Bangs", "Black_Hair",
    "Blond_Hair", "Gray_Hair", "Bald", "Heavy_Makeup", "Male",
)  # fmt: skip
AGE_ANCHORS = (2.0, 8.0, 15.0, 25.0, 35.0, 45.0, 55.0, 65.0, 80.0)  # years; see ModelConfig

HAIR = ("Black_Hair", "Blond_Hair", "Gray_Hair", "Brown_Hair")
REMOVES: dict[str, tuple[str, ...]] = {  # having the one, a face has not the others
    **{colour: (*(other for other in HAIR if other != colour), "Bald") for colour in HAIR},
    "Bald": ("Bangs", *HAIR),
    "Bangs": ("Bald",),
    "Male": ("Heavy_Makeup",),
}
BRINGS = {"Mustache": ("Beard",)}  # CelebA calls a moustache "not No_Beard"
TAKES = {"Beard": ("Mustache",), "Male": ("Beard", "Mustache", "Bald")}  # lacking it, lacks those


def changed(names: Sequence[str], condition: Tensor, wanted: Mapping[str, float]) -> Tensor:
    """Conditions with some of their columns moved, and what depends on them.

    Args:
        names: of the columns.
        condition: (N, K), attributes in [0, 1].
        wanted: name → strength: 1 has it, −1 has it not, 0 as it was, linear between; beyond 1 it
            goes on at the same slope. `age`, in centuries, is set as it is. `gender` (1 is
            female) is moved as an attribute.

    Returns:
        (N, K), a new tensor.
    """
    result = condition.clone()
    for name, strength in wanted.items():
        column = result[:, names.index(name)]
        if name == "age":
            column.fill_(strength)
            continue
        start = condition[:, names.index(name)]
        column.copy_(_moved(start, strength))
        follows = REMOVES.get(name, ()) if strength > 0 else TAKES.get(name, ())
        for other in follows:
            if other in names and other not in wanted:
                result[:, names.index(other)] = _moved(
                    result[:, names.index(other)], -abs(strength)
                )
        for other in BRINGS.get(name, ()) if strength > 0 else ():
            if other in names and other not in wanted:
                result[:, names.index(other)] = _moved(result[:, names.index(other)], strength)
    return result


def _moved(start: Tensor, strength: float) -> Tensor:
    """Attributes (N,) on their way to 1 (strength above 0) or to 0."""
    goal = torch.ones_like(start) if strength > 0 else torch.zeros_like(start)
    return start + abs(strength) * (goal - start)
