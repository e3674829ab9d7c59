"""Exact rescaling of a trained VAE: its codes fill N(0, I), and every picture stays as it was."""

import numpy as np
import torch
from torch import Tensor

from facevae.data.face_set import FaceSet
from facevae.latents.diagnostics import encoded
from facevae.models.vae import FaceVAE

TOLERANCE = 1e-3  # a model whose latents are this near to mean 0 and scale 1 is left as it is


@torch.no_grad()
def rescale(model: FaceVAE, centre: Tensor, scale: Tensor) -> None:
    """Replace each latent z by (z − centre) / scale, (D,) each, in place; pictures stay the same:
    encoder and decoder are linear where they meet the latents, so both take it in exactly."""
    latents, layer, dense = len(centre), model.encoder.posterior, model.decoder.dense
    layer.weight[:latents] /= scale[:, None]  # (D, F): the means
    layer.bias[:latents] = (layer.bias[:latents] - centre) / scale
    logvar = model.encoder.spread.bias if model.encoder.spread_grid else layer.bias[latents:]
    logvar.sub_(2 * scale.log())
    weight = dense.weight[:, :latents]  # (F, D), a view
    dense.bias.add_(weight @ centre)
    weight *= scale


def rescale_to_prior(
    model: FaceVAE, faces: FaceSet, rows: np.ndarray, conditions: Tensor | None = None
) -> bool:
    """Rescale a model so that E[μ] = 0 and E[μ² + σ²] = 1 over rows of faces, whose conditions are
    rows of (N, K): no other shift and scale has a lower KL. Returns whether there was need."""
    posterior = encoded(model, faces, rows, None if conditions is None else conditions[rows])
    centre = posterior.mean.mean(dim=0)  # (D,)
    square = (posterior.mean - centre).square() + posterior.logvar.exp()  # (N, D)
    scale = square.mean(dim=0).sqrt()
    if centre.abs().max() < TOLERANCE and (scale - 1).abs().max() < TOLERANCE:
        return False
    device = model.decoder.dense.weight.device
    rescale(model, centre.to(device), scale.to(device))
    return True
