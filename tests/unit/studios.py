"""Tiny untrained studios of every kind, whose pictures depend on code and condition."""

import numpy as np
import torch

from facevae import FaceVAE, ModelConfig, Studio
from facevae.latents.diagnostics import LatentStatistics
from facevae.models.classifier import AttributeClassifier, ClassifierConfig
from facevae.models.priors import MixturePrior

SMALL = {"latents": 8, "channels": (8, 16, 16), "blocks": 0}
LABELS = ("Smiling", "Eyeglasses", "Male")
ANCHORS = (5.0, 20.0, 40.0, 60.0, 80.0)
CONFIGS = {
    "plain": ModelConfig((3, 64, 64), **SMALL),
    "grey": ModelConfig((1, 28, 20), likelihood="bernoulli", **SMALL),
    "conditional": ModelConfig((3, 64, 64), conditions=("age", "gender"), **SMALL),
    "studio": ModelConfig(
        (3, 64, 64), **SMALL, decoder_channels=(16, 16, 8, 8), upsample="shuffle",
        conditions=("Smiling", "Bangs", "Bald", "Male", "age"), condition_encoder=False,
        film=True, hold=True, age_anchors=ANCHORS),
}  # fmt: skip
WHOLE = ("plain", "conditional", "studio")  # kinds that find a face in a photo
FRAMINGS = {"plain": "face", "grey": "none", "conditional": "face", "studio": "head"}


def tiny_model(config: ModelConfig) -> FaceVAE:
    """Untrained, with weights so large that every latent and condition shows."""
    torch.manual_seed(0)
    model = FaceVAE(config).eval().requires_grad_(False)
    for decoder in [model.decoder] + ([model.edit_decoder] if config.hold else []):
        decoder.dense.weight.mul_(6)
        for stage in decoder.stages:
            if stage.film is not None:
                stage.film.weight.normal_(0, 0.5)
    return model


def tiny_statistics(config: ModelConfig, framing: str, labels=LABELS, ages=True):
    generator = torch.Generator().manual_seed(1)
    latents, count, conditions = config.latents, len(labels), len(config.conditions)
    has = torch.randn(count, latents, generator=generator)
    years = torch.tensor([5.0, 25.0, 45.0, 75.0] if ages else [])
    slope = torch.randn(latents, generator=generator)
    codes = torch.randn(200, latents, generator=generator)
    return LatentStatistics(
        framing=framing, source="drawn", labels=tuple(labels), with_label=has, without_label=-has,
        balanced=2 * has + 0.2, counts=torch.full((count, 2), 50),
        ages=years, age_codes=(years[:, None] - 40) / 20 * slope,
        mean_condition=torch.full((conditions,), 0.4),
        probe=0.1 * torch.randn(latents + 1, conditions, generator=generator),
        prior=MixturePrior.fit(codes, components=1),
    )  # fmt: skip


def tiny_classifier() -> AttributeClassifier:
    torch.manual_seed(0)
    names = ("Smiling", "Bangs", "Bald", "Male", "Eyeglasses")
    config = ClassifierConfig(names, framing="face", size=32, channels=(8, 8, 8, 8), cells=2)
    classifier = AttributeClassifier(config).eval().requires_grad_(False)
    classifier.lines.bias.copy_(torch.tensor([-3.0, 2.0, -3.0, -2.0, -3.0]))
    return classifier


def tiny_studio(kind: str) -> Studio:
    """One of CONFIGS: only "studio" has a classifier, and "grey" knows neither labels nor ages."""
    config, known = CONFIGS[kind], kind != "grey"
    statistics = tiny_statistics(config, FRAMINGS[kind], LABELS if known else (), known)
    classifier = tiny_classifier() if kind == "studio" else None
    return Studio(tiny_model(config), statistics, classifier)


def levels(picture):
    return np.asarray(picture, float)
