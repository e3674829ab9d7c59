"""Paths in the latent space: lines and arcs between codes, and traversals of one latent."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def linear(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Points a + t (b − a): a, b (1, D) and t (T,) → (T, D)."""
    return torch.lerp(a, b, t[:, None].to(a))


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Points on the great arc from a to b, the length changing evenly: (1, D), (T,) → (T, D).

    In many dimensions a Gaussian's mass lies in a shell; the arc stays in it, while the chord
    cuts through its emptier inside. (Nearly) parallel or zero vectors use the line. Source: White,
    "Sampling generative networks", arXiv 1609.04468, section 2.1.
    """
    length_a, length_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    cosine = F.cosine_similarity(a, b, dim=1)[:, None]
    angle = cosine.clamp(-1, 1).acos()  # (1, 1) radians
    if angle.sin().abs().item() < 1e-4 or min(length_a.item(), length_b.item()) < 1e-6:
        return linear(a, b, t)
    t = t[:, None].to(a)
    length = torch.lerp(length_a, length_b, t)  # (T, 1)
    direction = ((1 - t) * angle).sin() * (a / length_a) + (t * angle).sin() * (b / length_b)
    points = length * direction / angle.sin()  # (T, D)
    points[t[:, 0] == 0], points[t[:, 0] == 1] = a, b  # the ends to the bit
    return points


PATHS = {"linear": linear, "spherical": spherical}


def traversal(
    codes: Tensor, latent: int, steps: int = 7, reach: float = 2.5, start: Tensor | None = None
) -> Tensor:
    """One latent moved from −reach to +reach standard deviations about its mean over codes (N, D).

    Args:
        start: (1, D), where the other latents are held; the mean code by default.

    Returns:
        (steps, D).
    """
    path = (codes.mean(dim=0) if start is None else start).reshape(1, -1).repeat(steps, 1)
    moved = torch.linspace(-reach, reach, steps) * codes[:, latent].std()
    path[:, latent] = codes[:, latent].mean() + moved
    return path
