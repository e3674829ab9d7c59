"""Files: atomic writes, models as safetensors beside JSON, and folders of the Hugging Face Hub."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

FORMAT = 2  # of config.json; raised when an older reader would misread a newer folder
HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")  # owner/name
UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.partial")  # how `replacing` names what is no file yet
Network = TypeVar("Network", bound=nn.Module)


def local(folder: str | os.PathLike) -> Path:
    """A folder as it is; of `hub:owner/name` the copy that the Hugging Face Hub's cache holds,
    fetched where need be: settings and safetensors alone, so nothing is ever unpickled.

    A plain `owner/name` means the Hub too, unless there is a folder `owner` here: a slip in the
    name of a run asks nobody.

    Raises:
        OSError, ValueError: it cannot be had, or the name is none.
    """
    name = os.fspath(folder)
    plain = isinstance(folder, str) and HUB_ID.fullmatch(name) and not Path(name).parent.exists()
    if not (plain or name.startswith("hub:")):
        return Path(folder)
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.safetensors"]
    try:
        return Path(snapshot_download(name.removeprefix("hub:"), allow_patterns=wanted))
    except OSError as error:
        reason = str(error).strip().partition("\n")[0]
        here = f"there is no folder {name} here, and " if plain else ""
        raise OSError(f"{here}the Hugging Face Hub gave none of that name: {reason}") from error


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
    temporary = path.with_name(f".{uuid.uuid4().hex}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch's and safetensors' own kinds
        raise _refused(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def claim(folder: str | os.PathLike) -> None:
    """Make a folder that one process is about to fill, and see that it takes files: better now
    than after an hour of work. What writers that were killed left in it goes.

    Raises:
        OSError: it cannot be written, and why.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.joinpath(f".{uuid.uuid4().hex}.partial").write_bytes(b"0")
    except OSError as error:
        raise _refused(folder, error) from error
    finally:
        with suppress(OSError):
            for left in folder.rglob(".*.partial*"):
                if UNFINISHED.match(left.name):
                    left.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """The name of a new file is on the disk only when its folder is; Windows sees to it itself."""
    if os.name != "posix":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network drives know no such thing
            os.fsync(opened)
    finally:
        os.close(opened)


def _refused(path: Path, error: Exception) -> OSError:
    reason = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0]
    return OSError(
        f"{path} cannot be written ({reason}): make room there, or choose another folder"
    )


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_safetensors(
    path: str | os.PathLike, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write named tensors (copied to the CPU, contiguous) as safetensors, atomically."""
    from safetensors.torch import save

    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        temporary.write_bytes(save(whole, metadata))  # its own writer lets nobody else read


class NotAModel(ValueError):
    """A folder or file that does not hold a FaceVAE which this version can read."""


def write_model(network: nn.Module, config: Any, folder: str | Path, dtype: torch.dtype) -> None:
    """Write a network and the dataclass that it is built from; float16 halves the file."""
    folder = Path(folder)
    about = {"format": FORMAT, **dataclasses.asdict(config)}
    write_text(folder / "config.json", json.dumps(about, indent=1) + "\n")
    write_safetensors(folder / "model.safetensors", _tensors(network, dtype))


def read_model(folder: str | Path, build: Callable[[dict[str, Any]], Network]) -> Network:
    """A network as `build` makes it of its settings, with the weights that `write_model` wrote:
    float32, on the CPU, in eval mode.

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
