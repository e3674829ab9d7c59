"""Refine: better the encoder's answer for one photo by a few gradient steps on its latent.

The encoder answers for all faces at once and so for none exactly (the amortisation gap: Cremer et
al., "Inference suboptimality in variational autoencoders", arXiv 1801.03558). The ELBO's own
terms, with a point for q(z | x), lead on from there: log p(x | z) at the model's σ and log p(z).
"""

from __future__ import annotations

import torch
from torch import Tensor

from facevae.latent import Prior
from facevae.model import FaceVAE

RATE = 0.1  # of Adam, in latent units (N(0, I) is the prior), falling to 0; 0.2 gains no more


def refine(
    model: FaceVAE, image: Tensor, mean: Tensor, prior: Prior | None = None, steps: int = 20
) -> Tensor:
    """The latent (N, D) that `steps` of Adam find from the encoder's mean.

    Maximises log p(x | z) + log p(z), in nats; never returns a worse one than it was given.

    Args:
        image: (N, C, H, W) in [0, 1], and `mean`: (N, D), the encoder's answer to it.
        prior: fitted to the training faces' latents; None: N(0, I).

    Raises:
        ValueError: fewer than 0 steps.
    """
    if steps < 0:
        raise ValueError(f"refining takes 0 steps or more, not {steps}")
    with torch.inference_mode(False), torch.enable_grad():
        image, start = image.clone(), mean.clone()  # inference tensors know no gradient
        z = start.clone().requires_grad_()
        adam = torch.optim.Adam([z], lr=RATE, betas=(0.8, 0.95))
        for step in range(steps):
            adam.param_groups[0]["lr"] = RATE * (1 - step / steps)
            adam.zero_grad()
            (-_log_joint(model, image, z, prior).sum()).backward()
            adam.step()
    with torch.no_grad():
        scores = [_log_joint(model, image, codes, prior) for codes in (start, z)]  # (N,) each
    return torch.where((scores[1] > scores[0])[:, None], z.detach(), start)


def _log_joint(model: FaceVAE, image: Tensor, z: Tensor, prior: Prior | None) -> Tensor:
    """log p(x | z) + log p(z), (N,) nats, up to a constant."""
    log_prior = -0.5 * z.square().sum(dim=1) if prior is None else prior.log_likelihood(z)
    return model.log_likelihood(model.decoder(z), image) + log_prior
