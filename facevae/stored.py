"""A network as a folder: `config.json` and `model.safetensors`, and a name for its weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from facevae.files import local, write_safetensors, write_text

FORMAT = 1  # of config.json; raised when an older reader would misread a newer folder
Network = TypeVar("Network", bound=nn.Module)


class NotAModel(ValueError):
    """A folder or file that does not hold a FaceVAE which this version can read."""


def write(network: nn.Module, config: Any, folder: str | Path, dtype: torch.dtype) -> None:
    """Write a network and the dataclass that it is built from; float16 halves the file."""
    folder = Path(folder)
    about = {"format": FORMAT, **dataclasses.asdict(config)}
    write_text(folder / "config.json", json.dumps(about, indent=1) + "\n")
    write_safetensors(folder / "model.safetensors", _tensors(network, dtype))


def read(folder: str | Path, build: Callable[[dict[str, Any]], Network]) -> Network:
    """A network as `build` makes it of its settings, with the weights that `write` wrote: float32,
    on the CPU, in eval mode.

    Raises:
        NotAModel: a file is missing, foreign, broken or of another format, and which.
    """
    try:
        folder = local(folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        found = config.pop("format", None) if isinstance(config, dict) else None
        if found != FORMAT:
            raise ValueError(f"its config.json is of format {found}, this reads {FORMAT}")
        with torch.device("meta"):  # no time is lost on weights that are about to be replaced
            network = build(config)
        weights = load_file(folder / "model.safetensors")
        weights = {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
        network.load_state_dict(weights, assign=True)
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        reason = " ".join(lines[:2])  # torch names the weight that does not fit in the second
        raise NotAModel(
            f"{folder} holds no facevae model that can be read ({reason}): "
            "give a folder with the config.json and model.safetensors of one"
        ) from error
    return network.requires_grad_(False).eval()


def fingerprint(network: nn.Module) -> str:
    """A name for its weights, the same before and after they are stored as float16."""
    tensors = _tensors(network, torch.float16)
    one = hashlib.sha256()
    for name in sorted(tensors):
        one.update(name.encode() + tensors[name].cpu().contiguous().numpy().tobytes())
    return one.hexdigest()[:16]


def _tensors(network: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """Its weights in `dtype`; variances, which can be under float16's range, stay float32."""
    return {
        name: tensor.to(dtype) if tensor.is_floating_point() and "var" not in name else tensor
        for name, tensor in network.state_dict().items()
    }
