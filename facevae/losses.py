"""Pure functions: log-likelihoods and the ELBO, all in nats per image.

A real likelihood keeps the trade between reconstruction and KL honest: at β = 1 the loss *is* the
negative ELBO. Writing "mean MSE + weight · KL" instead fixes a Gaussian's variance at
σ² = weight · D / 2 (D numbers an image) without saying so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from facevae import parallel
from facevae.gaussian import Gaussian


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
    size = math.prod(images.shape[1:])
    return -0.5 * squares / sigma.square() - size * (sigma.log() + 0.5 * math.log(2 * math.pi))


def optimal_sigma(mean: Tensor, images: Tensor, floor: float = 1e-3) -> Tensor:
    """The σ that makes a batch (of all processes) likeliest: the root of its mean squared error.

    Source: Rybkin, Daniilidis & Levine, "Simple and effective VAE training with calibrated
    decoders", arXiv 2006.13202, equation 4. `floor` (a quarter of a grey level) keeps a perfect
    reconstruction finite.

    Returns:
        A scalar tensor that carries the gradient.
    """
    error = parallel.mean((mean.float() - images).square())
    return error.sqrt().clamp(min=floor)


def negative_elbo(log_likelihood: Tensor, kl: Tensor, beta: float = 1.0) -> Tensor:
    """β · KL − log p(x | z), (N,) nats per image. Source: Higgins et al., "β-VAE", ICLR 2017,
    equation 4 (with β = 1: arXiv 1312.6114, eq. 3)."""
    return beta * kl - log_likelihood


def held_to(log_likelihood: Tensor, kl: Tensor, capacity: float, beta: float) -> Tensor:
    """β · |mean KL − C| − log p(x | z), (N,): the KL is held to `capacity` nats, not pushed to 0.

    Source: Burgess et al., "Understanding disentangling in β-VAE", arXiv 1804.03599, equation 8.
    """
    return beta * (parallel.mean(kl) - capacity).abs() - log_likelihood


def kl_parts(z: Tensor, posterior: Gaussian, faces: int) -> tuple[Tensor, Tensor, Tensor]:
    """The KL of a batch in three: what z tells of the face, how the latents hang together, and
    how far each is from the prior.

    Estimated by minibatch-stratified sampling. Source: Chen et al., "Isolating sources of
    disentanglement in VAEs", arXiv 1802.04942, equation 2 and appendix C.2. The estimate's
    parts are exact only as the batch nears the data; their sum is exact: log q(z | x) − log p(z).

    Args:
        z: (B, D), a draw from each posterior.
        posterior: of the batch's B faces.
        faces: how many training faces the batch was drawn from.

    Returns:
        Index-code mutual information, total correlation and dimension-wise KL, (B,) nats each.
    """
    batch = len(z)
    if not 2 <= batch <= faces:
        raise ValueError(f"a batch of {batch} out of {faces} faces has no total correlation")
    others = batch - 1
    weights = z.new_full((batch, batch), 1 / others)  # row i: how much face j stands for
    index = torch.arange(batch, device=z.device)
    weights[index, index] = 1 / faces  # the face that z came from is there once in all the data
    weights[index, (index + 1) % batch] = (faces - others) / (faces * others)  # the rest of it
    density = posterior.log_density(z)  # (B, B, D)
    conditional = density.diagonal().T.sum(dim=1)  # (B,) log q(z | x): (D, B) -> (B, D) -> (B,)
    joint = (density.sum(dim=2) + weights.log()).logsumexp(dim=1)  # (B,) log q(z)
    marginals = (density + weights.log()[:, :, None]).logsumexp(dim=1).sum(dim=1)  # (B,)
    prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=1)  # (B,)
    return conditional - joint, joint - marginals, marginals - prior


@dataclass(frozen=True)
class Objective:
    """What is minimised: the one place where a weight meets the KL.

    Attributes:
        beta: weight of the KL, of its total correlation alone, or of its distance to a capacity.
        capacity: nats that the KL is held to; 0: it is not.
        tcvae: weigh the total correlation alone (Chen et al., equation 4).
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
        part: parallel.Part | None = None,
    ) -> Tensor:
        """(N,) nats per image.

        Args:
            progress: 0 … 1, how far the warm-up is: a capacity rises with it, and otherwise β.
            generator, part: for β-TCVAE's own draw of z (see `Gaussian.sample`).
        """
        if self.tcvae:
            return negative_elbo(
                log_likelihood, self._weighed(posterior, generator, part), progress
            )
        if self.capacity:
            return held_to(log_likelihood, posterior.kl(), progress * self.capacity, self.beta)
        return negative_elbo(log_likelihood, posterior.kl(), progress * self.beta)

    def _weighed(
        self, posterior: Gaussian, generator: torch.Generator | None, part: parallel.Part | None
    ) -> Tensor:
        """The KL with its total correlation times β, (N,): estimated from the whole batch."""
        part = part or parallel.Part.alone(len(posterior.mean))
        batch = posterior.whole(part)
        information, correlation, dimensions = kl_parts(batch.sample(generator), batch, self.faces)
        return (information + self.beta * correlation + dimensions)[part.rows]
