"""What edits do, as a judge reads them: success and leakage of attributes, requested against
read age. Readings and pictures in, figures out; nothing here trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from facevae.ages import age_groups
from facevae.directions import Direction
from facevae.judge import Judge, Readings
from facevae.model import FaceVAE

DETAILS = (0, 1)
FEWEST = 5  # faces: a share of fewer is not reported


def turned(
    before: Readings, after: Readings, name: str, on: bool, labels: np.ndarray | None = None
) -> dict:
    """Success and leakage of one edit of N faces.

    Args:
        before, after: readings of the same faces, (N,) each.
        on: the attribute was to come (else to go). Counted are the faces that lacked (had) it,
            as read before and, where labels (N,) are given and known, by their label, too.

    Returns:
        faces: how many counted. success: the share that turned. leakage: of each other
        attribute, the share whose reading crossed one half, either way, and of the age group
        (0–9, 10–19, 20–39, 40–59, 60 and over), that whose reading left its own. age_moved: mean
        shift of the age read, in years; age_error: the mean of its size. None where fewer than 5
        faces.
    """
    pair = (before, after)
    counted = (before[name] > 0.5) != on
    if labels is not None:
        wrong = torch.from_numpy(np.asarray(labels) == int(on))
        counted = counted & ~wrong
    report: dict = {"faces": int(counted.sum())}
    if report["faces"] < FEWEST:
        return report | {"success": None, "leakage": {}}
    report["success"] = _share(((after[name] > 0.5) == on)[counted])
    others = [other for other in before if other not in (name, "age")]
    report["leakage"] = {
        other: _share(((before[other] > 0.5) != (after[other] > 0.5))[counted]) for other in others
    }
    if "age" in before:
        groups = [age_groups(one["age"].clamp(min=0).numpy())[counted.numpy()] for one in pair]
        report["leakage"]["age group"] = round(float((groups[0] != groups[1]).mean()), 3)
        moved = (after["age"] - before["age"])[counted]
        report["age_moved"] = round(float(moved.mean()), 2)
        report["age_error"] = round(float(moved.abs().mean()), 2)
    return report


def aged(before: Readings, after: dict[float, Readings], unsteady: str = "Male") -> dict:
    """Requested age against the age read.

    Args:
        before: readings of N unedited faces. after: requested years → readings of them edited.
        unsteady: the attribute that must stay.

    Returns:
        slope (years read for a year requested: 1 is perfect, 0 means ignored), mean_error
        (|read − requested|, years), read (requested → mean age read), monotone (the share of
        faces whose reading never falls from one request to the next), kept (the share whose
        reading of `unsteady` stayed).
    """
    requested = sorted(after)
    read = torch.stack([after[years]["age"] for years in requested])  # (T, N)
    asked = torch.tensor(requested, dtype=torch.float32)[:, None]
    report = {
        "slope": round(slope(asked.expand_as(read).flatten(), read.flatten()), 3),
        "mean_error": round(float((read - asked).abs().mean()), 2),
        "read": {
            f"{years:g}": round(float(read[i].mean()), 1) for i, years in enumerate(requested)
        },
        "monotone": _share((read.diff(dim=0) >= 0).all(dim=0)),
    }
    if unsteady in before:
        kept = [(before[unsteady] > 0.5) == (one[unsteady] > 0.5) for one in after.values()]
        report[f"{unsteady}_kept"] = _share(torch.cat(kept))
    return report


def slope(x: Tensor, y: Tensor) -> float:
    """Of the least-squares line of y over x, (N,) each."""
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    return float((x * y).sum() / x.square().sum().clamp(min=1e-12))


@torch.inference_mode()
def read_edits(
    judge: Judge,
    model: FaceVAE,
    images: Tensor,
    codes: Tensor,
    edited: Iterable[tuple[Tensor, Tensor | None]],
    condition: Tensor | None = None,
    batch: int = 64,
) -> list[dict[int, Readings]]:
    """Decode edits and read them, without (0) and with (1) the photo's own detail.

    With detail, the picture is x + decode(edited) − decode(code): the photo plus what the edit
    changed in the decoder's picture. Pass the codes themselves first to read the faces unedited.

    Args:
        images: (N, C, H, W). codes: (N, D). condition: (N, K) if the model takes one.
        edited: of each edit the codes (N, D) and conditions (N, K) to decode.
    """
    plain = _decoded(model, codes, condition, batch)
    found = []
    for z, given in edited:
        drawn = _decoded(model, z, given, batch)
        kept = (images + drawn - plain).clamp(0, 1)
        found.append({0: judge.read(drawn), 1: judge.read(kept)})
    return found


def judge_directions(
    judge: Judge,
    model: FaceVAE,
    images: Tensor,
    codes: Tensor,
    directions: Sequence[Direction],
    strengths: Sequence[float] = (1, 2),
    labels: np.ndarray | None = None,
    condition: Tensor | None = None,
    relative: bool = False,
) -> dict:
    """Success and leakage of directions of one attribute on unseen faces, on and off.

    Faces are placed AT ± each strength or, if `relative`, moved by it.

    Returns:
        method → "+1", "-1" … → "detail 0", "detail 1" → what `turned` gives.
    """
    edit = Direction.moved if relative else Direction.placed
    wanted = [(d, sign * s) for d in directions for s in strengths for sign in (1, -1)]
    edits = [(codes, condition), *((edit(d, codes, s), condition) for d, s in wanted)]
    before, *after = read_edits(judge, model, images, codes, edits, condition)
    report: dict = {}
    for (direction, strength), readings in zip(wanted, after, strict=True):
        report.setdefault(direction.method, {})[f"{strength:+g}"] = {
            f"detail {k}": turned(before[k], readings[k], direction.name, strength > 0, labels)
            for k in DETAILS
        }
    return report


def judge_aging(
    judge: Judge,
    model: FaceVAE,
    images: Tensor,
    codes: Tensor,
    edit: Callable[[float], tuple[Tensor, Tensor | None]],
    requested: Sequence[float],
    condition: Tensor | None = None,
) -> dict:
    """Requested against read age on unseen faces: "detail 0", "detail 1" → what `aged` gives.

    Args:
        edit: years → codes (N, D) and conditions (N, K) of the faces at that age.
    """
    edits = [(codes, condition), *map(edit, requested)]
    before, *after = read_edits(judge, model, images, codes, edits, condition)
    return {
        f"detail {k}": aged(before[k], {y: r[k] for y, r in zip(requested, after, strict=True)})
        for k in DETAILS
    }


@torch.inference_mode()
def strip(
    model: FaceVAE, edits: Iterable[tuple[Tensor, Tensor | None]]
) -> tuple[list[Tensor], int]:
    """Decoded faces (detail 0: no photo in them) of edits of N faces, a face a row.

    Returns:
        (C, H, W) each, row by row, and how many columns there are.
    """
    columns = [model.decode(z, condition) for z, condition in edits]  # T × (N, C, H, W)
    return [picture for row in zip(*columns, strict=True) for picture in row], len(columns)


def _decoded(model: FaceVAE, codes: Tensor, condition: Tensor | None, batch: int) -> Tensor:
    pieces = [
        model.decode(codes[i : i + batch], None if condition is None else condition[i : i + batch])
        for i in range(0, len(codes), batch)
    ]
    return torch.cat(pieces)


def _share(flags: Tensor) -> float:
    return round(float(flags.float().mean()), 3)
