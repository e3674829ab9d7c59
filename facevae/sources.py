"""Where faces come from: a generator a source, each yielding pictures not yet read and labels."""

from __future__ import annotations

import csv
import io
import re
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
OWN = ("name", "content")  # labels that every FaceSet has of its own: no column of a table
OLDEST = 120  # years; more, or less than none, is a slip: the age is not known
UTKFACE_NAME = re.compile(r"^(\d{1,3})_([01])_([0-4])_\d+")  # [age]_[gender]_[race]_[date]


class BadSource(ValueError):
    """A source that is not there or not of the expected layout."""


@dataclass(frozen=True)
class Item:
    """One picture: `read()` gives its bytes or a uint8 array; labels as they were found."""

    name: str
    read: Callable[[], Any]
    labels: dict[str, int | str] = field(default_factory=dict)


class Container:
    """A folder, .tar(.gz) or .zip as names and bytes. Nothing is ever unpacked to disk, so a
    member's path, absolute or with `..`, can harm nothing."""

    MAX_MEMBER = 64 << 20  # bytes; a picture is smaller, a bomb is not

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.damage = ""  # why the list of names may be short
        self._sizes: dict[str, Any] = {}
        if self.path.is_dir():
            files = sorted(p for p in self.path.rglob("*") if p.is_file())
            self._sizes = {p.relative_to(self.path).as_posix(): p for p in files}
        elif not self.path.is_file():
            raise BadSource(f"there is no folder or archive {path}: check the path")
        else:
            self._open_archive()
        self.names = list(self._sizes)

    def _open_archive(self) -> None:
        try:
            if zipfile.is_zipfile(self.path):
                self._zip = zipfile.ZipFile(self.path)
                self._sizes = {i.filename: i for i in self._zip.infolist() if not i.is_dir()}
                return
            self._tar = tarfile.open(self.path)  # noqa: SIM115  (read from until we end)
            for member in self._tar:
                if member.isfile():
                    self._sizes[member.name] = member
        except Exception as error:  # damage raises of many kinds, zlib's and struct's among them
            if not self._sizes:
                raise BadSource(
                    f"{self.path} is neither a folder nor a whole .tar, .tar.gz or .zip "
                    f"({_first_line(error)}): download it again"
                ) from error
            kept = len(self._sizes)
            self.damage = f"the archive is cut short after {kept} files ({_first_line(error)})"

    def read(self, name: str) -> bytes:
        """The bytes of one member; OSError when it is damaged or too large for a picture."""
        entry = self._sizes[name]
        if isinstance(entry, Path):
            size = entry.stat().st_size
        else:
            size = entry.size if isinstance(entry, tarfile.TarInfo) else entry.file_size
        if size > self.MAX_MEMBER:
            raise OSError(f"{size} bytes are too many for one picture")
        if isinstance(entry, Path):
            return entry.read_bytes()
        try:
            if isinstance(entry, zipfile.ZipInfo):
                return self._zip.read(entry)
            file = self._tar.extractfile(entry)
            assert file is not None  # only files were listed
            data = file.read()
        except Exception as error:  # as above; a password that is wanted is another
            raise OSError(f"damaged in the archive: {_first_line(error)}") from error
        if len(data) < size:
            raise OSError("the archive ends within this file")
        return data

    def pictures(self) -> list[str]:
        """Names that end as pictures do, hidden and macOS resource files left out."""
        return [n for n in self._shown() if PurePosixPath(n).suffix.lower() in PICTURES]

    def _shown(self) -> Iterator[str]:
        for name in self.names:
            path = PurePosixPath(name)
            if not path.name.startswith(".") and "__MACOSX" not in path.parts:
                yield name

    def item(self, name: str, **labels: int | str) -> Item:
        return Item(name, lambda: self.read(name), labels)

    def find(self, ending: str) -> str:
        """The one name with this ending; BadSource says what was looked for."""
        for name in self._shown():
            if name.lower().endswith(ending):
                return name
        raise BadSource(f"{self.path} holds no file that ends in {ending}: check its layout")

    def text(self, ending: str) -> str:
        """The text of the one file with this ending, whatever its line ends, without a BOM."""
        name = self.find(ending)
        try:
            return self.read(name).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadSource(
                f"{name} in {self.path} is no UTF-8 text ({error.reason}): save it as UTF-8"
            ) from error


def utkface(path: Path, notes: dict) -> Iterator[Item]:
    """[age]_[gender]_[race]_[date].jpg…: age in years, gender 0 male 1 female, race 0 … 4."""
    files = _opened(path, notes)
    for name in files.pictures():
        match = UTKFACE_NAME.match(PurePosixPath(name).name)
        if match:
            told, gender, race = match[1], int(match[2]), int(match[3])
        else:  # a field is missing, and nothing says which: only the age can be trusted
            notes.setdefault("incomplete_labels", []).append(name)
            told, gender, race = PurePosixPath(name).name.split("_")[0], -1, -1
        age = _years(told)
        if match and age < 0:
            notes.setdefault("incomplete_labels", []).append(name)
        yield files.item(name, age=age, gender=gender, race=race)


def celeba(path: Path, notes: dict) -> Iterator[Item]:
    """img_align_celeba/ and list_attr_celeba.txt: 40 attributes as 0 and 1."""
    files = _opened(path, notes)
    lines = files.text("list_attr_celeba.txt").splitlines()
    if len(lines) < 2 or "Smiling" not in lines[1]:
        raise BadSource("list_attr_celeba.txt lacks its two header lines: download it again")
    attributes, missing = lines[1].split(), 0
    where = {PurePosixPath(name).name: name for name in files.pictures()}
    for row in filter(str.strip, lines[2:]):
        name, *values = row.split()
        if name not in where:
            missing += 1
            continue
        told = [{"1": 1, "-1": 0}.get(value, -1) for value in values]
        if len(told) != len(attributes):  # which of them is missing, nothing says
            told = [-1] * len(attributes)
        if -1 in told:
            notes.setdefault("incomplete_labels", []).append(where[name])
        labels = dict(zip(attributes, told, strict=True))
        for label, opposite in (("gender", "Male"), ("Beard", "No_Beard")):
            labels[label] = {0: 1, 1: 0}.get(labels.get(opposite, -1), -1)
        yield files.item(where[name], **labels)
    notes["missing_images"] = missing


def folders(path: Path, notes: dict) -> Iterator[Item]:
    """Class folders such as smile/ and non_smile/, perhaps under train/ and test/."""
    files = _opened(path, notes)
    kinds = {PurePosixPath(name).parent.name for name in files.pictures()}
    if len(kinds) < 2:
        raise BadSource(f"{path} holds pictures in {len(kinds)} folder(s): give one a class")
    notes["classes"] = classes = sorted(kinds)
    for name in files.pictures():
        parents = [part.lower() for part in PurePosixPath(name).parts[:-1]]
        kind = PurePosixPath(name).parent.name
        labels: dict[str, int | str] = {"class": classes.index(kind)}
        if "smil" in kind.lower():
            labels["Smiling"] = int(not kind.lower().startswith(("non", "not", "no_")))
        if {"train", "test"} & set(parents):
            labels["part"] = "test" if "test" in parents else "train"
        yield files.item(name, **labels)


def morph2(path: Path, notes: dict) -> Iterator[Item]:
    """Pictures and a CSV of path, age, gender (M/F), perhaps person."""
    files = _opened(path, notes)
    rows = _table(files.text(".csv"))
    if not rows or not {"path", "age", "gender"} <= set(rows[0]):
        columns = [*rows[0]] if rows else "no rows"
        raise BadSource(f"the CSV of {path} has {columns}: it needs path, age and gender")
    named = defaultdict(list)
    for file in files.pictures():
        named[PurePosixPath(file).name].append(file)
    missing = 0
    for row in rows:
        name = _of_path(row["path"], named)
        if name is None:
            missing += 1
            continue
        gender = row["gender"].strip().upper()[:1]
        labels: dict[str, int | str] = {"age": _years(row["age"])}
        labels["gender"] = {"M": 0, "F": 1}.get(gender, -1)
        if row.get("person"):
            labels["person"] = row["person"]
        if -1 in labels.values():
            notes.setdefault("incomplete_labels", []).append(name)
        yield files.item(name, **labels)
    notes["missing_images"] = missing


def frey(path: Path, notes: dict) -> Iterator[Item]:
    """frey_rawface.mat: `ff`, uint8, 560 × 1965, a column a frame of 28 × 20."""
    from scipy.io import loadmat

    try:
        frames = loadmat(path)["ff"]
        if frames.dtype != np.uint8:
            raise TypeError(f"its ff is of {frames.dtype}, not uint8")
        frames = frames.T.reshape(-1, 28, 20, 1)  # (560, N) -> (N, 28, 20, 1)
    except Exception as error:  # scipy raises of many kinds, zlib's and struct's among them
        raise BadSource(
            f"{path} is not frey_rawface.mat ({_first_line(error)}): download it again"
        ) from error
    for i, frame in enumerate(frames):
        yield Item(f"frame{i:04d}", partial(np.asarray, frame))


def lfw(path: Path | None, notes: dict) -> Iterator[Item]:
    """Labeled Faces in the Wild through scikit-learn's fetcher, which downloads it once."""
    from sklearn.datasets import fetch_lfw_people

    people = fetch_lfw_people(data_home=path, color=True, resize=1.0, slice_=None)
    for i, (image, who) in enumerate(zip(people.images, people.target, strict=True)):
        levels = (image * (255 if image.max() <= 1 else 1)).astype(np.uint8)
        labels: dict[str, int | str] = {"person": str(people.target_names[who])}
        yield Item(f"lfw{i:05d}", partial(np.asarray, levels), labels)


def hub(name: str, notes: dict) -> Iterator[Item]:
    """Any Hugging Face dataset with an image column (a local folder of parquet files too)."""
    import datasets

    try:
        whole = datasets.load_dataset(name, split="train")
    except Exception as error:  # the library raises of many kinds: all mean "not to be had"
        raise BadSource(f"the dataset {name} cannot be loaded: {_first_line(error)}") from error
    columns = [c for c, kind in whole.features.items() if isinstance(kind, datasets.Image)]
    if not columns:
        raise BadSource(f"the dataset {name} has no image column among {whole.column_names}")
    whole = whole.cast_column(columns[0], datasets.Image(decode=False))
    plain = [c for c, kind in whole.features.items() if getattr(kind, "dtype", "") in
             ("int8", "int16", "int32", "int64", "bool", "string") and c not in OWN]  # fmt: skip
    kinds = {c: whole.features[c].dtype for c in plain}
    for i, row in enumerate(whole.select_columns(plain)):
        labels = {c: _label(value, kinds[c]) for c, value in row.items()}
        yield Item(f"row{i:06d}", partial(_hub_bytes, whole, i, columns[0]), labels)


def _label(value: str | int | None, kind: str) -> int | str:
    """A cell of a column of one kind; of one that is missing, an empty text or −1."""
    if kind == "string":
        return str(value or "")
    return -1 if value is None else int(value)


def _hub_bytes(rows: Sequence[dict], row: int, column: str) -> bytes:
    cell = rows[row][column]
    return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()


def _opened(path: Path, notes: dict) -> Container:
    files = Container(path)
    if files.damage:
        notes["damage"] = files.damage
    if not files.pictures():
        inner = next((name for name in files.names if name.lower().endswith(ARCHIVES)), None)
        hint = f"unpack {inner} and give that" if inner else "check that it is the right one"
        raise BadSource(f"{path} holds no pictures: {hint}")
    return files


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _years(text: str | None) -> int:
    """An age from a name or a table; −1 where it is none, or none that anybody has."""
    try:
        years = int(float(text or ""))
    except (ValueError, OverflowError):
        return -1
    return years if 0 <= years <= OLDEST else -1


def _table(text: str) -> list[dict[str, str]]:
    """The rows of a CSV by its column names in lower case; what a row lacks is empty."""
    try:
        header, *rows = [*csv.reader(io.StringIO(text, newline=None))] or [[]]
    except csv.Error as error:
        raise BadSource(f"the CSV cannot be read ({error}): save it again as CSV") from error
    names = [name.strip().lower() for name in header]
    filled = [row + [""] * (len(names) - len(row)) for row in rows if row]
    return [dict(zip(names, row, strict=False)) for row in filled]


def _of_path(path: str, named: dict[str, list[str]]) -> str | None:
    """The picture that a table means by `path`, None where none or several can be meant."""
    path = path.strip().replace("\\", "/")
    found = named.get(PurePosixPath(path).name, [])
    if len(found) > 1:  # the same last part in several folders
        found = [name for name in found if f"/{name}".endswith(f"/{path.lstrip('./')}")]
    return found[0] if len(found) == 1 else None


SOURCES: dict[str, Callable[..., Iterator[Item]]] = {
    "utkface": utkface,
    "celeba": celeba,
    "folders": folders,
    "morph2": morph2,
    "frey": frey,
    "lfw": lfw,
}
