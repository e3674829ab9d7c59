"""Morphing: pictures of what lies between faces, with the photos' own detail carried along."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from facevae import latent
from facevae.face import Face, gathered
from facevae.model import FaceVAE
from facevae.pictures import to_pil
from facevae.texture import enlarged
from facevae.warp import Carrier


@torch.inference_mode()
def on_path(
    model: FaceVAE, a: Face, b: Face, ts: Sequence[float], detail: float, path: str, size: int
) -> list[Image.Image]:
    """A picture at each t on the way from a (0) to b (1), `size` pixels a side.

    Raises:
        ValueError: a t or detail is outside 0 … 1, or the path is unknown.
    """
    decoded = _decoded(model, a, b, ts, detail, path)
    if detail == 0:
        return to_pil(enlarged(decoded, size))
    held = Carrier(a.residual(size), b.residual(size), a.points, b.points)
    frames = []
    for t, picture in zip(ts, decoded.split(1), strict=True):  # one by one: 25 fill no cache
        frames += to_pil(torch.add(enlarged(picture, size), held.at(t), alpha=detail))
    return frames


def _decoded(
    model: FaceVAE, a: Face, b: Face, ts: Sequence[float], detail: float, path: str
) -> Tensor:
    """The decoder's pictures along the path, (T, 3, S, S)."""
    if not all(0 <= value <= 1 for value in (*ts, detail)):
        raise ValueError("t and detail run from 0 to 1")
    if path not in latent.PATHS:
        raise ValueError(f"the path {path!r} is unknown: use one of {[*latent.PATHS]}")
    t = torch.tensor(ts, dtype=torch.float32)
    return model.decode(latent.PATHS[path](a.mean, b.mean, t))


def shares(faces: Sequence[Face], weights: Sequence[float]) -> list[float]:
    """Weights as shares of one; ValueError where they do not fit the faces."""
    total = sum(weights)
    if len(weights) != len(faces) or not 0 < total < math.inf or min(weights) < 0:
        raise ValueError(f"give a weight for each of the {len(faces)} faces, none below 0")
    return [weight / total for weight in weights]


@torch.inference_mode()
def blended(
    model: FaceVAE, faces: Sequence[Face], parts: Sequence[float], detail: float, size: int
) -> Image.Image:
    """Faces as one, each by its share, `size` pixels a side; ValueError as `on_path`."""
    if not 0 <= detail <= 1:
        raise ValueError("detail runs from 0 to 1")
    there = [(face, share) for face, share in zip(faces, parts, strict=True) if share > 0]
    code = torch.stack([share * face.mean for face, share in there]).sum(0)  # (1, D)
    picture = enlarged(model.decode(code), size)  # (1, 3, size, size)
    if detail > 0:
        picture = picture + detail * gathered(there, size)
    return to_pil(picture)[0]
