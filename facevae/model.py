"""FaceVAE: a convolutional VAE of any image size, with residual decoder blocks and conditions."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facevae import losses, stored
from facevae.gaussian import Gaussian
from facevae.parallel import Part

LIKELIHOODS = ("bernoulli", "gaussian")
ADDED = ("encoder_added", "decoder_added")


@dataclass(frozen=True)
class ModelConfig:
    """Everything needed to build a FaceVAE again.

    The defaults are the smallest network that still makes a recognisable 64×64 face.
    """

    image_shape: tuple[int, int, int] = (3, 64, 64)  # C, H, W
    latents: int = 128
    channels: tuple[int, ...] = (32, 64, 128, 256)  # one halving of the picture each
    blocks: int = 1  # residual blocks at each size of the decoder; 0: the plain mirror
    encoder_added: tuple[int, ...] = ()  # blocks a trained encoder grows by after each stage, and a
    decoder_added: tuple[int, ...] = ()  # decoder before each of its own: see `grow_from`
    pool: bool = False  # halve by max-pooling (as the Frey source does), not by a stride
    dropout: float = 0.0  # Dropout2d after each encoder stage
    spread_grid: int = 0  # the spread from the last map averaged to n × n cells; 0: from all of it
    conditions: tuple[str, ...] = ()  # labels given to the encoder and the decoder
    likelihood: str = "gaussian"
    sigma: float | None = None  # of the Gaussian, in units of [0, 1]; None: the optimal one

    def __post_init__(self) -> None:
        for name in ("image_shape", "channels", "conditions", *ADDED):  # JSON brings them as lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ADDED:
            added = getattr(self, name)
            counts = all(type(one) is int and one >= 0 for one in added)
            if not counts or len(added) not in (0, len(self.channels)):
                raise ValueError(
                    f"{name}={added}: give a number of blocks for each of the "
                    f"{len(self.channels)} stages, or none"
                )
        for name, low, high in (("latents", 1, 2**16), ("blocks", 0, 64), ("spread_grid", 0, 64)):
            if type(value := getattr(self, name)) is not int or not low <= value <= high:
                raise ValueError(f"{name}={value}: give a whole number from {low} to {high}")
        for name in ("image_shape", "channels"):
            sizes = getattr(self, name)
            if not sizes or any(type(one) is not int or one < 1 for one in sizes):
                raise ValueError(f"{name}={sizes}: give whole numbers above 0")
        if any(type(name) is not str for name in self.conditions):
            raise ValueError(f"conditions={self.conditions}: give names of labels")
        if self.likelihood not in LIKELIHOODS:
            raise ValueError(f"likelihood {self.likelihood!r} is not one of {LIKELIHOODS}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}: give a number from 0 to under 1")
        if self.sigma is not None and not 0 < self.sigma < math.inf:
            raise ValueError(f"sigma={self.sigma}: give a number above 0, or none to learn it")
        if min(self.image_shape[1:]) < 2 ** (len(self.channels) - 1):
            raise ValueError(
                f"{len(self.channels)} halvings are too many for a picture of "
                f"{self.image_shape[1]}×{self.image_shape[2]}: give fewer channels"
            )

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(H, W) before each encoder stage and after the last, largest first."""
        sizes = [self.image_shape[1:]]
        for _ in self.channels:
            height, width = sizes[-1]
            sizes.append(((height + 1) // 2, (width + 1) // 2))
        return sizes


def _normed(convolution: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.LeakyReLU(0.1))


class ResidualBlock(nn.Module):
    """x + f(x) with two 3×3 convolutions. Source: He et al., arXiv 1603.05027."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        last = nn.BatchNorm2d(channels)
        nn.init.zeros_(last.weight)  # starts as the identity, so depth costs nothing
        self.body = nn.Sequential(
            _normed(nn.Conv2d(channels, channels, 3, padding=1, bias=False), channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            last,
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.body(x), 0.1)  # (N, C, H, W), unchanged


class AddedBlock(ResidualBlock):
    """x + f(x) and nothing after it: it begins as the identity, to the bit."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)  # (N, C, H, W), unchanged


class Upsample(nn.Module):
    """Double a map and cut it to `size`, so that odd sizes come back as they were."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.convolution = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = self.size
        return self.convolution(x)[:, :, :height, :width]  # (N, C, 2h, 2w) -> (N, C', H, W)


class Encoder(nn.Module):
    """Image (and condition) → posterior over z."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        inputs = config.image_shape[0]
        stages: list[nn.Module] = []
        added = iter(config.encoder_added)
        for channels in config.channels:
            stride = 1 if config.pool else 2
            stages.append(_normed(nn.Conv2d(inputs, channels, 3, stride, 1), channels))
            if config.pool:
                stages.append(nn.MaxPool2d(2, ceil_mode=True))
            if config.dropout:
                stages.append(nn.Dropout2d(config.dropout))
            stages += [AddedBlock(channels) for _ in range(next(added, 0))]
            inputs = channels
        self.stages = nn.Sequential(*stages)
        height, width = config.sizes[-1]
        features = inputs * height * width + len(config.conditions)
        self.spread_grid = config.spread_grid
        self.posterior = nn.Linear(features, (1 if self.spread_grid else 2) * config.latents)
        if self.spread_grid:  # how sure it is hangs on less than what it sees: half the weights
            self.spread = nn.Linear(inputs * self.spread_grid**2, config.latents)
            nn.init.zeros_(self.spread.weight)
            nn.init.constant_(self.spread.bias, -3.0)  # narrow, so that little noise is learnt from

    def forward(self, images: Tensor, condition: Tensor | None = None) -> Gaussian:
        maps = self.stages(2.0 * images - 1.0)  # (N, C, H, W) -> (N, c, h, w)
        features = maps.flatten(1)  # (N, c·h·w)
        if condition is not None:
            features = torch.cat([features, condition], dim=1)  # (N, c·h·w + K)
        parameters = self.posterior(features)
        if self.spread_grid:
            pooled = F.adaptive_avg_pool2d(maps, self.spread_grid).flatten(1)  # (N, c·grid²)
            parameters = torch.cat([parameters, self.spread(pooled)], dim=1)  # (N, 2D)
        return Gaussian.from_parameters(parameters)


class Decoder(nn.Module):
    """z (and condition) → logits of the image; their sigmoid is the picture."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.start = (config.channels[-1], *config.sizes[-1])  # c, h, w
        start = self.start[0] * self.start[1] * self.start[2]
        self.dense = nn.Linear(config.latents + len(config.conditions), start)
        inputs = self.start[0]
        stages: list[nn.Module] = []
        added = iter(config.decoder_added)
        for channels, size in zip(config.channels[-2::-1], config.sizes[-2:0:-1], strict=True):
            stages += [ResidualBlock(inputs) for _ in range(config.blocks)]
            stages += [AddedBlock(inputs) for _ in range(next(added, 0))]
            stages.append(_normed(Upsample(inputs, channels, size), channels))
            inputs = channels
        stages += [ResidualBlock(inputs) for _ in range(config.blocks)]
        stages += [AddedBlock(inputs) for _ in range(next(added, 0))]
        stages.append(Upsample(inputs, config.image_shape[0], config.sizes[0]))
        self.stages = nn.Sequential(*stages)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        if condition is not None:
            z = torch.cat([z, condition], dim=1)  # (N, D + K)
        start = self.dense(z).unflatten(1, self.start)  # (N, c·h·w) -> (N, c, h, w)
        return self.stages(start)  # (N, C, H, W)


class FaceVAE(nn.Module):
    """Encoder, decoder and likelihood: p(x | z, c), q(z | x, c) and the prior N(0, I).

    Pictures are float32 in [0, 1], (N, C, H, W); a condition is (N, K) with a column a name in
    `config.conditions`. Source: Kingma & Welling, arXiv 1312.6114; conditions as in Sohn et al.,
    "Learning structured output representation", NeurIPS 2015.
    """

    SIGMA_MOMENTUM = 0.05
    variance: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        # The optimal σ² of the training batches, averaged as BatchNorm does its variance:
        # validation then scores with what was learnt, not with what suits its own faces.
        self.register_buffer("variance", torch.tensor((config.sigma or 1.0) ** 2))

    def encode(self, images: Tensor, condition: Tensor | None = None) -> Gaussian:
        """The posterior of images (N, C, H, W), its mean and std (N, D)."""
        if tuple(images.shape[1:]) != self.config.image_shape:
            raise ValueError(
                f"this model reads pictures of shape {self.config.image_shape}, "
                f"not {tuple(images.shape[1:])}: prepare the faces at its size"
            )
        return self.encoder(images, self._checked(condition))

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """The mean picture of latents z (N, D): (N, C, H, W) in [0, 1]."""
        return self.decoder(z, self._checked(condition)).sigmoid()

    def forward(
        self,
        images: Tensor,
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
        part: Part | None = None,
    ) -> tuple[Tensor, Gaussian]:
        """Encode, sample once, decode: log p(x | z) of each image (N,) in nats, and q(z | x).

        The images may be a `part` of a batch that several processes share.
        """
        posterior = self.encode(images, condition)
        logits = self.decoder(posterior.sample(generator, part), condition)
        return self.log_likelihood(logits, images), posterior

    def log_likelihood(self, logits: Tensor, images: Tensor) -> Tensor:
        """log p(x | z), (N,) nats per image, under the configured likelihood."""
        if self.config.likelihood == "bernoulli":
            return losses.bernoulli_log_likelihood(logits, images)
        mean = logits.float().sigmoid()  # bfloat16 near 1 would be in whole grey levels
        sigma = self.variance.sqrt()
        if self.training and self.config.sigma is None:
            sigma = losses.optimal_sigma(mean, images)
            with torch.no_grad():
                self.variance.lerp_(sigma.square(), self.SIGMA_MOMENTUM)
        return losses.gaussian_log_likelihood(mean, images, sigma)

    def _checked(self, condition: Tensor | None) -> Tensor | None:
        names = self.config.conditions
        if bool(names) != (condition is not None):
            wants = f"needs the condition {names}" if names else "takes no condition"
            raise ValueError(f"this model {wants}")
        return condition

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write `config.json` and `model.safetensors`; float16 halves the file.

        The variance and BatchNorm's running ones stay float32: they can be under float16's range.
        """
        stored.write(self, self.config, folder, dtype)

    def fingerprint(self) -> str:
        """A name for these weights, the same before and after they are stored as float16."""
        return stored.fingerprint(self)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> FaceVAE:
        """Load what `save_pretrained` wrote: float32, on the CPU, in eval mode.

        Args:
            folder: a folder, or `hub:owner/name` for a model on the Hugging Face Hub; `hub:` may
                be left out where there is no folder `owner`.

        Raises:
            NotAModel: a file is missing, foreign, broken or of another format, and which.
        """
        return stored.read(folder, lambda config: cls(ModelConfig(**config)))

    def grow_from(self, smaller: FaceVAE) -> None:
        """Take over the weights of a model that lacks this one's added blocks.

        They begin as the identity: nothing that was learnt is lost. Source: Chen, Goodfellow &
        Shlens, "Net2Net", arXiv 1511.05641, section 3.3.

        Raises:
            ValueError: the two differ in more than added blocks, or the other has more of them.
        """
        plain = [
            dataclasses.replace(one.config, encoder_added=(), decoder_added=())
            for one in (self, smaller)
        ]
        sides = ((self.encoder, smaller.encoder), (self.decoder, smaller.decoder))
        if plain[0] != plain[1] or not all(_grown(a.stages, b.stages) for a, b in sides):
            raise ValueError(
                f"the model of {smaller.config} is not of the same make as {self.config}: begin "
                "with one that differs in added blocks at most, or change --set model.FIELD=VALUE"
            )
        others = {k: v for k, v in smaller.state_dict().items() if ".stages." not in k}
        self.load_state_dict(others, strict=False)


def _grown(stages: nn.Sequential, smaller: nn.Sequential) -> bool:
    """Load each stage from its like; an added block that has none there stays as it is."""
    left = [*smaller]
    for stage in stages:
        if left and type(left[0]) is type(stage):
            stage.load_state_dict(left.pop(0).state_dict())
        elif not isinstance(stage, AddedBlock):
            return False
    return not left
