"""Pure functions: log-likelihoods and the ELBO, all in nats per image.

A real likelihood keeps the trade between reconstruction and KL honest: at β = 1 the loss *is* the
negative ELBO. Writing "mean MSE + weight · KL" instead fixes a Gaussian's variance at
σ² = weight · D / 2 (D numbers an image) without saying so.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def bernoulli_log_likelihood(logits: Tensor, images: Tensor) -> Tensor:
    """log p(x | z) for pixels in [0, 1] taken as probabilities of white.

    Args:
        logits: (N, C, H, W), the decoder's output before the sigmoid.
        images: (N, C, H, W) in [0, 1].

    Returns:
        (N,) nats per image. Source: Kingma & Welling, arXiv 1312.6114, appendix C.1.
    """
    nll = F.binary_cross_entropy_with_logits(logits.float(), images, reduction="none")
    return -nll.flatten(1).sum(dim=1)  # (N, C·H·W) -> (N,)


def gaussian_log_likelihood(mean: Tensor, images: Tensor, sigma: Tensor | float) -> Tensor:
    """log N(x; mean, σ² I).

    Args:
        mean, images: (N, C, H, W) in [0, 1].
        sigma: one standard deviation for all pixels, in the units of the image.

    Returns:
        (N,) nats per image (a density: it can be positive).
    """
    sigma = torch.as_tensor(sigma, dtype=torch.float32, device=images.device)
    squares = (mean.float() - images).square().flatten(1).sum(dim=1)  # (N, C·H·W) -> (N,)
    size = images[0].numel()
    return -0.5 * squares / sigma.square() - size * (sigma.log() + 0.5 * math.log(2 * math.pi))


def optimal_sigma(mean: Tensor, images: Tensor, floor: float = 1e-3) -> Tensor:
    """The σ that makes a batch likeliest: the root of its mean squared error.

    Source: Rybkin, Daniilidis & Levine, "Simple and effective VAE training with calibrated
    decoders", arXiv 2006.13202, equation 4. `floor` (a quarter of a grey level) keeps a perfect
    reconstruction finite.

    Returns:
        A scalar tensor that carries the gradient.
    """
    return (mean.float() - images).square().mean().sqrt().clamp(min=floor)


def negative_elbo(log_likelihood: Tensor, kl: Tensor, beta: float = 1.0) -> Tensor:
    """β · KL − log p(x | z), (N,) nats per image: the one place where the weight is applied.

    Source: Higgins et al., "β-VAE", ICLR 2017, equation 4 (with β = 1: arXiv 1312.6114, eq. 3).
    """
    return beta * kl - log_likelihood
