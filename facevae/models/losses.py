"""Log-likelihoods, the ELBO and its variants: pure functions, all in nats per image.

With a real likelihood the loss at β = 1 *is* the negative ELBO. "Mean MSE + weight · KL" also has a
likelihood, but a hidden one: a Gaussian of variance σ² = weight · P / 2, P numbers an image."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from facevae.models.gaussian import Gaussian


def bernoulli_log_likelihood(logits: Tensor, images: Tensor) -> Tensor:
    """log p(x | z), (N,), of pixels in [0, 1] taken as probabilities of white: Kingma & Welling,
    arXiv 1312.6114, appendix C.1. Of greys it is no density: see Loaiza-Ganem & Cunningham, "The
    continuous Bernoulli", arXiv 1907.06845."""
    nll = F.binary_cross_entropy_with_logits(logits.float(), images, reduction="none")
    return -nll.flatten(1).sum(dim=1)  # (N, C·H·W) -> (N,)


def gaussian_log_likelihood(mean: Tensor, images: Tensor, sigma: Tensor | float) -> Tensor:
    """log N(x; mean, σ² I) of images (N, C, H, W), (N,): a density, so it can be positive."""
    sigma = torch.as_tensor(sigma, dtype=torch.float32, device=images.device)
    squares = (mean.float() - images).square().flatten(1).sum(dim=1)  # (N, C·H·W) -> (N,)
    size = math.prod(images.shape[1:])
    return -0.5 * squares / sigma.square() - size * (sigma.log() + 0.5 * math.log(2 * math.pi))


def optimal_sigma(mean: Tensor, images: Tensor, floor: float = 1e-3) -> Tensor:
    """The σ that makes a batch likeliest, a scalar with its gradient: √(mean squared error);
    Rybkin et al., "Simple and effective VAE training with calibrated decoders", arXiv 2006.13202,
    equation 4. `floor` (a quarter of a grey level) keeps a perfect reconstruction finite."""
    return (mean.float() - images).square().mean().sqrt().clamp(min=floor)


def negative_elbo(log_likelihood: Tensor, kl: Tensor, beta: float = 1.0) -> Tensor:
    """β · KL − log p(x | z), (N,). Source: Higgins et al., "β-VAE", ICLR 2017, equation 4; with
    β = 1 Kingma & Welling, arXiv 1312.6114, equation 3."""
    return beta * kl - log_likelihood


def kl_parts(z: Tensor, posterior: Gaussian, faces: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split the KL of a batch into mutual information, total correlation and dimension-wise KL.

    Estimated by minibatch-stratified sampling: each part is biased unless the batch is all the
    data, their sum is exact, log q(z | x) − log p(z). Source: Chen et al., "Isolating sources of
    disentanglement in VAEs", arXiv 1802.04942, equation 2 and appendix C.2.

    For z (B, D), a draw from each posterior of a batch out of so many training `faces`, it returns
    I(z; face number), KL(q(z) ‖ ∏ q(z_d)) and Σ KL(q(z_d) ‖ p(z_d)), (B,) nats each."""
    batch = len(z)
    if not 2 <= batch <= faces:
        raise ValueError(f"a batch of {batch} out of {faces} faces has no total correlation")
    # row i: the share of all faces that face j stands for; face i is one of them, rows sum to 1
    others, index = batch - 1, torch.arange(batch, device=z.device)
    weights = z.new_full((batch, batch), 1 / others)
    weights[index, index] = 1 / faces
    weights[index, (index + 1) % batch] = (faces - others) / (faces * others)
    density = posterior.log_density(z)  # (B, B, D)
    conditional = density.diagonal().T.sum(dim=1)  # (B,) log q(z | x): (D, B) -> (B, D) -> (B,)
    joint = (density.sum(dim=2) + weights.log()).logsumexp(dim=1)  # (B,) log q(z)
    marginals = (density + weights.log()[:, :, None]).logsumexp(dim=1).sum(dim=1)  # (B,)
    prior = -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=1)  # (B,)
    return conditional - joint, joint - marginals, marginals - prior


@dataclass(frozen=True)
class Objective:
    """The loss of a training step; the only place where a weight is applied to the KL."""

    beta: float = 1.0  # weight of the KL, of its total correlation, or of its distance to capacity
    capacity: float = 0.0  # nats that the mean KL is held to: Burgess et al., arXiv 1804.03599, 8
    tcvae: bool = False  # β weighs the total correlation alone: Chen et al., equation 4
    faces: int = 0  # how many training faces there are, for the total correlation

    def __call__(
        self, log_likelihood: Tensor, posterior: Gaussian, progress: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:  # fmt: skip
        """(N,) nats per image. A capacity, or else β, rises with the warm-up's `progress`, 0 … 1;
        the generator is for β-TCVAE's own draw of z."""
        if self.tcvae:
            z = posterior.sample(generator)
            information, correlation, dimensions = kl_parts(z, posterior, self.faces)
            kl = information + self.beta * correlation + dimensions  # (N,)
            return negative_elbo(log_likelihood, kl, progress)
        if self.capacity:
            off = (posterior.kl().mean() - progress * self.capacity).abs()
            return negative_elbo(log_likelihood, off, self.beta)
        return negative_elbo(log_likelihood, posterior.kl(), progress * self.beta)
