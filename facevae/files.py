"""Files that are either whole or not there: write beside the target, flush, then rename."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")  # owner/name
UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.partial")  # how `replacing` names what is no file yet


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

    wanted = ["config.json", "*.safetensors"]
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
