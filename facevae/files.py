"""Files that are either whole or not there: write beside the target, flush, then rename."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor


def local(folder: str | os.PathLike) -> Path:
    """A folder as it is; of `hub:owner/name` the copy that the Hugging Face Hub's cache holds,
    fetched where need be: settings and safetensors alone, so nothing is ever unpickled.

    Raises:
        OSError, ValueError: it cannot be had, or the name is none.
    """
    name = os.fspath(folder)
    if not name.startswith("hub:"):
        return Path(name)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name[4:], allow_patterns=["config.json", "*.safetensors"]))


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
