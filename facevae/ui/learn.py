"""The Learn tab: a drawn face through the encoder, ten latents and the decoder, at three β."""

from __future__ import annotations

import functools
from typing import Annotated, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field

from facevae import FaceVAE
from facevae.data import synthetic
from facevae.imaging import images
from facevae.ui.session import ASSETS, Page, Request, Seed, encode

LATENTS = 10
Beta = Literal[1, 10, 50]


class Look(Request):
    beta: Beta
    factors: dict[str, float]


class Code(Request):
    """`z` in the order of `look`; `move` counts the page's moves."""

    beta: Beta
    z: Annotated[list[float], Field(min_length=LATENTS, max_length=LATENTS)]
    move: int = 0


@functools.cache
@torch.inference_mode()
def model(beta: int) -> tuple[FaceVAE, list[int]]:
    """A small model, and its latents, first those that carry the most nats in drawn faces."""
    vae = FaceVAE.from_pretrained(ASSETS / "learn" / f"beta-{beta}")
    faces, _ = synthetic.draw_faces(128, vae.config.image_shape[1:])
    posterior = vae.encode(images.to_tensor([*map(Image.fromarray, faces)]))
    return vae, posterior.kl_per_latent().mean(dim=0).argsort(descending=True).tolist()


def someone(seed: Seed) -> dict[str, float]:
    """All factors of a drawn face."""
    drawn = synthetic.sample_factors(1, np.random.default_rng(seed), independent=False)
    return {name: round(float(values[0]), 3) for name, values in drawn.items()}


@torch.inference_mode()
def look(request: Look) -> dict:
    """A drawn face: its picture, q(z | x) latent by latent, and the decoder's picture."""
    vae, order = model(request.beta)
    face = Image.fromarray(synthetic.draw(request.factors, vae.config.image_shape[1:])[0])
    x = images.to_tensor([face])
    posterior = vae.encode(x)
    decoded = vae.decode(posterior.mean)
    return {
        "input": encode(face, "PNG"),
        "output": encode(images.to_pil(decoded)[0], "PNG"),
        "mean": posterior.mean[0, order].tolist(),
        "std": posterior.std[0, order].tolist(),
        "nats": posterior.kl_per_latent()[0, order].tolist(),
        "psnr": -10 * (x - decoded).square().mean().log10().item(),
    }


@torch.inference_mode()
def decode(request: Code) -> str:
    """The decoder's picture of a code."""
    vae, order = model(request.beta)
    z = torch.zeros(1, len(order))
    z[0, order] = torch.tensor(request.z, dtype=torch.float32)
    return encode(images.to_pil(vae.decode(z))[0], "PNG")


def build(page: Page) -> None:
    page.element("learn", live=[someone, look, decode])
