"""Files: atomic writes, models as safetensors beside JSON, and folders of the Hugging Face Hub."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

UNFINISHED = ".unfinished-*"  # glob of the files that `replacing` has not yet put in place


class NotAModel(ValueError):
    """A folder that does not hold something trained which this version can read."""


def local(folder: str | os.PathLike) -> Path:
    """A folder as it is; of `hub:owner/name` the copy in the Hugging Face Hub's cache, fetched
    where need be: settings and safetensors alone, so nothing is ever unpickled. OSError: it cannot
    be had."""
    name = os.fspath(folder)
    if not name.startswith("hub:"):
        return Path(folder)
    from huggingface_hub import snapshot_download

    with explained(OSError, f"the Hugging Face Hub gave no {name}", "check its name"):
        wanted = ["*.json", "*.safetensors"]
        return Path(snapshot_download(name.removeprefix("hub:"), allow_patterns=wanted))


def reason(error: Exception) -> str:
    """An error in one line: its first two, since torch names the weight in the second."""
    lines = str(error).strip().splitlines()[:2]
    return " ".join(line.strip() for line in lines) or type(error).__name__


@contextmanager
def explained(kind: type[Exception], said: str, todo: str) -> Iterator[None]:
    """Raise whatever goes wrong inside (foreign files raise nearly every kind) as one sentence of
    this kind: what is wrong, the reason in brackets, and what to do."""
    try:
        yield
    except Exception as error:
        raise kind(f"{said} ({reason(error)}): {todo}") from error


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path`; what is written there takes its place on success.

    On any error the temporary file goes and whatever stood at `path` stays as it was. After a
    loss of power, too, there is the old file or the new one, whole. OSError: the disk is full, the
    folder is none or read-only: which file, and why."""
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
        why = getattr(error, "strerror", None) or reason(error)
        todo = "make room there, or choose another folder"
        raise OSError(f"{path} cannot be written ({why}): {todo}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def claim(folder: str | os.PathLike) -> None:
    """Make a folder that one process is about to fill, and see that it takes files: better now
    than after an hour of work. What writers that were killed left in it goes."""
    probe = Path(folder) / "probe"
    with replacing(probe) as temporary:
        temporary.write_bytes(b"0")
    for left in (probe, *Path(folder).rglob(UNFINISHED)):
        left.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


class Pair(NamedTuple):
    """Settings as JSON and tensors as safetensors in one folder: how what is trained is kept."""

    settings: str  # names of the two files
    tensors: str
    format: int  # of the settings; raised when an older reader would misread a newer folder
    holds: str  # what such a folder holds, and what to do where this one does not
    todo: str

    def write(
        self, folder: str | Path, settings: dict[str, Any], tensors: dict[str, Tensor],
        dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        """Write both, each atomically, the tensors on the CPU and, but for variances, which can be
        under float16's range, as `dtype`."""
        text = json.dumps({"format": self.format, **settings}, indent=1, ensure_ascii=False)
        write_text(Path(folder, self.settings), text + "\n")
        whole = {}
        for name, tensor in tensors.items():
            kept = dtype if tensor.is_floating_point() and "var" not in name else None
            whole[name] = tensor.detach().to("cpu", kept).contiguous()
        with replacing(Path(folder, self.tensors)) as temporary:
            temporary.write_bytes(save(whole))  # its own writer lets nobody else read

    @contextmanager
    def reading(self, folder: str | Path) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
        """Give the settings and the tensors that `write` wrote, to build something of them.
        NotAModel: a file is missing, foreign, broken or of another format, and which."""
        said = f"{folder} holds no {self.holds} that can be read"
        with explained(NotAModel, said, self.todo):
            folder = local(folder)
            settings = json.loads((folder / self.settings).read_text(encoding="utf-8"))
            if settings.pop("format", None) != self.format:
                raise ValueError(f"its {self.settings} is not of format {self.format}")
            yield settings, load_file(folder / self.tensors)
