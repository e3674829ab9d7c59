"""What a model is made of (ModelConfig), how it is trained (Recipe), and the named experiments."""

import dataclasses
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass

Count = Annotated[int, Field(ge=1, le=65_536)]
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
ATTRIBUTES = (  # CelebA's names, and Beard (its No_Beard turned round), that the studio edits
    "Smiling", "Mouth_Slightly_Open", "Eyeglasses", "Beard", "Mustache", "Bangs", "Black_Hair",
    "Blond_Hair", "Gray_Hair", "Bald", "Heavy_Makeup", "Male",
)  # fmt: skip


@dataclass(frozen=True, config=STRICT)
class ModelConfig:
    """Everything needed to build a FaceVAE again; by default a small one for 64×64 faces."""

    image_shape: tuple[Count, Count, Count] = (3, 64, 64)  # C, H, W
    latents: Count = 128
    channels: tuple[Count, ...] = (32, 64, 128, 256)  # one halving of the picture each
    decoder_channels: tuple[Count, ...] = ()  # from the smallest map up; (): the encoder's mirror
    blocks: Annotated[int, Field(ge=0, le=64)] = 1  # residual blocks at each size of the decoder
    fine_blocks: Annotated[int, Field(ge=0, le=64)] = 0  # and so many more from 32 pixels on
    norm: Literal["batch", "group"] = "batch"
    leak: Annotated[float, Field(ge=0, lt=1)] = 0.1  # slope of LeakyReLU below 0; 0: ReLU
    input_range: Literal["signed", "unit"] = "signed"  # the network sees 2x − 1, or x
    pool: bool = False  # halve by max-pooling (as the Frey source does), not by a stride
    upsample: Literal["transposed", "shuffle"] = "transposed"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # Dropout2d after each encoder stage
    spread_grid: Annotated[int, Field(ge=0, le=64)] = 0  # variance from n × n cells; 0: from all
    conditions: tuple[str, ...] = ()  # labels given to the decoder, and to the encoder
    condition_encoder: bool = True  # False: to the decoder alone
    film: bool = False  # the condition also scales and shifts each map of the decoder
    hold: bool = False  # a second decoder draws edits, and how much of a photo's own detail stays
    age_anchors: tuple[float, ...] = ()  # years between which the condition "age" is linear
    likelihood: Literal["bernoulli", "gaussian"] = "gaussian"
    sigma: Annotated[float, Field(gt=0)] | None = None  # in units of [0, 1]; None: the optimal one

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        stages, decoder, anchors = len(self.channels), len(self.decoder_channels), self.age_anchors
        side = min(self.image_shape[1:])
        if not 0 < stages <= side.bit_length():  # a side of 1 can be halved no more
            raise ValueError(f"channels={self.channels} do not suit {side} pixels: one a halving")
        if decoder not in (0, stages, stages + 1):
            raise ValueError(f"decoder_channels: give {stages} numbers, or one more for full size")
        if (self.film or self.hold or anchors) and not self.conditions:
            raise ValueError("film, hold and age_anchors need conditions: give names of labels")
        rising = len(anchors) > 1 and list(anchors) == sorted(set(anchors))
        if anchors and not (rising and "age" in self.conditions):
            raise ValueError("age_anchors need the condition age, and two rising years or more")
        return self

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(H, W) before each encoder stage and after the last, largest first."""
        (height, width), halved = self.image_shape[1:], range(len(self.channels) + 1)
        return [(-(-height // 2**i), -(-width // 2**i)) for i in halved]

    @property
    def condition_numbers(self) -> int:
        """Length of a condition as the decoder takes it: an age is a weight for each anchor."""
        return len(self.conditions) + max(0, len(self.age_anchors) - 1)


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """A model and how it is trained. The picture's shape comes from the faces, not from here."""

    name: str
    why: str
    model: ModelConfig = ModelConfig()
    source: str = "synthetic"  # of the faces that it was made for; others with its labels will do
    size: Count = 64  # pixels, and the framing: how `run` prepares them
    framing: Literal["face", "head", "none"] = "face"
    note: str = ""  # where it deviates from its source system
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
    bf16: bool = False  # bfloat16 where it is safe: faster on GPUs, and CPUs that know it
    rescale: bool = True  # at the end, so that codes fill N(0, I); pictures stay the same
    keep_every: Annotated[int, Field(ge=0)] = 0  # also keep a model every so many epochs
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    start: str = ""  # folder of a trained model to begin with, or hub:owner/name

    def changed(self, **changes: Any) -> Self:
        """A copy with some fields replaced."""
        return dataclasses.replace(self, **changes)

    def with_settings(self, settings: Iterable[str]) -> "Recipe":
        """A copy with fields set from texts: `beta=4`, `model.latents=64`, `model.channels=8,16`.
        Raises ValueError: a field is unknown or a value does not suit it, and which."""
        recipe = dataclasses.asdict(self)
        for text in settings:
            name, _, value = text.partition("=")
            inner = name.startswith("model.")
            fields, key = (recipe["model"], name[6:]) if inner else (recipe, name)
            if key not in fields or key in ("name", "why", "note", "model"):
                raise ValueError(f"no setting {name!r}: write FIELD=VALUE with a field of a recipe")
            several = value.split(",") if value else ()
            single = None if value.lower() == "none" else value
            fields[key] = several if isinstance(fields[key], tuple) else single
        try:
            return Recipe(**recipe)
        except ValidationError as error:
            fault = error.errors()[0]
            said = fault["msg"].removeprefix("Value error, ").replace("Input should", "it must")
            where = f"{'.'.join(map(str, fault['loc']))}={fault['input']}: "
            raise ValueError(said if fault["type"] == "value_error" else where + said) from error


SUMMED_MSE = 0.5**0.5  # σ that "summed squared error + KL" on [0, 1] hides: the sources' loss
RECIPES: dict[str, Recipe] = {}


def _row(name: str, why: str, base: str = "", model: dict | None = None, **changes: Any) -> None:
    """A named recipe: another one, or the plain defaults, with some fields changed."""
    start = RECIPES.get(base, Recipe("", ""))
    network = dataclasses.replace(start.model, **(model or {}))
    RECIPES[name] = start.changed(name=name, why=why, model=network, **changes)


# fmt: off
_row("drawn", "small enough to train live in a lesson, on drawn faces", epochs=8,
     model={"latents": 32, "channels": (16, 32, 64, 128)})
_row("drawn-beta", "for the β table: few latents, so that one can be a factor", "drawn", epochs=12,
     model={"latents": 10, "blocks": 0})
_row("morph-utkface", "source 1: residual decoder, 64×64, clipping and a schedule", flip=True,
     model={"channels": (16, 32, 64, 128)}, source="utkface", epochs=50, schedule="plateau",
     note="σ learnt, mirrored; has the blocks that its code never calls; clips nats, not its sum")
_row("smile", "source 2: 120 latents, BatchNorm and Dropout2d, summed squared error on [0, 1]",
     model={"latents": 120, "channels": (16, 32, 64, 128), "blocks": 0, "input_range": "unit",
            "leak": 0, "dropout": 0.1, "sigma": SUMMED_MSE},
     source="folders", size=128, epochs=150, batch=128, lr=5e-4, schedule="plateau",
     note="as its best run, but GENKI-4K, 80/10/10, clipping; widths and dropout ours")
_row("smile-beta10", "β = 10", "smile", beta=10.0)
_row("smile-beta50", "β = 50", "smile", beta=50.0)
_row("smile-signed", "the network sees [-1, 1], under the same likelihood as `smile`", "smile",
     model={"input_range": "signed"}, note="the source normalises the error, too")
_row("smile-normalized", "as the source normalises: [-1, 1], also in the summed error", "smile",
     model={"input_range": "signed", "sigma": SUMMED_MSE / 2})
_row("smile-optimal", "σ learnt from the faces instead of hidden in the sum", "smile",
     model={"sigma": None}, note="not in the source")
_row("attributes-celeba", "source 3: five strided convolutions, 32 to 512 channels", epochs=25,
     model={"latents": 256, "channels": (32, 64, 128, 256, 512), "blocks": 0}, source="celeba",
     flip=True, note="64×64 for 224×192, 256 latents for 1,000; σ learnt, cosine, mirrored")
_row("frey", "source 4: Bernoulli pixels, max-pooling, 20 latents", source="frey", framing="none",
     model={"latents": 20, "channels": (32, 64, 128), "blocks": 0, "likelihood": "bernoulli",
            "pool": True, "leak": 0}, epochs=30, batch=32, schedule="constant", keep_every=10,
     note="as the source, but 80/10/10, BatchNorm, clipping; a mirrored decoder")
_row("frey-gaussian", "greys taken for greys, with the optimal σ, not for black or white", "frey",
     model={"likelihood": "gaussian"}, note="not in the source")
_row("aging", "source 5: CVAE on age and gender; the optimal σ, rare ages drawn more often",
     model={"latents": 256, "channels": (16, 32, 64, 128), "blocks": 0,
            "conditions": ("age", "gender")},
     source="utkface", size=128, epochs=12, lr=8e-4, flip=True, balance="age",
     note="UTKFace for MORPH-2; σ learnt, 12 epochs for 500, batch 64 for 128, cosine, mirrored")
_row("aging-plain", "source 5's own loss: summed error on [-1, 1], faces as they come", "aging",
     model={"sigma": SUMMED_MSE / 2}, balance="", flip=False, batch=128, schedule="constant",
     note="as the source, but UTKFace for MORPH-2, 12 epochs for 500, 80/10/10, clipping")
_row("studio", "stage 1 of the app's model: conditions to the decoder alone, 128×128 heads",
     model={"latents": 256, "channels": (32, 64, 96, 128), "blocks": 0, "spread_grid": 2,
            "decoder_channels": (96, 96, 64, 32, 16), "upsample": "shuffle", "film": True,
            "condition_encoder": False, "conditions": (*ATTRIBUTES, "age"), "fine_blocks": 1,
            "age_anchors": (2, 8, 15, 25, 35, 45, 55, 65, 80)},
     source="celeba", size=128, framing="head", batch=32, lr=1.6e-3, flip=True, bf16=True,
     note="CelebA has no ages: `--classifier FOLDER` reads them")
