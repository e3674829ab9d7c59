"""Sources of faces: an archive's path → pictures, not yet read, with their labels (unknown: −1).

Each source notes for the manifest what the labels do not tell, and the `total` of its pictures."""

import csv
import io
import itertools
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from facevae.io import explained

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_PICTURE_BYTES = 64 << 20
MAX_AGE = 120  # years; an age beyond it, or under 0, is a slip: it counts as unknown
UTKFACE_NAME = re.compile(r"\d{1,3}_([01])_([0-4])_\d+")  # [age]_[gender]_[race]_[date]
COLUMNS = {  # of MORPH-2's table and of others in its shape: label → names, the usual one first
    "photo": ("photo", "path", "file", "filename", "image"), "age": ("age",),
    "gender": ("gender", "sex"), "person": ("id_num", "id", "person"),
}  # fmt: skip
Labels = dict[str, Any]  # to whole numbers or texts
Files = dict[str, Callable[[], bytes]]  # name → reader


class BadSource(ValueError):
    """A source that is not there or not of the expected layout."""


class Item(NamedTuple):
    """One picture: `read()` gives its bytes or a uint8 array; labels as they were found."""

    name: str
    read: Callable[[], Any]
    labels: Labels = {}


def open_archive(path: Path, notes: dict) -> tuple[Files, list[str]]:
    """Readers of the files in a folder, .tar(.gz) or .zip, and the names of the pictures. Nothing
    is unpacked to disk, so no member's path does harm. OSError: a file is damaged or too large."""
    if not path.exists():
        raise BadSource(f"there is no folder or archive {path}: check the path")
    files: Files = {}
    what = f"{path} is neither a folder nor a whole .tar, .tar.gz or .zip"
    with explained(BadSource, what, "download it again"):
        for name, size, read in _members(path):
            parts = PurePosixPath(name).parts
            if not parts[-1].startswith(".") and "__MACOSX" not in parts:
                files[name] = partial(_checked, size, read)
    pictures = [name for name in files if name.lower().endswith(PICTURES)]
    if not pictures:
        raise BadSource(f"{path} holds no pictures: if it holds archives, unpack them")
    notes["total"] = len(pictures)
    return files, pictures


def _members(path: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Name, size and reader of each file."""
    if path.is_dir():
        for file in sorted(filter(Path.is_file, path.rglob("*"))):
            yield file.relative_to(path).as_posix(), file.stat().st_size, file.read_bytes
    elif zipfile.is_zipfile(path):
        packed = zipfile.ZipFile(path)
        for info in itertools.filterfalse(zipfile.ZipInfo.is_dir, packed.infolist()):
            yield info.filename, info.file_size, partial(packed.read, info)
    else:
        tar = tarfile.open(path)  # noqa: SIM115  (read from as long as the readers live)
        for member in filter(tarfile.TarInfo.isfile, tar):
            yield member.name, member.size, lambda m=member: tar.extractfile(m).read()  # type: ignore


def _checked(size: int, read: Callable[[], bytes]) -> bytes:
    if size > MAX_PICTURE_BYTES:
        raise OSError(f"{size} bytes are too many for one picture")
    with explained(OSError, "it cannot be read", "download it again"):
        return read()


def _text(files: Files, ending: str, needed: bool = True) -> str:
    """The text of the file with this ending; BadSource where it is missing or not UTF-8."""
    name = next((name for name in files if name.lower().endswith(ending)), "")
    if needed and not name:
        raise BadSource(f"there is no file that ends in {ending}: check the layout of the archive")
    with explained(BadSource, f"{name} is not UTF-8 text", "save it as UTF-8"):
        return files[name]().decode("utf-8-sig") if name else ""


def utkface(path: Path, notes: dict) -> Iterator[Item]:
    """[age]_[gender]_[race]_[date].jpg…: age in years, gender 0 male 1 female, race 0 … 4."""
    files, pictures = open_archive(path, notes)
    for name in pictures:
        file = PurePosixPath(name).name
        # where a field is missing nothing says which: the age alone can be trusted
        fields = UTKFACE_NAME.match(file)
        gender, race = map(int, fields.groups()) if fields else (-1, -1)
        labels = {"age": _years(file.split("_")[0]), "gender": gender, "race": race}
        yield Item(name, files[name], labels)


def celeba(path: Path, notes: dict) -> Iterator[Item]:
    """img_align_celeba/ and list_attr_celeba.txt: 40 attributes as 0 and 1; `person` where
    identity_CelebA.txt is there."""
    files, pictures = open_archive(path, notes)
    rows = [line.split() for line in _text(files, "list_attr_celeba.txt").splitlines()]
    attributes = rows[1] if len(rows) > 1 else []
    if "Smiling" not in attributes:
        raise BadSource("list_attr_celeba.txt lacks its two header lines: download it again")
    # of a row that lacks a value nothing says which: its picture is left out
    values = {row[0]: row[1:] for row in rows[2:] if len(row) == len(attributes) + 1}
    people = _text(files, "identity_celeba.txt", needed=False)
    person = {file: int(number) for file, number in re.findall(r"(\S+) +(\d+)", people)}
    pictures = [name for name in pictures if PurePosixPath(name).name in values]
    notes["total"] = len(pictures)
    for name in pictures:
        file = PurePosixPath(name).name
        known = [{"1": 1, "-1": 0}.get(sign, -1) for sign in values[file]]
        labels: Labels = dict(zip(attributes, known, strict=True))
        for label, opposite in (("gender", "Male"), ("Beard", "No_Beard")):
            labels[label] = {0: 1, 1: 0}.get(labels.get(opposite, -1), -1)
        if person:
            labels["person"] = person.get(file, -1)
        yield Item(name, files[name], labels)


def folders(path: Path, notes: dict) -> Iterator[Item]:
    """Class folders such as smile/ and non_smile/, perhaps under train/ and test/."""
    files, pictures = open_archive(path, notes)
    notes["classes"] = kinds = sorted({PurePosixPath(name).parent.name for name in pictures})
    if len(kinds) < 2:
        raise BadSource(f"{path} holds pictures in one folder only: give each class a folder")
    for name in pictures:
        kind, above = PurePosixPath(name).parent.name, name.lower().split("/")[:-1]
        labels: Labels = {"class": kinds.index(kind)}
        if "smil" in kind.lower():
            labels["Smiling"] = int(not kind.lower().startswith(("non", "not", "no_")))
        if {"train", "test"} & set(above):
            labels["part"] = "test" if "test" in above else "train"
        yield Item(name, files[name], labels)


def morph2(path: Path, notes: dict) -> Iterator[Item]:
    """Pictures and a CSV of MORPH-2's columns: a picture's path, age, gender (M or F), perhaps
    the person. All-Age-Faces comes in the same shape."""
    files, pictures = open_archive(path, notes)
    text = _text(files, ".csv")
    with explained(BadSource, f"the CSV of {path} cannot be read", "save it again"):
        header, *rows = [*csv.reader(io.StringIO(text, newline=None))] or [[]]
    header = [name.strip().lower() for name in header]
    places = {label: next((header.index(name) for name in usual if name in header), -1)
              for label, usual in COLUMNS.items()}  # fmt: skip
    if lacking := [label for label in ("photo", "age", "gender") if places[label] < 0]:
        raise BadSource(
            f"the CSV of {path} has the columns {', '.join(header)}: it needs, separated by "
            f"commas, one of {', '.join(COLUMNS[lacking[0]])}"
        )
    where: dict[str, str] = {}  # each ending of a path → its picture, "" where there are several
    for name in pictures:
        for depth in range(name.count("/") + 1):
            ending = name.split("/", depth)[-1]
            where[ending] = "" if ending in where else name
    for row in rows:
        photo, age, gender, person = (
            row[i].strip() if 0 <= i < len(row) else "" for i in places.values()
        )
        photo = photo.replace("\\", "/").lstrip("./")
        if name := where.get(photo, "") or where.get(PurePosixPath(photo).name, ""):
            labels = {"age": _years(age), "gender": {"M": 0, "F": 1}.get(gender.upper()[:1], -1)}
            yield Item(name, files[name], labels | ({"person": person} if person else {}))


def _years(text: str) -> int:
    """An age from a name or a table; −1 where it is none, or none that anybody has."""
    try:
        years = int(float(text))
    except (ValueError, OverflowError):
        return -1
    return years if 0 <= years <= MAX_AGE else -1


def frey(path: Path, notes: dict) -> Iterator[Item]:
    """frey_rawface.mat: `ff`, uint8, 560 × 1965, a column a frame of 28 × 20."""
    from scipy.io import loadmat

    with explained(BadSource, f"{path} is not frey_rawface.mat", "download it again"):
        frames = loadmat(path)["ff"].astype("uint8", casting="no").T.reshape(-1, 28, 20, 1)
    notes["total"] = len(frames)
    for i, frame in enumerate(frames):
        yield Item(f"frame{i:04d}", frame.copy)


def hub(name: str, notes: dict) -> Iterator[Item]:
    """Any Hugging Face dataset with an image column (a local folder of parquet files too)."""
    import datasets

    with explained(BadSource, f"{name} cannot be loaded as pictures", "check its name and columns"):
        rows = datasets.load_dataset(name, split="train")
        image = next(c for c, kind in rows.features.items() if isinstance(kind, datasets.Image))
    notes["total"] = len(rows)
    for i, row in enumerate(rows.cast_column(image, datasets.Image(decode=False))):
        picture = row.pop(image)
        data = picture["bytes"] or Path(picture["path"]).read_bytes()
        labels = {name: value for name, value in row.items() if isinstance(value, int | str)}
        yield Item(f"row{i:06d}", partial(bytes, data), labels)


SOURCES = {source.__name__: source for source in (utkface, celeba, folders, morph2, frey)}


def open_source(source: str, path: str | Path | None, notes: dict) -> Iterator[Item]:
    """The pictures of a source by its name, or of the Hub dataset `hub:NAME`."""
    if source.startswith("hub:"):
        return hub(source.removeprefix("hub:"), notes)
    if source not in SOURCES:
        known = ", ".join([*SOURCES, "hub:NAME", "synthetic", "studio"])
        raise BadSource(f"the source {source!r} is unknown: use one of {known}")
    if path is None:
        raise BadSource(f"{source} needs its archive, folder or file: give --archive")
    return SOURCES[source](Path(path), notes)
