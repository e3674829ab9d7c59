"""FaceVAE: a convolutional VAE of any image size, plain or conditional, and what it shows."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Self

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from facevae.config import ModelConfig
from facevae.io import Pair
from facevae.models import losses
from facevae.models.gaussian import Gaussian

FILES = Pair("config.json", "model.safetensors", 2, "facevae model",
             "give a folder with the config.json and model.safetensors of one")  # fmt: skip
EDITS = FILES._replace(settings="edits.json", tensors="edits.safetensors")
HOLD_BIAS = 2.0  # a new decoder holds on to 0.88 of the photo
FULL_CHANGE = 0.5  # a condition that moves this far lets go of the photo as far as `hold` says
SIGMA_MOMENTUM = 0.05  # of the running optimal σ²


def normalization(kind: str, channels: int) -> nn.BatchNorm2d | nn.GroupNorm:
    """BatchNorm2d, or GroupNorm (arXiv 1803.08494), which does not depend on the batch."""
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(next(g for g in range(8, 0, -1) if channels % g == 0), channels)


class ResidualBlock(nn.Module):
    """x + f(x) with two 3×3 convolutions. Source: He et al., arXiv 1603.05027."""

    def __init__(self, channels: int, norm: str = "batch", leak: float = 0.1) -> None:
        super().__init__()
        self.leak = leak
        first, last = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        norms = normalization(norm, channels), normalization(norm, channels)
        norms[1].weight.data.zero_()  # starts as the identity, so depth costs nothing
        self.body = nn.Sequential(first, norms[0], nn.LeakyReLU(leak), last, norms[1])

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.body(x), self.leak)  # (N, C, H, W), unchanged


class Upsample(nn.Sequential):
    """Double a map and cut it to `size`, which may be odd: "transposed"; the cheaper "shuffle", at
    first the nearest neighbour (ICNR, arXiv 1707.02937); or, to end that, meshless "bilinear"."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], kind: str) -> None:
        layers: dict[str, nn.Module]
        if kind == "transposed":
            layers = {"convolution": nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)}
        elif kind == "bilinear":
            larger = nn.Upsample(scale_factor=2.0, mode="bilinear")
            layers = {"larger": larger, "convolution": nn.Conv2d(inputs, outputs, 3, 1, 1)}
        else:
            convolution = nn.Conv2d(inputs, 4 * outputs, 3, 1, 1)  # weight (4·C', C, 3, 3)
            convolution.weight.data = convolution.weight.data[::4].repeat_interleave(4, dim=0)
            layers = {"convolution": convolution, "shuffle": nn.PixelShuffle(2)}
        super().__init__(OrderedDict(layers))
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        height, width = self.size
        return super().forward(x)[:, :, :height, :width]  # (N, C', H, W)


class Encoder(nn.Module):
    """Image (and condition) → posterior over z."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.signed, self.spread_grid = config.input_range == "signed", config.spread_grid
        inputs, stages = config.image_shape[0], list[nn.Module]()
        for channels in config.channels:
            stages += [nn.Conv2d(inputs, channels, 3, 1 if config.pool else 2, 1)]
            stages += [normalization(config.norm, channels), nn.LeakyReLU(config.leak)]
            stages += [nn.MaxPool2d(2, ceil_mode=True)] if config.pool else []
            stages += [nn.Dropout2d(config.dropout)] if config.dropout else []
            inputs = channels
        self.stages = nn.Sequential(*stages)
        features = inputs * math.prod(config.sizes[-1])
        features += len(config.conditions) if config.condition_encoder else 0
        self.posterior = nn.Linear(features, (1 if self.spread_grid else 2) * config.latents)
        if self.spread_grid:  # the variance needs less of the picture: half the weights
            self.spread = nn.Linear(inputs * self.spread_grid**2, config.latents)
            self.spread.weight.data.zero_()
            self.spread.bias.data.fill_(-3.0)  # narrow, so that little noise is learnt from

    def forward(self, images: Tensor, condition: Tensor | None = None) -> Gaussian:
        x = 2.0 * images - 1.0 if self.signed else images
        maps = self.stages(x)  # (N, C, H, W) -> (N, c, h, w)
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
        count = config.blocks + (config.fine_blocks if min(size) >= 64 else 0)
        blocks = (ResidualBlock(inputs, config.norm, config.leak) for _ in range(count))
        self.blocks = nn.Sequential(*blocks)
        self.upsample = Upsample(inputs, outputs, size, kind)
        self.norm, self.leak = normalization(config.norm, outputs), config.leak
        self.film = nn.Linear(config.condition_numbers, 2 * outputs) if config.film else None
        if self.film is not None:  # the identity at first; Perez et al., arXiv 1709.07871
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        x = self.norm(self.upsample(self.blocks(x)))  # (N, C, h, w) -> (N, C', 2h, 2w)
        if self.film is not None:
            scale, shift = self.film(condition)[:, :, None, None].chunk(2, dim=1)  # (N, C', 1, 1)
            x = x * (1.0 + scale) + shift
        return F.leaky_relu(x, self.leak)


class Decoder(nn.Module):
    """z (and condition) → logits of the image, whose sigmoid is the picture; a tanh brought to
    [0, 1] is no other: (1 + tanh a) / 2 = sigmoid(2a). With `hold` a last channel tells how much of
    a photo's own detail stays."""

    def __init__(self, config: ModelConfig, hold: bool = False) -> None:
        super().__init__()
        inputs, *rest = config.decoder_channels or config.channels[::-1]
        self.start = (inputs, *config.sizes[-1])  # c, h, w
        self.dense = nn.Linear(config.latents + config.condition_numbers, math.prod(self.start))
        sizes, outputs = config.sizes[-2::-1], config.image_shape[0] + hold
        final = "bilinear" if config.upsample == "shuffle" else config.upsample
        kinds = [*[config.upsample] * (len(sizes) - 1), final]
        self.stages = nn.ModuleList()
        for channels, size, kind in zip(rest, sizes, kinds, strict=False):
            self.stages.append(DecoderStage(config, inputs, channels, size, kind))
            inputs = channels
        if len(rest) == len(sizes):  # a stage for each doubling, then two convolutions
            last = nn.Conv2d(inputs, outputs, 3, padding=1)
            first = nn.Conv2d(inputs, inputs, 3, padding=1)
            self.head = nn.Sequential(first, nn.LeakyReLU(config.leak), last)
        else:  # the plain mirror: the last doubling gives the picture
            blocks = (ResidualBlock(inputs, config.norm, config.leak) for _ in range(config.blocks))
            picture = Upsample(inputs, outputs, config.sizes[0], config.upsample)
            self.head = nn.Sequential(*blocks, picture)

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
    1312.6114; conditions as in Sohn et al., "Learning structured output representation", 2015."""

    variance: Tensor
    edit_decoder: Decoder  # with `config.hold`: trained on what edits show, not on faces

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        if config.hold:
            self.edit_decoder = Decoder(config, hold=True)
        # The optimal σ² of the training batches, averaged as BatchNorm does its variance:
        # validation then scores with what was learnt, not with what suits its own faces.
        self.register_buffer("variance", torch.tensor((config.sigma or 0.0) ** 2))

    def encode(self, images: Tensor, condition: Tensor | None = None) -> Gaussian:
        """The posterior of images; where the encoder takes no condition, it is ignored."""
        shape, own = tuple(images.shape[1:]), self.config.image_shape
        if shape != own:
            raise ValueError(f"a picture of shape {shape} is given to a model of {own}: "
                             "prepare the faces at its size")  # fmt: skip
        given = self._checked(condition) if self.config.condition_encoder else None
        return self.encoder(images, given)

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """The mean picture of latents z (N, D): (N, C, H, W) in [0, 1]."""
        return self._logits(self.decoder, z, condition).sigmoid()

    def decode_edit(self, z: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """The edit decoder's picture (N, C, H, W), of which differences between two conditions are
        shown, and how much of a photo's detail stays, (N, 1, H, W). Only with `config.hold`."""
        logits, colours = self._logits(self.edit_decoder, z, condition), self.config.image_shape[0]
        return logits[:, :colours].sigmoid(), (logits[:, colours:] + HOLD_BIAS).sigmoid()

    def distance(self, condition: Tensor, changed: Tensor) -> Tensor:
        """How far each condition moves, (N,): 0 not at all, 1 from FULL_CHANGE on."""
        moved = (self._expanded(changed) - self._expanded(condition)).abs().amax(dim=1)  # (N,)
        return (moved / FULL_CHANGE).clamp(max=1.0)

    def forward(
        self, images: Tensor, condition: Tensor | None = None, generator: Generator | None = None
    ) -> tuple[Tensor, Gaussian]:
        """Encode, sample once, decode: log p(x | z) of each image (N,) in nats, and q(z | x)."""
        posterior = self.encode(images, condition)
        logits = self._logits(self.decoder, posterior.sample(generator), condition)
        return self.log_likelihood(logits, images), posterior

    def log_likelihood(self, logits: Tensor, images: Tensor) -> Tensor:
        """log p(x | z), (N,) nats per image, under the configured likelihood."""
        if self.config.likelihood == "bernoulli":
            return losses.bernoulli_log_likelihood(logits, images)
        mean = logits.float().sigmoid()  # bfloat16 near 1 would be in whole grey levels
        sigma = self.variance.sqrt()
        if self.training and self.config.sigma is None:
            sigma = losses.optimal_sigma(mean, images)
            with torch.no_grad():  # the first batch's own σ² begins the average
                self.variance.lerp_(sigma.square(), SIGMA_MOMENTUM if self.variance > 0 else 1.0)
        return losses.gaussian_log_likelihood(mean, images, sigma)

    @torch.no_grad()
    def with_edit_decoder(self) -> Self:
        """The same model with an edit decoder, a copy of the decoder."""
        model = type(self)(replace(self.config, hold=True))
        model.load_state_dict(self.state_dict(), strict=False)
        begun = self.decoder.state_dict()
        for name, weight in model.edit_decoder.state_dict().items():
            own = tuple(slice(length) for length in begun[name].shape)
            weight.zero_()[own] = begun[name]  # the channel of `hold` begins at HOLD_BIAS
        return model.eval()

    def _logits(self, decoder: Decoder, z: Tensor, condition: Tensor | None) -> Tensor:
        condition = self._checked(condition)
        return decoder(z, None if condition is None else self._expanded(condition))

    def _expanded(self, condition: Tensor) -> Tensor:
        """Conditions (N, K) with the age as weights of its anchors, (N, K − 1 + A)."""
        if not self.config.age_anchors:
            return condition
        column = self.config.conditions.index("age")
        weights = age_weights(100.0 * condition[:, column], self.config.age_anchors)  # (N, A)
        return torch.cat([condition[:, :column], condition[:, column + 1 :], weights], dim=1)

    def _checked(self, condition: Tensor | None) -> Tensor | None:
        """A condition that has a column a name; one without columns is none."""
        names = self.config.conditions
        if len(names) != (0 if condition is None else condition.shape[1]):
            wants = f"needs the condition {names}" if names else "takes no condition"
            raise ValueError(f"this model {wants}")
        return condition if names else None

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write `config.json` and `model.safetensors`, and the edit decoder, where there is one, as
        `edits.json` and `edits.safetensors`; float16 halves the files."""
        state = self.state_dict()
        edits = {name: state.pop(name) for name in [*state] if name.startswith("edit_decoder.")}
        FILES.write(folder, asdict(self.config), state, dtype)
        if edits:
            EDITS.write(folder, {}, edits, dtype)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Load what `save_pretrained` wrote, or `hub:owner/name`: float32, on the CPU, in eval
        mode. NotAModel: a file is missing, foreign, broken or of another format."""
        with FILES.reading(folder) as (config, weights):
            with torch.device("meta"):  # no time is lost on weights that are about to be replaced
                model = cls(ModelConfig(**config))
            if model.config.hold:
                with EDITS.reading(folder) as (_, edits):
                    weights |= edits
            weights = {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
            model.load_state_dict(weights, assign=True)
        return model.requires_grad_(False).eval()


def soften(hold: Tensor, distance: Tensor) -> Tensor:
    """Hold masks (N, 1, H, W) that come from 1 as far as the condition moves, (N,) in [0, 1]."""
    return 1.0 - distance[:, None, None, None] * (1.0 - hold)


def age_weights(years: Tensor, anchors: Sequence[float]) -> Tensor:
    """Ages (N,) in years → weights of the anchors (N, A), sum 1: linear between two neighbours."""
    points = torch.as_tensor(anchors, dtype=years.dtype, device=years.device)  # (A,)
    years = years.clamp(anchors[0], anchors[-1])
    upper = torch.bucketize(years, points).clamp(1, len(anchors) - 1)  # (N,)
    low, high = points[upper - 1], points[upper]
    share = ((years - low) / (high - low))[:, None]  # (N, 1)
    weights = years.new_zeros(len(years), len(anchors))
    return weights.scatter(1, upper[:, None], share).scatter_add(1, upper[:, None] - 1, 1 - share)
