"""The Learn tab: a drawn face through the encoder, ten latents and the decoder, at three β."""

from __future__ import annotations

import functools

import gradio as gr
import numpy as np
import torch
from PIL import Image

from facevae import FaceVAE, metrics, pictures, synthetic
from facevae.page.desk import ASSETS, encoded
from facevae.page.parts import Page, live

BETAS = (1, 10, 50)
SLIDERS = ("age", "smile", "beard", "hair", "skin", "yaw", "glasses")  # the other factors rest
START = {"age": 32, "smile": 0.6, "hair": 0.5, "skin": 0.35, "hair_shade": 0.75}

FURTHER = """<p>Built step by step in <code>notebooks/02_training_a_vae.ipynb</code>, β in
<code>notebooks/03_beta_vae_comparison.ipynb</code>.</p>"""


@functools.cache
def model(beta: int) -> tuple[FaceVAE, list[int]]:
    """A small model, and its latents, first those that carry the most nats in drawn faces."""
    if beta not in BETAS:
        raise ValueError(f"there is a model for each β of {BETAS}, not for {beta}")
    vae = FaceVAE.from_pretrained(ASSETS / "learn" / f"beta-{beta}")
    faces, _ = synthetic.draw_faces(128, vae.config.image_shape[1:])
    with torch.inference_mode():
        kl = vae.encode(_tensor(faces)).kl_per_latent().mean(dim=0)  # (D,)
    return vae, kl.argsort(descending=True).tolist()


def _tensor(faces: np.ndarray) -> torch.Tensor:
    """uint8 (N, H, W, C) → float32 (N, C, H, W) in [0, 1]."""
    return pictures.to_tensor([Image.fromarray(face) for face in faces])


def someone(seed: int) -> dict[str, float]:
    """All factors of a drawn face."""
    rng = np.random.default_rng(int(seed))
    drawn = synthetic.sample_factors(1, rng, independent=False)
    return {name: round(float(values[0]), 3) for name, values in drawn.items()}


@torch.inference_mode()
def look(wish: dict) -> dict:
    """A face of {"beta", "factors"}: its picture, q(z | x) latent by latent, and back again."""
    vae, order = model(wish["beta"])
    faces = synthetic.draw(wish["factors"], vae.config.image_shape[1:])
    images = _tensor(faces)
    posterior = vae.encode(images)
    back = vae.decode(posterior.mean)
    return {
        "input": encoded(Image.fromarray(faces[0]), "PNG"),
        "output": encoded(pictures.to_pil(back)[0], "PNG"),
        "mean": posterior.mean[0, order].tolist(),
        "std": posterior.std[0, order].tolist(),
        "nats": posterior.kl_per_latent()[0, order].tolist(),
        "psnr": metrics.psnr(images, back).item(),
    }


@torch.inference_mode()
def decode(wish: dict) -> str:
    """The picture of {"beta", "z"}, z in the order of `look`."""
    vae, order = model(wish["beta"])
    z = torch.zeros(1, len(order))
    z[0, order] = torch.tensor(wish["z"], dtype=torch.float32)
    return encoded(pictures.to_pil(vae.decode(z))[0], "PNG")


def build(page: Page) -> None:
    rows = {row.name: row for row in synthetic.FACTORS}
    sliders = [
        {"name": name, "low": rows[name].low, "high": rows[name].high,
         "step": 1 if rows[name].kind == "discrete" or name == "age" else 0.05}
        for name in SLIDERS
    ]  # fmt: skip
    start = {name: START.get(name, row.default) for name, row in rows.items()}
    functions = [page.desk.live.served(one) for one in (someone, look, decode)]
    live("vae-machine", *functions, betas=BETAS, sliders=sliders, start=start)
    gr.HTML(FURTHER, elem_classes="further", apply_default_css=False)
