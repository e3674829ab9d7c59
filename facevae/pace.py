"""Pace: how much of a way this face goes, until the reader sees in the picture what is wanted."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from facevae.face import Face
from facevae.guide import Guide
from facevae.judge import Readings
from facevae.model import FaceVAE
from facevae.pictures import to_tensor
from facevae.retouch import edited_picture, greyed, held

SHARES = (0.35, 0.6, 0.8, 1.0)  # of the way to strength ±1: drawn and read, once a face and edit


@torch.inference_mode()
def paced(
    model: FaceVAE, guide: Guide, face: Face, wanted: Mapping[str, float]
) -> dict[str, float]:
    """Strengths that bring this face where the wanted ones bring most faces.

    A way reaches as far as stubborn faces need, and other faces would be overdone: a woman needs
    less for make-up than a bearded man. So each stops where the guide's reader is as sure as
    `Way.enough` asks, and what is wanted is stretched over the part of the way that it goes, from
    the face's own strength on.
    """
    return {name: _paced(model, guide, face, name, at) for name, at in wanted.items()}


def _paced(model: FaceVAE, guide: Guide, face: Face, name: str, at: float) -> float:
    way = guide.way(name)
    own, end = way.direction.strength(face.mean).item(), way.target(at)
    off = end < own
    if (way, off) not in face.shares:
        face.shares[way, off] = _share(model, guide, face, name, off)
    there = own + face.shares[way, off] * (end - own)
    return there / way.reach[there < 0]


def _share(model: FaceVAE, guide: Guide, face: Face, name: str, off: bool) -> float:
    way, sign = guide.way(name), -1.0 if off else 1.0
    beyond = sign * way.strength(face.mean).item() >= 1  # farther than any face need go
    if beyond or math.isinf(way.enough[off]) or name not in guide.reader.config.attributes:
        return 1.0
    seen = sureness(guide.reader.read(on_the_way(model, guide, face, name, off)), name, off)
    return least(seen[:, None], way.enough[off]).item()


def on_the_way(model: FaceVAE, guide: Guide, face: Face, name: str, off: bool) -> Tensor:
    """The face at each of `SHARES` of the way to strength 1 or, off, to −1, with all of the photo's
    detail: (T, 3, S, S) at the model's size."""
    at = -1.0 if off else 1.0
    (step,) = guide.steps(face.mean, {name: at}).values()  # (1, D)
    change = held(model.decode(face.mean + torch.tensor(SHARES)[:, None] * step) - face.decoded)
    region = guide.way(name).region(at, face.hair)
    edited = edited_picture(face.decoded, change, to_tensor([face.crop]), region=region)
    if name == "Gray_Hair" and not off:
        edited = greyed(edited, face.hair, 1.0)
    return edited.clamp(0, 1)


def sureness(read: Readings, name: str, off: bool) -> Tensor:
    """The logit of what was read: over 0 where it is seen or, off, where it is not."""
    return (-1.0 if off else 1.0) * torch.logit(read[name], 1e-4)


def least(seen: Tensor, enough: float) -> Tensor:
    """The least share of a way (N,) at which what is seen (T, N) at `SHARES` is enough; all of it
    where it never is. Between two that were looked at, it is where a straight line says."""
    sure = seen >= enough
    after = torch.where(sure.any(0), sure.int().argmax(0), len(SHARES) - 1)
    before, at = (after - 1).clamp(min=0), torch.tensor(SHARES)
    low, high = (seen.gather(0, k[None])[0] for k in (before, after))
    part = ((enough - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
    return torch.where(sure[0], at[0], torch.lerp(at[before], at[after], part))


def between(seen: Tensor, share: Tensor) -> Tensor:
    """What would be seen (N,) at a share (N,) of the way, of what was seen (T, N) at `SHARES`."""
    at = torch.tensor(SHARES)
    after = torch.bucketize(share, at).clamp(1, len(SHARES) - 1)
    low, high = (seen.gather(0, k[None])[0] for k in (after - 1, after))
    part = (share - at[after - 1]) / (at[after] - at[after - 1])
    return torch.lerp(low, high, part)
