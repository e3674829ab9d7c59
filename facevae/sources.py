"""Where faces come from: a generator a source, each yielding pictures not yet read and labels."""

from __future__ import annotations

import csv
import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
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
        elif zipfile.is_zipfile(self.path):
            self._zip = zipfile.ZipFile(self.path)
            self._sizes = {i.filename: i for i in self._zip.infolist() if not i.is_dir()}
        else:
            self._open_tar()
        self.names = list(self._sizes)

    def _open_tar(self) -> None:
        try:
            self._tar = tarfile.open(self.path)  # noqa: SIM115  (read from until we end)
            for member in self._tar:
                if member.isfile():
                    self._sizes[member.name] = member
        except (tarfile.TarError, EOFError, OSError) as error:
            if not self._sizes:
                raise BadSource(
                    f"{self.path} is neither a folder nor a whole .tar, .tar.gz or .zip ({error}): "
                    "download it again"
                ) from error
            self.damage = f"the archive is cut short after {len(self._sizes)} files ({error})"

    def read(self, name: str) -> bytes:
        """The bytes of one member; OSError when it is damaged or too large for a picture."""
        entry = self._sizes[name]
        if isinstance(entry, Path):
            return entry.read_bytes()
        size = entry.size if isinstance(entry, tarfile.TarInfo) else entry.file_size
        if size > self.MAX_MEMBER:
            raise OSError(f"{size} bytes are too many for one picture")
        try:
            if isinstance(entry, zipfile.ZipInfo):
                return self._zip.read(entry)
            data = self._tar.extractfile(entry).read()
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, RuntimeError) as error:
            raise OSError(f"damaged in the archive: {error}") from error
        if len(data) < size:
            raise OSError("the archive ends within this file")
        return data

    def pictures(self) -> list[str]:
        """Names that end as pictures do, hidden and macOS resource files left out."""
        return [
            n
            for n in self.names
            if PurePosixPath(n).suffix.lower() in PICTURES
            and not PurePosixPath(n).name.startswith(".")
            and "__MACOSX" not in PurePosixPath(n).parts
        ]

    def item(self, name: str, **labels: int | str) -> Item:
        return Item(name, lambda: self.read(name), labels)

    def find(self, ending: str) -> str:
        """The one name with this ending; BadSource says what was looked for."""
        for name in self.names:
            if name.lower().endswith(ending):
                return name
        raise BadSource(f"{self.path} holds no file that ends in {ending}: check its layout")


def utkface(path: Path, notes: dict) -> Iterator[Item]:
    """[age]_[gender]_[race]_[date].jpg…: age in years, gender 0 male 1 female, race 0 … 4."""
    files = _opened(path, notes)
    for name in files.pictures():
        match = UTKFACE_NAME.match(PurePosixPath(name).name)
        if match:
            age, gender, race = (int(group) for group in match.groups())
        else:  # a field is missing, and nothing says which: only the age can be trusted
            notes.setdefault("incomplete_labels", []).append(name)
            head = PurePosixPath(name).name.split("_")[0]
            age, gender, race = (int(head) if head.isdigit() else -1), -1, -1
        yield files.item(name, age=age, gender=gender, race=race)


def celeba(path: Path, notes: dict) -> Iterator[Item]:
    """img_align_celeba/ and list_attr_celeba.txt: 40 attributes as 0 and 1."""
    files = _opened(path, notes)
    lines = files.read(files.find("list_attr_celeba.txt")).decode().splitlines()
    if len(lines) < 2 or "Smiling" not in lines[1]:
        raise BadSource("list_attr_celeba.txt lacks its two header lines: download it again")
    attributes, missing = lines[1].split(), 0
    where = {PurePosixPath(name).name: name for name in files.pictures()}
    for row in lines[2:]:
        name, *values = row.split()
        if name not in where:
            missing += 1
            continue
        labels = {a: int(v == "1") for a, v in zip(attributes, values, strict=False)}
        labels["gender"] = 1 - labels.get("Male", 2)
        labels["Beard"] = 1 - labels.get("No_Beard", 2)
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
    table = io.StringIO(files.read(files.find(".csv")).decode("utf-8-sig"))
    rows = csv.DictReader(table)
    rows.fieldnames = [f.strip().lower() for f in rows.fieldnames or []]
    if not {"path", "age", "gender"} <= set(rows.fieldnames):
        raise BadSource(f"the CSV has columns {rows.fieldnames}: it needs path, age and gender")
    where = {PurePosixPath(name).name: name for name in files.pictures()}
    missing = 0
    for row in rows:
        name = where.get(PurePosixPath(row["path"] or "").name)
        if name is None:
            missing += 1
            continue
        age, gender = (row["age"] or "").strip(), (row["gender"] or "").strip().upper()[:1]
        labels: dict[str, int | str] = {"age": int(float(age)) if age else -1}
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
    from scipy.io.matlab import MatReadError

    try:
        frames = loadmat(path)["ff"]
        frames = frames.T.reshape(-1, 28, 20, 1)  # (560, N) -> (N, 28, 20, 1)
    except (OSError, KeyError, ValueError, TypeError, NotImplementedError, MatReadError) as error:
        raise BadSource(f"{path} is not frey_rawface.mat ({error}): download it again") from error
    for i, frame in enumerate(frames):
        yield Item(f"frame{i:04d}", lambda frame=frame: frame)


def lfw(path: Path | None, notes: dict) -> Iterator[Item]:
    """Labeled Faces in the Wild through scikit-learn's fetcher, which downloads it once."""
    from sklearn.datasets import fetch_lfw_people

    people = fetch_lfw_people(data_home=path, color=True, resize=1.0, slice_=None)
    for i, (image, who) in enumerate(zip(people.images, people.target, strict=True)):
        levels = (image * (255 if image.max() <= 1 else 1)).astype(np.uint8)
        yield Item(f"lfw{i:05d}", lambda a=levels: a, {"person": str(people.target_names[who])})


def hub(name: str, notes: dict) -> Iterator[Item]:
    """Any Hugging Face dataset with an image column (a local folder of parquet files too)."""
    import datasets

    try:
        whole = datasets.load_dataset(name, split="train")
    except Exception as error:  # the library raises of many kinds: all mean "not to be had"
        raise BadSource(f"the dataset {name} cannot be loaded: {error}") from error
    columns = [c for c, kind in whole.features.items() if isinstance(kind, datasets.Image)]
    if not columns:
        raise BadSource(f"the dataset {name} has no image column among {whole.column_names}")
    whole = whole.cast_column(columns[0], datasets.Image(decode=False))
    plain = [c for c, kind in whole.features.items() if getattr(kind, "dtype", "") in
             ("int8", "int16", "int32", "int64", "bool", "string")]  # fmt: skip
    for i, row in enumerate(whole.select_columns(plain)):
        labels = {c: _label(value) for c, value in row.items()}
        yield Item(f"row{i:06d}", lambda i=i: _hub_bytes(whole[i][columns[0]]), labels)


def _label(value: object) -> int | str:
    return value if isinstance(value, str) else -1 if value is None else int(value)


def _hub_bytes(cell: dict) -> bytes:
    return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()


def _opened(path: Path, notes: dict) -> Container:
    files = Container(path)
    if files.damage:
        notes["damage"] = files.damage
    if not files.pictures():
        raise BadSource(f"{path} holds no pictures: check that it is the right archive or folder")
    return files


SOURCES: dict[str, Callable[..., Iterator[Item]]] = {
    "utkface": utkface,
    "celeba": celeba,
    "folders": folders,
    "morph2": morph2,
    "frey": frey,
    "lfw": lfw,
}
