"""Files that are either whole or not there: write beside the target, flush, then rename."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")  # owner/name


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

    On any error the temporary file goes and whatever stood at `path` stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # the suffix is kept, since writers choose the format by it
    temporary = path.with_name(f".{uuid.uuid4().hex}.partial{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_safetensors(
    path: str | os.PathLike, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write named tensors (copied to the CPU, contiguous) as safetensors, atomically."""
    from safetensors.torch import save_file

    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(whole, temporary, metadata=metadata)
