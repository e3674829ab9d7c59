"""Named experiments: a recipe a line, each differing from the defaults for a stated reason."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from facevae.model import ModelConfig

SCHEDULES = ("constant", "cosine", "plateau")
AT_LEAST = {"beta": 0, "capacity": 0, "warmup": 0, "epochs": 1, "batch": 1, "lr": 0, "ema": 0,
            "keep_best": 1, "keep_every": 0}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """A model and how it is trained. The picture's size comes from the faces, not from here."""

    name: str
    why: str
    model: ModelConfig = field(default_factory=ModelConfig)
    source: str = "synthetic"  # what it was made for; any FaceSet of labels it needs will do
    split_by: str = "content"
    beta: float = 1.0  # weight of the KL; 1 is the ELBO
    tcvae: bool = False  # β weighs the total correlation alone
    capacity: float = 0.0  # nats that the KL is held to, with weight β; 0: no such thing
    warmup: int = 0  # epochs over which β (or the capacity) rises from 0
    epochs: int = 20
    batch: int = 64
    lr: float = 1e-3
    schedule: str = "cosine"  # one of SCHEDULES
    clip: float = 1.0  # bound of the gradient's norm, of the loss in nats per number of the image
    flip: bool = False  # mirror half of the training faces
    augment: bool = False  # shift, brighten and stretch them a little
    balance: str = ""  # a label whose rare values are drawn more often
    weigh: str = ""  # a label whose rare values weigh more in the loss
    ema: float = 0.0  # decay of the averaged weights that are validated and kept; 0: the last ones
    bf16: bool = False  # bfloat16 where it is safe: faster on GPUs, and CPUs that know it
    keep_best: int = 1  # how many of the best models by validation are kept
    keep_every: int = 0  # also keep a model every so many epochs
    seed: int = 0
    start: str = ""  # folder of a trained model to begin with, or hub:owner/name

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule {self.schedule!r} is not one of {SCHEDULES}")
        for name, least in AT_LEAST.items():
            if not least <= getattr(self, name) < (1 if name == "ema" else math.inf):
                limits = f"{least} or more" + (" and under 1" if name == "ema" else "")
                raise ValueError(f"{name}={getattr(self, name)}: this field takes {limits}")
        if not self.clip > 0:
            raise ValueError(f"clip={self.clip}: give a bound above 0, or nothing is learnt")

    def changed(self, **changes: Any) -> Recipe:
        """A copy with some fields replaced."""
        return dataclasses.replace(self, **changes)

    def with_settings(self, settings: Iterable[str]) -> Recipe:
        """A copy with fields set from texts: `beta=4`, `model.latents=64`, `schedule=plateau`.

        Raises:
            ValueError: a field is unknown or a value of another kind, and which.
        """
        own: dict[str, Any] = {}
        model: dict[str, Any] = {}
        for text in settings:
            name, _, value = text.partition("=")
            part, field_ = (self.model, name[6:]) if name.startswith("model.") else (self, name)
            usual = _usual(part)
            if field_ not in usual:
                raise ValueError(f"no setting {name!r}: write FIELD=VALUE with a field of a recipe")
            (own if part is self else model)[field_] = _read(value, usual[field_], text)
        return self.changed(**own, model=dataclasses.replace(self.model, **model))


def _usual(part: Recipe | ModelConfig) -> dict[str, object]:
    """The default of each field that a text can set: of all but a recipe's name, why and model."""
    fields = dataclasses.fields(part)
    return {f.name: f.default for f in fields if f.default is not dataclasses.MISSING}


def _read(value: str, usual: object, text: str) -> object:
    """A value of a field from its text: numbers, true or false, tuples with commas; none where
    that is usual.

    Raises:
        ValueError: the value is of another kind than the usual one.
    """
    kind = float if usual is None else type(usual)  # only numbers may be none
    listed = kind is tuple
    try:
        read = json.loads(f"[{value}]" if listed else value.lower().replace("none", "null"))
    except ValueError:
        read = value.split(",") if listed else value
    if listed:
        return tuple(read)
    if kind is float and type(read) is int:
        read = float(read)
    if type(read) is not kind and not (read is None and usual is None):
        raise ValueError(f"{text}: this field takes a {kind.__name__}")
    return read


SUMMED_MSE = 0.5**0.5
"""σ of "summed squared error + KL" on pictures in [0, 1]: the sources' hidden likelihood."""

_drawn = Recipe("drawn", "small enough to train live in a lesson, on drawn faces",
                ModelConfig(latents=32, channels=(16, 32, 64, 128)), epochs=8)  # fmt: skip
_smile = Recipe(
    "smile", "source 2: 120 latents, BatchNorm and Dropout2d, summed squared error",
    ModelConfig(latents=120, channels=(16, 32, 64, 128), blocks=0, dropout=0.1, sigma=SUMMED_MSE),
    "folders", epochs=30, batch=32, lr=5e-4, schedule="plateau", keep_best=2)  # fmt: skip
_frey = Recipe(
    "frey", "source 4: Bernoulli pixels, max-pooling, 20 latents",
    ModelConfig(latents=20, channels=(32, 64, 128), blocks=0, pool=True, likelihood="bernoulli"),
    "frey", epochs=30, batch=32, schedule="constant", keep_every=10)  # fmt: skip
_aging = Recipe(
    "aging", "source 5: CVAE on age and gender; the optimal σ, rare ages drawn more often",
    ModelConfig(latents=256, channels=(16, 32, 64, 128), blocks=0, conditions=("age", "gender")),
    "utkface", epochs=12, lr=8e-4, flip=True, balance="age")  # fmt: skip
_studio = Recipe(
    "studio", "under 10 MB in float16 at 128×128, light on a CPU",
    ModelConfig(latents=256, channels=(16, 32, 64, 128), blocks=0, spread_grid=2),
    "utkface", epochs=40, flip=True)  # fmt: skip


def _variant(recipe: Recipe, suffix: str, why: str, model: dict, **changes: Any) -> Recipe:
    """A recipe that differs from another in a few fields of its model or its training."""
    other = dataclasses.replace(recipe.model, **model)
    return recipe.changed(name=f"{recipe.name}-{suffix}", why=why, model=other, **changes)


_ROWS = (
    _drawn,
    _variant(_drawn, "beta", "for the β table: few latents, so that one can be a factor",
             {"latents": 10, "blocks": 0}, epochs=12),
    Recipe("morph-utkface", "source 1: residual decoder, 64×64, clipping and a schedule",
           ModelConfig(latents=128, channels=(16, 32, 64, 128)), "utkface", epochs=25,
           schedule="plateau", flip=True),
    _smile,
    _variant(_smile, "200", "200 latents", {"latents": 200}),
    _variant(_smile, "beta10", "β = 10", {}, beta=10.0),
    _variant(_smile, "beta10-200", "β = 10, 200 latents", {"latents": 200}, beta=10.0),
    _variant(_smile, "beta50", "β = 50", {}, beta=50.0),
    _variant(_smile, "beta50-200", "β = 50, 200 latents", {"latents": 200}, beta=50.0),
    _variant(_smile, "normalized", "summed error on [-1, 1]: the very same as half the σ",
             {"sigma": SUMMED_MSE / 2}),
    _variant(_smile, "optimal", "σ learnt from the faces instead of hidden in the sum",
             {"sigma": None}),
    Recipe("attributes-celeba", "source 3: five strided convolutions, 32 to 512 channels",
           ModelConfig(latents=256, channels=(32, 64, 128, 256, 512), blocks=0), "celeba",
           epochs=25, flip=True),
    _frey,
    _variant(_frey, "gaussian", "greys taken for greys, with the optimal σ, not for black or white",
             {"likelihood": "gaussian"}),
    _aging,
    _variant(_aging, "plain", "source 5 to the letter: summed error on [-1, 1], faces as they come",
             {"sigma": SUMMED_MSE / 2}, balance=""),
    _studio,
    _variant(_studio, "grown", "studio's weights, and blocks in what room is left",
             {"encoder_added": (0, 1, 1, 0), "decoder_added": (0, 2, 1, 0)}, epochs=24, lr=7e-4),
    _variant(_studio, "wide", "the app's model: blocks in all the room there is, averaged weights",
             {"encoder_added": (1, 2, 2, 0), "decoder_added": (0, 2, 1, 0)}, ema=0.998),
)  # fmt: skip

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ROWS}
