"""What a model is made of (ModelConfig), how it is trained (Recipe), and the named experiments."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass

Count = Annotated[int, Field(ge=1, le=65_536)]
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, config=STRICT)
class ModelConfig:
    """Everything needed to build a FaceVAE again.

    The defaults are the smallest network that still makes a recognisable 64×64 face.
    """

    image_shape: tuple[Count, Count, Count] = (3, 64, 64)  # C, H, W
    latents: Count = 128
    channels: tuple[Count, ...] = (32, 64, 128, 256)  # one halving of the picture each
    decoder_channels: tuple[Count, ...] = ()  # from the smallest map up; (): the encoder's mirror
    blocks: Annotated[int, Field(ge=0, le=64)] = 1  # residual blocks at each size of the decoder
    norm: Literal["batch", "group"] = "batch"
    pool: bool = False  # halve by max-pooling (as the Frey source does), not by a stride
    upsample: Literal["transposed", "shuffle"] = "transposed"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # Dropout2d after each encoder stage
    spread_grid: Annotated[int, Field(ge=0, le=64)] = 0  # variance from n × n cells; 0: from all
    conditions: tuple[str, ...] = ()  # labels given to the decoder, and to the encoder
    condition_encoder: bool = True  # False: to the decoder alone
    film: bool = False  # the condition also scales and shifts each map of the decoder
    hold: bool = False  # the decoder also draws how much of a photo's own detail stays
    age_anchors: tuple[float, ...] = ()  # years between which the condition "age" is linear
    likelihood: Literal["bernoulli", "gaussian"] = "gaussian"
    sigma: Annotated[float, Field(gt=0)] | None = None  # in units of [0, 1]; None: the optimal one

    @model_validator(mode="after")
    def _fits_together(self) -> ModelConfig:
        height, width = self.image_shape[1:]
        if not self.channels or min(height, width) < 2 ** (len(self.channels) - 1):
            raise ValueError(
                f"{len(self.channels)} halvings do not suit a picture of {height}×{width}: "
                "give as many channels as it can be halved"
            )
        stages = len(self.decoder_channels)
        if stages and stages not in (len(self.channels), len(self.channels) + 1):
            raise ValueError(
                f"decoder_channels={self.decoder_channels}: give {len(self.channels)} numbers, or "
                "one more for a stage at full size"
            )
        if (self.film or self.hold or self.age_anchors) and not self.conditions:
            raise ValueError("film, hold and age_anchors need conditions: give names of labels")
        anchors = list(self.age_anchors)
        if anchors and ("age" not in self.conditions or len(anchors) < 2):
            raise ValueError("age_anchors need the condition age, and two anchors or more")
        if anchors != sorted(set(anchors)):
            raise ValueError(f"age_anchors={self.age_anchors}: give years in rising order")
        return self

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(H, W) before each encoder stage and after the last, largest first."""
        sizes = [self.image_shape[1:]]
        for _ in self.channels:
            height, width = sizes[-1]
            sizes.append(((height + 1) // 2, (width + 1) // 2))
        return sizes

    @property
    def condition_numbers(self) -> int:
        """Length of a condition as the decoder takes it: an age is a weight for each anchor."""
        return len(self.conditions) + max(0, len(self.age_anchors) - 1)


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """A model and how it is trained. The picture's size comes from the faces, not from here."""

    name: str
    why: str
    model: ModelConfig = field(default_factory=ModelConfig)
    source: str = "synthetic"  # what it was made for; any faces with the labels it needs will do
    split_by: Literal["content", "order"] = "content"
    beta: Annotated[float, Field(ge=0)] = 1.0  # weight of the KL; 1 is the ELBO
    tcvae: bool = False  # β weighs the total correlation alone
    capacity: Annotated[float, Field(ge=0)] = 0.0  # nats that the KL is held to; 0: it is not
    warmup: Annotated[int, Field(ge=0)] = 0  # epochs over which β (or the capacity) rises from 0
    epochs: Annotated[int, Field(ge=1)] = 20
    batch: Annotated[int, Field(ge=1)] = 64
    lr: Annotated[float, Field(ge=0)] = 1e-3
    schedule: Literal["constant", "cosine", "plateau"] = "cosine"
    clip: Annotated[float, Field(gt=0)] = 1.0  # bound of the gradient's norm, nats a number
    flip: bool = False  # mirror half of the training faces
    augment: bool = False  # shift, brighten and stretch them a little
    balance: str = ""  # a label whose rare values are drawn more often
    weigh: str = ""  # a label whose rare values weigh more in the loss
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0  # decay of averaged weights; 0: the last ones
    bf16: bool = False  # bfloat16 where it is safe: faster on GPUs, and CPUs that know it
    rescale: bool = True  # at the end, so that codes fill N(0, I); pictures stay the same
    keep_best: Annotated[int, Field(ge=1)] = 1  # how many of the best models are kept
    keep_every: Annotated[int, Field(ge=0)] = 0  # also keep a model every so many epochs
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    start: str = ""  # folder of a trained model to begin with, or hub:owner/name

    @model_validator(mode="after")
    def _one_weight(self) -> Recipe:
        if self.tcvae and self.capacity:
            raise ValueError("a capacity holds the whole KL, tcvae weighs a part: choose one")
        return self

    def changed(self, **changes: Any) -> Recipe:
        """A copy with some fields replaced."""
        return dataclasses.replace(self, **changes)

    def with_settings(self, settings: Iterable[str]) -> Recipe:
        """A copy with fields set from texts: `beta=4`, `model.latents=64`, `schedule=plateau`.

        Tuples take commas, and `none` is None.

        Raises:
            ValueError: a field is unknown or a value does not suit it, and which.
        """
        recipe = dataclasses.asdict(self)
        for text in settings:
            name, _, value = text.partition("=")
            model = name.startswith("model.")
            owner, short = (ModelConfig, name[6:]) if model else (Recipe, name)
            defaults = {f.name: f.default for f in dataclasses.fields(owner)}
            if defaults.get(short, dataclasses.MISSING) is dataclasses.MISSING:
                raise ValueError(f"no setting {name!r}: write FIELD=VALUE with a field of a recipe")
            read: Any = None if value.lower() == "none" else value
            if isinstance(defaults[short], tuple):
                read = value.split(",") if value else ()
            (recipe["model"] if model else recipe)[short] = read
        try:
            return Recipe(**recipe)
        except ValidationError as error:
            raise ValueError(one_line(error)) from error


def one_line(error: ValidationError) -> str:
    """The first fault that pydantic found, as one sentence."""
    fault = error.errors()[0]
    message = fault["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
    name = ".".join(str(part) for part in fault["loc"])
    return message if fault["type"] == "value_error" else f"{name}={fault['input']}: {message}"


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
    Recipe("studio", "stage 1 of the app's model: conditions to the decoder alone, 128×128 heads",
           ModelConfig(latents=256, channels=(32, 64, 96, 128),
                       decoder_channels=(96, 96, 64, 32, 16), blocks=0, upsample="shuffle",
                       spread_grid=2, condition_encoder=False, film=True, hold=True,
                       conditions=("Smiling", "Mouth_Slightly_Open", "Eyeglasses", "Beard",
                                   "Mustache", "Bangs", "Black_Hair", "Blond_Hair", "Gray_Hair",
                                   "Bald", "Heavy_Makeup", "Male", "age"),
                       age_anchors=(2, 8, 15, 25, 35, 45, 55, 65, 80)),
           "celeba", batch=32, lr=1.6e-3, flip=True, bf16=True),
)  # fmt: skip

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ROWS}
