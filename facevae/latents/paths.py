"""Paths in the latent space: lines and arcs between codes, and traversals of one latent."""

import torch
from torch import Tensor
from torch.nn import functional as F


def linear(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Points a + t (b − a): a, b (1, D) and t (T,) → (T, D)."""
    return torch.lerp(a, b, t[:, None].to(a))


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Points on the great arc from a to b, the length changing evenly: (1, D), (T,) → (T, D); of
    (nearly) parallel or zero vectors on the line. A Gaussian's mass lies in a shell, which the arc
    does not leave. Source: White, "Sampling generative networks", arXiv 1609.04468, section 2.1."""
    angle = F.cosine_similarity(a, b, dim=1)[:, None].clamp(-1, 1).acos()  # (1, 1) radians
    if angle.sin().abs() < 1e-4 or min(a.norm(), b.norm()) < 1e-6:
        return linear(a, b, t)
    t = t[:, None].to(a)
    turned = ((1 - t) * angle).sin() * F.normalize(a) + (t * angle).sin() * F.normalize(b)
    points = torch.lerp(a.norm(), b.norm(), t) * turned / angle.sin()  # (T, D)
    points[t[:, 0] == 0], points[t[:, 0] == 1] = a, b  # the ends to the bit
    return points


PATHS = {"linear": linear, "spherical": spherical}


def traversal(codes: Tensor, latent: int, steps: int = 7, reach: float = 2.5) -> Tensor:
    """The mean of codes (N, D), with one latent moved from −reach to +reach standard deviations:
    (steps, D)."""
    path = codes.mean(dim=0).repeat(steps, 1)
    path[:, latent] += torch.linspace(-reach, reach, steps) * codes[:, latent].std()
    return path
