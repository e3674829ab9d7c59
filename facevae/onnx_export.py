"""ONNX: the encoder and the decoder as files that other programs run without torch."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from facevae.files import replacing
from facevae.model import FaceVAE

EXAMPLES = 2  # in the batch that is traced: of one, torch would take "one" for a constant


class NoExporter(ValueError):
    """The packages that torch writes ONNX with are not there."""


def export_onnx(model: FaceVAE, folder: str | Path) -> tuple[Path, Path]:
    """Write `encoder.onnx` and `decoder.onnx` into a folder, each whole or not at all.

    The encoder takes `images` (N, C, H, W) in [0, 1] and gives `mean` (N, D), the posterior mean;
    the decoder takes `z` (N, D) and gives `images`. Both take `condition` (N, K) besides where
    the model has conditions. All are float32, and N is free.

    Returns:
        The two paths.

    Raises:
        NoExporter: and what to install.
    """
    if missing := [n for n in ("onnx", "onnxscript") if importlib.util.find_spec(n) is None]:
        raise NoExporter(f"ONNX needs {' and '.join(missing)}: pip install onnx onnxscript")
    model, folder = copy.deepcopy(model).cpu().float(), Path(folder)
    config = model.config
    images = {"images": torch.zeros(EXAMPLES, *config.image_shape)}
    codes = {"z": torch.zeros(EXAMPLES, config.latents)}
    known = {}
    if config.conditions:
        known = {"condition": torch.zeros(EXAMPLES, len(config.conditions))}
    return (
        _write(_Encoder(model), images | known, "mean", folder / "encoder.onnx"),
        _write(_Decoder(model), codes | known, "images", folder / "decoder.onnx"),
    )


def _write(part: nn.Module, inputs: dict[str, Tensor], result: str, path: Path) -> Path:
    free = [{0: torch.export.Dim("N")}, {0: torch.export.Dim.AUTO}]  # the second is found equal
    with replacing(path) as temporary:
        torch.onnx.export(
            part.eval(),
            tuple(inputs.values()),
            temporary,
            input_names=list(inputs),
            output_names=[result],
            dynamic_shapes=tuple(free[: len(inputs)]),
            external_data=False,  # one file, whole or not there
            dynamo=True,
            verbose=False,
        )
    return path


class _Encoder(nn.Module):
    """Images to the posterior mean; ONNX knows tensors alone, no Gaussian."""

    def __init__(self, model: FaceVAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.model.encode(images, condition).mean


class _Decoder(nn.Module):
    def __init__(self, model: FaceVAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.model.decode(z, condition)
