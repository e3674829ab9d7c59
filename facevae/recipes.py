"""Named experiments: a recipe a line, each differing from the defaults for a stated reason."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from facevae.model import ModelConfig


@dataclass(frozen=True)
class Recipe:
    """A model and how it is trained. The picture's size comes from the faces, not from here."""

    name: str
    why: str
    model: ModelConfig = field(default_factory=ModelConfig)
    source: str = "synthetic"  # what it was made for; any FaceSet of labels it needs will do
    split_by: str = "content"
    beta: float = 1.0  # weight of the KL; 1 is the ELBO
    epochs: int = 20
    batch: int = 64
    lr: float = 1e-3
    schedule: str = "cosine"  # constant, cosine, plateau
    clip: float = 1.0  # bound of the gradient's norm, of the loss in nats per number of the image
    flip: bool = False  # mirror half of the training faces
    keep_every: int = 0  # also keep a checkpoint every so many epochs
    seed: int = 0

    def changed(self, **changes) -> Recipe:
        """A copy with some fields replaced."""
        return dataclasses.replace(self, **changes)


_ROWS = (
    Recipe("drawn", "small enough to train live in a lesson, on drawn faces",
           ModelConfig(latents=32, channels=(16, 32, 64, 128)), epochs=8),
    Recipe("morph-utkface", "source 1: residual decoder, 64×64, clipping and a schedule",
           ModelConfig(latents=128, channels=(32, 64, 128, 256)), "utkface", epochs=50,
           schedule="plateau", flip=True),
    Recipe("frey", "source 4: Bernoulli pixels, max-pooling, 20 latents",
           ModelConfig(latents=20, channels=(32, 64, 128), blocks=0, pool=True,
                       likelihood="bernoulli"), "frey", epochs=30, batch=32,
           schedule="constant", keep_every=10),
    Recipe("studio", "the app's model: under 10 MB in float16 at 128×128, light on a CPU",
           ModelConfig(latents=256, channels=(16, 32, 64, 128), neck=64), "utkface",
           epochs=18, flip=True),
)  # fmt: skip

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ROWS}
