"""A prior that starts from a mixture of Gaussians and learns what no Gaussian holds: diffusion in
the latents, by a denoiser of a few million weights. Drawing takes a tenth of a second."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from facevae.files import write_safetensors
from facevae.latent import MixturePrior

UNREADABLE = (OSError, KeyError, IndexError, TypeError, RuntimeError)
WIDTH, BLOCKS, WAVES = 384, 3, 32  # of the denoiser; how many waves tell it the noise
NOISIEST, LEAST, CURVE = 20.0, 0.02, 7.0  # noise on the way of a draw, faces' own spread being 1
STEPS = 12  # of that way, placed by equation 5 of the source and taken by its algorithm 1


class Denoiser(nn.Module):
    """What a Gaussian's own way of taking noise off codes leaves to be done.

    A residual MLP, each block scaled and shifted by how noisy a code is and of which kind.
    At first it says zero: the prior is the mixture then.
    """

    def __init__(self, latents: int, kinds: int, width: int = WIDTH, dropout: float = 0.0) -> None:
        super().__init__()
        self.into = nn.Linear(latents, width)
        self.kinds = nn.Embedding(kinds, width)
        self.noise = nn.Sequential(nn.Linear(2 * WAVES, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(_Block(width, dropout) for _ in range(BLOCKS))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, latents))
        for zero in (self.kinds.weight, *self.out[1].parameters()):
            nn.init.zeros_(zero)

    def forward(self, codes: Tensor, noise: Tensor, kinds: Tensor) -> Tensor:
        """Codes (N, D) under noise (N, 1), of kinds (N,) → (N, D)."""
        waves = (noise.log() / 4) * torch.logspace(0, math.log10(64), WAVES)  # (N, WAVES)
        told = self.noise(torch.cat([waves.sin(), waves.cos()], dim=1)) + self.kinds(kinds)
        hidden = self.into(codes / (1 + noise.square()).sqrt()) + told  # (N, width)
        for block in self.blocks:
            hidden = hidden + block(hidden, told)
        return self.out(hidden)


class _Block(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.told = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.told.weight)
        nn.init.zeros_(self.told.bias)

    def forward(self, hidden: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.told(F.silu(told)).chunk(2, dim=1)
        hidden = self.norm(hidden) * (1 + scale) + shift
        return self.narrow(self.dropout(F.silu(self.wide(hidden))))


class DiffusionPrior:
    """A mixture of Gaussians, a denoiser that betters its draws, and a frame for both.

    In the frame, all codes together have the mean 0 and the covariance 1. A code's noise is taken
    off by its kind's Gaussian in closed form, and the denoiser adds what is known beyond that.
    Source: Karras et al., "Elucidating the design space of diffusion-based generative models",
    arXiv 2206.00364; in the latents of a VAE: Vahdat et al., arXiv 2106.05931.
    """

    def __init__(self, mixture: MixturePrior, denoiser: Denoiser) -> None:
        self.mixture, self.denoiser = mixture, denoiser
        self.mean, covariance = mixture.moments()
        values, axes = torch.linalg.eigh(covariance)
        self.root = axes * values.sqrt() @ axes.T  # (D, D), symmetric, so the only one
        self._inverse = axes / values.sqrt() @ axes.T

    @property
    def latents(self) -> int:
        return self.mixture.latents

    def framed(self, codes: Tensor) -> Tensor:
        """Codes (N, D) in the frame."""
        return (codes - self.mean) @ self._inverse

    @cached_property
    def _gaussians(self) -> tuple[Tensor, Tensor, Tensor]:
        """The mixture in the frame: means (K, D), and variances (K, D) along axes (K, D, D)."""
        factors = self._inverse @ self.mixture.factors
        variances, axes = torch.linalg.eigh(factors @ factors.mT)
        return self.framed(self.mixture.means), variances.clamp(min=0), axes

    def expected(self, codes: Tensor, noise: Tensor, kinds: Tensor) -> Tensor:
        """What the kinds' Gaussians expect under the noise: (N, D), (N, 1), (N,) → (N, D)."""
        means, variances, axes = self._gaussians
        found = torch.empty_like(codes)
        for kind in kinds.unique().tolist():  # an axis an N would not fit into memory
            rows = kinds == kind
            along = (codes[rows] - means[kind]) @ axes[kind]
            kept = variances[kind] / (variances[kind] + noise[rows].square())
            found[rows] = means[kind] + (kept * along) @ axes[kind].T
        return found

    def denoised(self, codes: Tensor, noise: Tensor, kinds: Tensor) -> Tensor:
        """Codes (N, D) of the frame without their noise (N, 1), as far as can be told."""
        more = self.denoiser(codes, noise, kinds)
        return self.expected(codes, noise, kinds) + noise / (1 + noise.square()).sqrt() * more

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator, temperature: float = 0.8) -> Tensor:
        """n draws (n, D); `temperature` scales the noise that they begin as."""
        kinds = torch.multinomial(self.mixture.weights, n, replacement=True, generator=generator)
        start = torch.randn(n, self.latents, generator=generator)
        codes = self._gaussians[0][kinds] + NOISIEST * temperature * start
        ends = torch.linspace(NOISIEST ** (1 / CURVE), LEAST ** (1 / CURVE), STEPS) ** CURVE
        levels = F.pad(ends, (0, 1))[:, None, None].expand(-1, n, 1)  # (STEPS + 1, n, 1), 0 last
        for now, then in zip(levels, levels[1:], strict=False):
            slope = (codes - self.denoised(codes, now, kinds)) / now
            moved = codes + (then - now) * slope
            if then[0] > 0:  # Heun's: the mean of the slopes at both ends
                slope = (slope + (moved - self.denoised(moved, then, kinds)) / then) / 2
                moved = codes + (then - now) * slope
            codes = moved
        return self.mean + codes @ self.root

    def log_likelihood(self, codes: Tensor) -> Tensor:
        """log p of codes (N, D) by the mixture alone, (N,) nats."""
        return self.mixture.log_likelihood(codes)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (D,) and covariance (D, D), the mixture's."""
        return self.mixture.moments()

    def save(self, path: str | Path) -> None:
        """Write as safetensors, in float16."""
        mixture = {
            f"mixture.{k}": getattr(self.mixture, k) for k in ("weights", "means", "factors")
        }
        denoiser = {f"denoiser.{k}": v for k, v in self.denoiser.state_dict().items()}
        write_safetensors(path, {k: v.half() for k, v in (mixture | denoiser).items()})

    @classmethod
    def load(cls, path: str | Path) -> DiffusionPrior:
        """Read what `save` wrote; ValueError says what is wrong with a foreign file."""
        try:
            held: dict[str, dict[str, Tensor]] = {"mixture": {}, "denoiser": {}}
            for key, tensor in load_file(path).items():
                part, _, name = key.partition(".")
                held[part][name] = tensor.float()
            mixture = MixturePrior(**held["mixture"])
            width = len(held["denoiser"]["into.bias"])
            denoiser = Denoiser(mixture.latents, len(mixture.means), width)
            denoiser.load_state_dict(held["denoiser"])
            return cls(mixture, denoiser.requires_grad_(False).eval())
        except (*UNREADABLE, SafetensorError) as error:
            raise ValueError(f"{path} holds no fitted prior ({error})") from error
