"""Log-likelihoods, the ELBO and its variants: pure functions, all in nats per image.

With a real likelihood the loss at β = 1 *is* the negative ELBO. "Mean MSE + weight · KL" also has a
likelihood, but a hidden one: a Gaussian of variance σ² = weight · P / 2, P numbers an image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from facevae.models.gaussian import Gaussian


def bernoulli_log_likelihood(logits: Tensor, images: Tensor) -> Tensor:
    """log p(x | z) for pixels in [0, 1] taken as probabilities of white.

    Args:
        logits: (N, C, H, W), the decoder's output before the sigmoid.
        images: (N, C, H, W) in [0, 1].

    Returns:
        (N,) nats per image. Source: Kingma & Welling, arXiv 1312.6114, appendix C.1. Of greys it is
        no density: see Loaiza-Ganem & Cunningham, "The continuous Bernoulli", arXiv 1907.06845.
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
    size = math.prod(images.shape[1:])
    return -0.5 * squares / sigma.square() - size * (sigma.log() + 0.5 * math.log(2 * math.pi))


def optimal_sigma(mean: Tensor, images: Tensor, floor: float = 1e-3) -> Tensor:
    """The σ that makes a batch likeliest: the root of its mean squared error.

    Source: Rybkin, Daniilidis & Levine, "Simple and effective VAE training with calibrated
    decoders", arXiv 2006.13202, equation 4. `floor` (a quarter of a grey level) keeps a perfect
    reconstruction finite.

    Returns:
        A scalar tensor that carries the gradient.
    """
    error = torch.mean((mean.float() - images).square())
    return error.sqrt().clamp(min=floor)


def negative_elbo(log_likelihood: Tensor, kl: Tensor, beta: float = 1.0) -> Tensor:
    """β · KL − log p(x | z), (N,) nats per image. Source: Higgins et al., "β-VAE", ICLR 2017,
    equation 4 (with β = 1: arXiv 1312.6114, eq. 3)."""
    return beta * kl - log_likelihood


def held_to(log_likelihood: Tensor, kl: Tensor, capacity: float, beta: float) -> Tensor:
    """β · |mean KL − C| − log p(x | z), (N,): the KL is held to `capacity` nats, not pushed to 0.

    Source: Burgess et al., "Understanding disentangling in β-VAE", arXiv 1804.03599, equation 8.
    """
    return beta * (torch.mean(kl) - capacity).abs() - log_likelihood


def kl_parts(z: Tensor, posterior: Gaussian, faces: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split the KL of a batch into mutual information, total correlation and dimension-wise KL.

    Estimated by minibatch-stratified sampling: each part is biased unless the batch is all the
    data, their sum is exact, log q(z | x) − log p(z). Source: Chen et al., "Isolating sources of
    disentanglement in VAEs", arXiv 1802.04942, equation 2 and appendix C.2.

    Args:
        z: (B, D), a draw from each posterior.
        posterior: of the batch's B faces.
        faces: how many training faces the batch was drawn from.

    Returns:
        I(z; face number), KL(q(z) ‖ ∏ q(z_d)) and Σ KL(q(z_d) ‖ p(z_d)), (B,) nats each.
    """
    batch = len(z)
    if not 2 <= batch <= faces:
        raise ValueError(f"a batch of {batch} out of {faces} faces has no total correlation")
    others = batch - 1
    weights = z.new_full(
        (batch, batch), 1 / others
    )  # row i: the share of all faces that face j stands for
    index = torch.arange(batch, device=z.device)
    weights[index, index] = 1 / faces  # the face that z came from is one of all faces
    weights[index, (index + 1) % batch] = (faces - others) / (faces * others)  # rows sum to 1
    density = posterior.log_density(z)  # (B, B, D)
    conditional = density.diagonal().T.sum(dim=1)  # (B,) log q(z | x): (D, B) -> (B, D) -> (B,)
    joint = (density.sum(dim=2) + weights.log()).logsumexp(dim=1)  # (B,) log q(z)
    marginals = (density + weights.log()[:, :, None]).logsumexp(dim=1).sum(dim=1)  # (B,)
    prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=1)  # (B,)
    return conditional - joint, joint - marginals, marginals - prior


@dataclass(frozen=True)
class Objective:
    """The loss of a training step; the only place where a weight is applied to the KL.

    Attributes:
        beta: weight of the KL, of its total correlation alone, or of its distance to a capacity.
        capacity: nats that the KL is held to; 0: no such limit.
        tcvae: β weighs the total correlation alone (Chen et al., equation 4).
        faces: how many training faces there are, for the total correlation.
    """

    beta: float = 1.0
    capacity: float = 0.0
    tcvae: bool = False
    faces: int = 0

    def __post_init__(self) -> None:
        if self.tcvae and self.capacity:
            raise ValueError("a capacity holds the whole KL, β-TCVAE weighs a part: choose one")

    def __call__(
        self,
        log_likelihood: Tensor,
        posterior: Gaussian,
        progress: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """(N,) nats per image.

        Args:
            progress: 0 … 1, how far the warm-up is: a capacity rises with it, and otherwise β.
            generator: for β-TCVAE's own draw of z.
        """
        if self.tcvae:
            z = posterior.sample(generator)
            information, correlation, dimensions = kl_parts(z, posterior, self.faces)
            kl = information + self.beta * correlation + dimensions  # (N,)
            return negative_elbo(log_likelihood, kl, progress)
        if self.capacity:
            return held_to(log_likelihood, posterior.kl(), progress * self.capacity, self.beta)
        return negative_elbo(log_likelihood, posterior.kl(), progress * self.beta)
