"""Archives of pictures: a folder, .tar(.gz) or .zip as names and bytes, and tables of labels."""

from __future__ import annotations

import csv
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
MAX_PICTURE_BYTES = 64 << 20


class BadSource(ValueError):
    """A source that is not there or not of the expected layout."""


@dataclass(frozen=True)
class Item:
    """One picture: `read()` gives its bytes or a uint8 array; labels as they were found."""

    name: str
    read: Callable[[], Any]
    labels: dict[str, Any] = field(default_factory=dict)


class Archive:
    """Files of a folder or archive. Nothing is unpacked to disk, so a member's path, absolute or
    with `..`, does no harm."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.damage = ""  # why the list of names may be incomplete
        self._members: dict[str, tuple[int, Callable[[], bytes]]] = {}  # name → size, reader
        if not self.path.exists():
            raise BadSource(f"there is no folder or archive {path}: check the path")
        try:
            self._list()
        except Exception as error:  # damage raises of many kinds, zlib's and struct's among them
            if not self._members:
                raise BadSource(
                    f"{self.path} is neither a folder nor a whole .tar, .tar.gz or .zip "
                    f"({first_line(error)}): download it again"
                ) from error
            count = len(self._members)
            self.damage = f"the archive is cut short after {count} files ({first_line(error)})"

    def _list(self) -> None:
        if self.path.is_dir():
            for file in sorted(p for p in self.path.rglob("*") if p.is_file()):
                name = file.relative_to(self.path).as_posix()
                self._members[name] = file.stat().st_size, file.read_bytes
        elif zipfile.is_zipfile(self.path):
            packed = zipfile.ZipFile(self.path)
            for info in packed.infolist():
                if not info.is_dir():
                    self._members[info.filename] = info.file_size, partial(packed.read, info)
        else:
            tar = tarfile.open(self.path)  # noqa: SIM115  (read from as long as this lives)
            for member in tar:
                if member.isfile():
                    self._members[member.name] = member.size, partial(_read_tar, tar, member)

    def read(self, name: str) -> bytes:
        """The bytes of one member; OSError when it is damaged or too large for a picture."""
        size, read = self._members[name]
        if size > MAX_PICTURE_BYTES:
            raise OSError(f"{size} bytes are too many for one picture")
        try:
            data = read()
        except Exception as error:  # as above; a missing password is another kind
            raise OSError(f"it cannot be read: {first_line(error)}") from error
        if len(data) < size:
            raise OSError("the archive ends within this file")
        return data

    def _visible(self) -> Iterator[str]:
        for name in self._members:
            path = PurePosixPath(name)
            if not path.name.startswith(".") and "__MACOSX" not in path.parts:
                yield name

    def pictures(self) -> list[str]:
        """Names that end as pictures do, without hidden and macOS resource files; BadSource where
        there is none."""
        names = [n for n in self._visible() if PurePosixPath(n).suffix.lower() in PICTURES]
        if not names:
            inner = next((n for n in self._members if n.lower().endswith(ARCHIVES)), None)
            hint = f"unpack {inner} and give that" if inner else "check that it is the right one"
            raise BadSource(f"{self.path} holds no pictures: {hint}")
        return names

    def item(self, name: str, **labels: int | str) -> Item:
        return Item(name, partial(self.read, name), labels)

    def find(self, ending: str) -> str | None:
        """The first name with this ending, if there is one."""
        return next((n for n in self._visible() if n.lower().endswith(ending)), None)

    def text(self, ending: str) -> str:
        """The text of the file with this ending; BadSource where it is missing or not UTF-8."""
        name = self.find(ending)
        if name is None:
            raise BadSource(f"{self.path} holds no file that ends in {ending}: check its layout")
        try:
            return self.read(name).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadSource(
                f"{name} in {self.path} is not UTF-8 text ({error.reason}): save it as UTF-8"
            ) from error


def _read_tar(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # only files were listed
    return file.read()


def read_table(text: str) -> list[dict[str, str]]:
    """The rows of a CSV by its column names in lower case; what a row lacks is empty."""
    try:
        header, *rows = [*csv.reader(io.StringIO(text, newline=None))] or [[]]
    except csv.Error as error:
        raise BadSource(f"the CSV cannot be read ({error}): save it again as CSV") from error
    names = [name.strip().lower() for name in header]
    filled = [row + [""] * (len(names) - len(row)) for row in rows if row]
    return [dict(zip(names, row, strict=False)) for row in filled]


def match_paths(paths: list[str], names: list[str]) -> list[str | None]:
    """For each path that a table states, the one picture it can mean, or None."""
    named: dict[str, list[str]] = {}
    for name in names:
        named.setdefault(PurePosixPath(name).name, []).append(name)

    def match(path: str) -> str | None:
        path = path.strip().replace("\\", "/")
        found = named.get(PurePosixPath(path).name, [])
        if len(found) > 1:  # the same last part in several folders
            found = [name for name in found if f"/{name}".endswith(f"/{path.lstrip('./')}")]
        return found[0] if len(found) == 1 else None

    return [match(path) for path in paths]


def first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
