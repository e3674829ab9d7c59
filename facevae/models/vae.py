"""FaceVAE: a convolutional VAE of any image size, plain or conditional, and what it shows."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facevae import io
from facevae.config import ModelConfig
from facevae.models import losses
from facevae.models.gaussian import Gaussian
from facevae.models.layers import ResidualBlock, Upsample, normalization

HOLD_BIAS = 2.0  # a new decoder holds on to 0.88 of the photo
FULL_CHANGE = 0.5  # a condition that moves this far lets go of the photo as far as `hold` says


class Encoder(nn.Module):
    """Image (and condition) → posterior over z."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        inputs = config.image_shape[0]
        stages: list[nn.Module] = []
        for channels in config.channels:
            stride = 1 if config.pool else 2
            stages += [nn.Conv2d(inputs, channels, 3, stride, 1)]
            stages += [normalization(config.norm, channels), nn.LeakyReLU(0.1)]
            if config.pool:
                stages.append(nn.MaxPool2d(2, ceil_mode=True))
            if config.dropout:
                stages.append(nn.Dropout2d(config.dropout))
            inputs = channels
        self.stages = nn.Sequential(*stages)
        height, width = config.sizes[-1]
        features = inputs * height * width
        features += len(config.conditions) if config.condition_encoder else 0
        self.spread_grid = config.spread_grid
        self.posterior = nn.Linear(features, (1 if self.spread_grid else 2) * config.latents)
        if self.spread_grid:  # the variance needs less of the picture: half the weights
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


class DecoderStage(nn.Module):
    """Residual blocks, then double the map, normalise, modulate by the condition, LeakyReLU."""

    def __init__(
        self, config: ModelConfig, inputs: int, outputs: int, size: tuple[int, int], kind: str
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(ResidualBlock(inputs, config.norm) for _ in range(config.blocks))
        )
        self.upsample = Upsample(inputs, outputs, size, kind)
        self.norm = normalization(config.norm, outputs)
        self.film = nn.Linear(config.condition_numbers, 2 * outputs) if config.film else None
        if self.film is not None:  # the identity at first; Perez et al., arXiv 1709.07871
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        x = self.norm(self.upsample(self.blocks(x)))  # (N, C, h, w) -> (N, C', 2h, 2w)
        if self.film is not None:
            scale, shift = self.film(condition)[:, :, None, None].chunk(
                2, dim=1
            )  # 2 × (N, C', 1, 1)
            x = x * (1.0 + scale) + shift
        return F.leaky_relu(x, 0.1)


class Decoder(nn.Module):
    """z (and condition) → logits of the image; their sigmoid is the picture.

    With `config.hold` a last channel tells how much of a photo's own detail stays.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        first, *rest = config.decoder_channels or config.channels[::-1]
        self.start = (first, *config.sizes[-1])  # c, h, w
        self.dense = nn.Linear(
            config.latents + config.condition_numbers, first * self.start[1] * self.start[2]
        )
        sizes, outputs = config.sizes[-2::-1], config.image_shape[0] + config.hold
        kinds: list[str] = [config.upsample] * len(sizes)
        if config.upsample == "shuffle":
            kinds[-1] = "bilinear"
        self.stages = nn.ModuleList()
        inputs = first
        for channels, size, kind in zip(rest, sizes, kinds, strict=False):
            self.stages.append(DecoderStage(config, inputs, channels, size, kind))
            inputs = channels
        if len(rest) == len(sizes):  # a stage for each doubling, then two convolutions
            last = nn.Conv2d(inputs, outputs, 3, padding=1)
            self.head = nn.Sequential(
                nn.Conv2d(inputs, inputs, 3, padding=1), nn.LeakyReLU(0.1), last
            )
        else:  # the plain mirror: the last doubling gives the picture
            blocks = (ResidualBlock(inputs, config.norm) for _ in range(config.blocks))
            self.head = nn.Sequential(
                *blocks, Upsample(inputs, outputs, config.sizes[0], config.upsample)
            )

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        if condition is not None:
            z = torch.cat([z, condition], dim=1)  # (N, D + K)
        x = self.dense(z).unflatten(1, self.start)  # (N, c·h·w) -> (N, c, h, w)
        x = x.contiguous(memory_format=torch.channels_last)
        for stage in self.stages:
            x = stage(x, condition)
        return self.head(x)  # (N, C [+ 1], H, W)


class FaceVAE(nn.Module):
    """Encoder, decoder and likelihood: p(x | z, y), q(z | x) and the prior N(0, I).

    Images are float32 in [0, 1], (N, C, H, W); a condition y is (N, K), a column a name in
    `config.conditions`: attributes in [0, 1], ages in centuries. Source: Kingma & Welling, arXiv
    1312.6114; conditions as in Sohn et al., "Learning structured output representation", 2015.
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
        self.register_buffer("variance", torch.tensor((config.sigma or 0.0) ** 2))

    def encode(self, images: Tensor, condition: Tensor | None = None) -> Gaussian:
        """The posterior of images (N, C, H, W), its mean and std (N, D).

        A model whose encoder takes no condition ignores it.
        """
        if tuple(images.shape[1:]) != self.config.image_shape:
            raise ValueError(
                f"this model reads pictures of shape {self.config.image_shape}, "
                f"not {tuple(images.shape[1:])}: prepare the faces at its size"
            )
        if not self.config.condition_encoder:
            return self.encoder(images)
        return self.encoder(images, self._checked(condition))

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """The mean picture of latents z (N, D): (N, C, H, W) in [0, 1]."""
        return self._logits(z, condition)[:, : self.config.image_shape[0]].sigmoid()

    def decode_and_hold(self, z: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """The mean picture (N, C, H, W), and how much of a photo's detail stays, (N, 1, H, W)."""
        logits = self._logits(z, condition)
        colours = self.config.image_shape[0]
        return logits[:, :colours].sigmoid(), (logits[:, colours:] + HOLD_BIAS).sigmoid()

    def show(self, photo: Tensor, z: Tensor, condition: Tensor, changed: Tensor) -> Tensor:
        """Photos under a changed condition, (N, C, H, W): what an edit shows.

        decode(z, y′) + hold · (photo − decode(z, y)), where `hold` comes from 1 as far as the
        condition moves: with nothing changed it is the photo.

        Args:
            photo: (N, C, H, W) in [0, 1]; z: its code (N, D).
            condition, changed: y and y′, (N, K).
        """
        both = torch.cat([condition, changed])
        pictures, hold = self.decode_and_hold(z.repeat(2, 1), both)
        before, after = pictures.chunk(2)
        hold = soften(hold.chunk(2)[1], self.distance(condition, changed))
        return after + hold * (photo - before)

    def distance(self, condition: Tensor, changed: Tensor) -> Tensor:
        """How far each condition moves, (N,): 0 not at all, 1 from FULL_CHANGE on."""
        moved = (self._expanded(changed) - self._expanded(condition)).abs().amax(dim=1)  # (N,)
        return (moved / FULL_CHANGE).clamp(max=1.0)

    def forward(
        self,
        images: Tensor,
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Gaussian]:
        """Encode, sample once, decode: log p(x | z) of each image (N,) in nats, and q(z | x)."""
        posterior = self.encode(images, condition)
        logits = self._logits(posterior.sample(generator), condition)
        return self.log_likelihood(logits[:, : images.shape[1]], images), posterior

    def log_likelihood(self, logits: Tensor, images: Tensor) -> Tensor:
        """log p(x | z), (N,) nats per image, under the configured likelihood."""
        if self.config.likelihood == "bernoulli":
            return losses.bernoulli_log_likelihood(logits, images)
        mean = logits.float().sigmoid()  # bfloat16 near 1 would be in whole grey levels
        sigma = self.variance.sqrt()
        if self.training and self.config.sigma is None:
            sigma = losses.optimal_sigma(mean, images)
            with torch.no_grad():  # the first batch's own σ² begins the average
                momentum = self.SIGMA_MOMENTUM if self.variance > 0 else 1.0
                self.variance.lerp_(sigma.square(), momentum)
        return losses.gaussian_log_likelihood(mean, images, sigma)

    def _logits(self, z: Tensor, condition: Tensor | None) -> Tensor:
        condition = self._checked(condition)
        return self.decoder(z, None if condition is None else self._expanded(condition))

    def _expanded(self, condition: Tensor) -> Tensor:
        """Conditions (N, K) with the age as weights of the nearest anchors, (N, K − 1 + A).

        Between two anchors the weights are linear, so an age acts as any curve, not as a line.
        """
        anchors = self.config.age_anchors
        if not anchors:
            return condition
        column = self.config.conditions.index("age")
        others = [k for k in range(condition.shape[1]) if k != column]
        weights = age_weights(100.0 * condition[:, column], anchors)  # (N, A)
        return torch.cat([condition[:, others], weights], dim=1)

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
        io.write_model(self, self.config, folder, dtype)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> FaceVAE:
        """Load what `save_pretrained` wrote: float32, on the CPU, in eval mode.

        Args:
            folder: a folder, or `hub:owner/name` for a model on the Hugging Face Hub.

        Raises:
            NotAModel: a file is missing, foreign, broken or of another format, and which.
        """
        return io.read_model(folder, lambda config: cls(ModelConfig(**config)))


def soften(hold: Tensor, distance: Tensor) -> Tensor:
    """Hold masks (N, 1, H, W) that come from 1 as far as the condition moves, (N,) in [0, 1]."""
    return 1.0 - distance[:, None, None, None] * (1.0 - hold)


def age_weights(years: Tensor, anchors: tuple[float, ...]) -> Tensor:
    """Ages (N,) in years → weights of the anchors (N, A), sum 1: linear between two neighbours."""
    points = torch.as_tensor(anchors, dtype=years.dtype, device=years.device)  # (A,)
    years = years.clamp(anchors[0], anchors[-1])
    upper = torch.bucketize(years, points).clamp(1, len(anchors) - 1)  # (N,)
    low, high = points[upper - 1], points[upper]
    share = ((years - low) / (high - low))[:, None]  # (N, 1)
    weights = years.new_zeros(len(years), len(anchors))
    return weights.scatter(1, upper[:, None], share).scatter_add(1, upper[:, None] - 1, 1 - share)
