"""Files: atomic writes, models as safetensors beside JSON, and folders of the Hugging Face Hub."""

from __future__ import annotations

import dataclasses
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

FORMAT = 2  # of config.json; raised when an older reader would misread a newer folder
UNFINISHED = ".unfinished-*"  # glob of the files that `replacing` has not yet put in place
Network = TypeVar("Network", bound=nn.Module)


class NotAModel(ValueError):
    """A folder or file that does not hold a FaceVAE which this version can read."""


def local(folder: str | os.PathLike) -> Path:
    """A folder as it is; of `hub:owner/name` the copy in the Hugging Face Hub's cache, fetched
    where need be: settings and safetensors alone, so nothing is ever unpickled.

    Raises:
        OSError, ValueError: it cannot be had, or is no name.
    """
    name = os.fspath(folder)
    if not name.startswith("hub:"):
        return Path(folder)
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.safetensors"]
    try:
        return Path(snapshot_download(name.removeprefix("hub:"), allow_patterns=wanted))
    except OSError as error:
        raise OSError(f"the Hugging Face Hub gave no {name}: {first_line(error)}") from error


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path`; what is written there takes its place on success.

    On any error the temporary file goes and whatever stood at `path` stays as it was. After a
    loss of power, too, there is the old file or the new one, whole.

    Raises:
        OSError: the disk is full, the folder is none or read-only: which file, and why.
    """
    path = Path(path)
    # the suffix is kept, since writers choose the format by it
    temporary = path.with_name(UNFINISHED.replace("*", uuid.uuid4().hex) + path.suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch's and safetensors' own kinds
        reason = getattr(error, "strerror", None) or first_line(error)
        todo = "make room there, or choose another folder"
        raise OSError(f"{path} cannot be written ({reason}): {todo}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def claim(folder: str | os.PathLike) -> None:
    """Make a folder that one process is about to fill, and see that it takes files: better now
    than after an hour of work. What writers that were killed left in it goes.
    """
    probe = Path(folder) / "probe"
    with replacing(probe) as temporary:
        temporary.write_bytes(b"0")
    for left in (probe, *Path(folder).rglob(UNFINISHED)):
        left.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_safetensors(path: str | os.PathLike, tensors: dict[str, Tensor]) -> None:
    """Write named tensors (copied to the CPU, contiguous) as safetensors, atomically."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        temporary.write_bytes(save(whole))  # its own writer lets nobody else read


def write_model(network: nn.Module, config: Any, folder: str | Path, dtype: torch.dtype) -> None:
    """Write a network and the dataclass that it is built from; float16 halves the file.

    Variances, which can be under float16's range, stay as they are.
    """
    about = {"format": FORMAT, **dataclasses.asdict(config)}
    write_text(Path(folder) / "config.json", json.dumps(about, indent=1) + "\n")
    tensors = {name: value.to(dtype) if value.is_floating_point() and "var" not in name else value
               for name, value in network.state_dict().items()}  # fmt: skip
    write_safetensors(Path(folder) / "model.safetensors", tensors)


def read_model(folder: str | Path, build: Callable[[dict[str, Any]], Network]) -> Network:
    """A network as `build` makes it of its settings, with the weights that `write_model` wrote:
    float32, on the CPU, in eval mode.

    Raises:
        NotAModel: a file is missing, foreign, broken or of another format, and which.
    """
    try:
        folder = local(folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config.pop("format", None) != FORMAT:
            raise ValueError(f"its config.json is not of format {FORMAT}")
        with torch.device("meta"):  # no time is lost on weights that are about to be replaced
            network = build(config)
        weights = load_file(folder / "model.safetensors")
        weights = {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
        network.load_state_dict(weights, assign=True)
    except Exception as error:  # foreign files raise nearly every kind
        # torch names the weight that does not fit in the second line
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise NotAModel(
            f"{folder} holds no facevae model that can be read ({reason}): "
            "give a folder with the config.json and model.safetensors of one"
        ) from error
    return network.requires_grad_(False).eval()


def first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
