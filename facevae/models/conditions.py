"""Conditions of a model and how they change together: a bald head has no fringe."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

HAIR = ("Black_Hair", "Blond_Hair", "Gray_Hair", "Brown_Hair")
REMOVES: dict[str, tuple[str, ...]] = {  # having the one, a face has not the others
    **{colour: (*(other for other in HAIR if other != colour), "Bald") for colour in HAIR},
    "Bald": ("Bangs", *HAIR), "Bangs": ("Bald",), "Male": ("Heavy_Makeup",),
}  # fmt: skip
BRINGS = {"Mustache": ("Beard",)}  # CelebA calls a moustache "not No_Beard"
TAKES = {"Beard": ("Mustache",), "Male": ("Beard", "Mustache", "Bald")}  # lacking it, lacks those
ADULT = ("Beard", "Mustache", "Bald", "Gray_Hair")  # no child has these
CHILD, GROWN = 0.08, 0.14  # centuries: to the full, and no longer


def at_age(
    names: Sequence[str], condition: Tensor, age: float | Tensor, locked: Sequence[str] = ()
) -> Tensor:
    """Conditions (N, K) at an age in centuries, one or (N,): children lose what no child has."""
    result = condition.clone()
    result[:, names.index("age")] = age
    most = ((torch.as_tensor(age) - CHILD) / (GROWN - CHILD)).clamp(0, 1)  # () or (N,)
    for name in set(ADULT).intersection(names).difference(locked):
        column = result[:, names.index(name)]
        column.copy_(torch.where(column > 0.5, column.minimum(most), column))
    return result


def changed(
    names: Sequence[str], condition: Tensor, wanted: Mapping[str, float], locked: Sequence[str] = ()
) -> Tensor:
    """Conditions (N, K) with some of their columns moved, and what depends on those; a new tensor.

    Args:
        wanted: name of a column → strength: 1 has it, −1 has it not, 0 as it was, linear between
            and beyond. `age`, in centuries, is set as it is. locked: what nothing takes along."""
    result = condition.clone()
    for name, strength in wanted.items():
        if name == "age":
            result = at_age(names, result, strength, (*wanted, *locked))
            continue
        follow = REMOVES if strength > 0 else TAKES
        moves = dict.fromkeys(follow.get(name, ()), -abs(strength))
        moves |= dict.fromkeys(BRINGS.get(name, ()) if strength > 0 else (), strength)
        moves = {other: by for other, by in moves.items() if other not in (*wanted, *locked)}
        for moved, by in {name: strength, **moves}.items():
            if moved in names:
                column = result[:, names.index(moved)]
                column += abs(by) * (float(by > 0) - column)
    return result
