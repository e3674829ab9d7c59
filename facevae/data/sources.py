"""Sources of faces: each is a generator that yields pictures, not yet read, with their labels.

A source takes the path of its archive and a dict of notes for the manifest: `total` is the number
of pictures where it is known, `incomplete_labels` names those of which a label is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from facevae.data.archives import Archive, BadSource, Item, first_line, match_paths, read_table

RESERVED_LABELS = ("name", "content")  # that every FaceSet has of its own
MAX_AGE = 120  # years; an age beyond it, or under 0, is a slip: it counts as unknown
UTKFACE_NAME = re.compile(r"^(\d{1,3})_([01])_([0-4])_\d+")  # [age]_[gender]_[race]_[date]
MORPH_COLUMNS = {  # label → names of its column, the usual one first
    "photo": ("photo", "path", "file", "filename", "image"),
    "age": ("age",),
    "gender": ("gender", "sex"),
    "person": ("id_num", "id", "person"),
    "race": ("race",),
}
RACES = {"W": 0, "B": 1, "A": 2, "H": 4, "O": 4}  # MORPH-2's letters → UTKFace's numbers


def utkface(path: Path, notes: dict) -> Iterator[Item]:
    """[age]_[gender]_[race]_[date].jpg…: age in years, gender 0 male 1 female, race 0 … 4."""
    archive, names = _opened(path, notes)
    for name in names:
        file = PurePosixPath(name).name
        match = UTKFACE_NAME.match(file)
        # where a field is missing nothing says which: the age alone can be trusted
        gender, race = (int(match[2]), int(match[3])) if match else (-1, -1)
        labels = {"age": _years(file.split("_")[0]), "gender": gender, "race": race}
        yield _noted(archive.item(name, **labels), notes)


def celeba(path: Path, notes: dict) -> Iterator[Item]:
    """img_align_celeba/ and list_attr_celeba.txt: 40 attributes as 0 and 1; `person` where
    identity_CelebA.txt is there."""
    archive, pictures = _opened(path, notes)
    lines = archive.text("list_attr_celeba.txt").splitlines()
    if len(lines) < 2 or "Smiling" not in lines[1]:
        raise BadSource("list_attr_celeba.txt lacks its two header lines: download it again")
    attributes = lines[1].split()
    identities = {}
    if archive.find("identity_celeba.txt"):
        pairs = map(str.split, archive.text("identity_celeba.txt").splitlines())
        identities = {p[0]: int(p[1]) for p in pairs if len(p) == 2 and p[1].isdecimal()}
    where = {PurePosixPath(name).name: name for name in pictures}
    rows = [row.split() for row in lines[2:] if row.strip()]
    present = [row for row in rows if row[0] in where]
    notes |= {"total": len(present), "missing_images": len(rows) - len(present)}
    for name, *values in present:
        known = [{"1": 1, "-1": 0}.get(value, -1) for value in values]
        if len(known) != len(attributes):  # nothing says which of them is missing
            known = [-1] * len(attributes)
        labels: dict[str, int | str] = dict(zip(attributes, known, strict=True))
        for label, opposite in (("gender", "Male"), ("Beard", "No_Beard")):
            labels[label] = {0: 1, 1: 0}.get(int(labels.get(opposite, -1)), -1)
        if identities:
            labels["person"] = identities.get(name, -1)
        yield _noted(archive.item(where[name], **labels), notes)


def folders(path: Path, notes: dict) -> Iterator[Item]:
    """Class folders such as smile/ and non_smile/, perhaps under train/ and test/."""
    archive, names = _opened(path, notes)
    kinds = sorted({PurePosixPath(name).parent.name for name in names})
    if len(kinds) < 2:
        raise BadSource(
            f"{path} holds pictures in {len(kinds)} folder(s): give each class a folder"
        )
    notes["classes"] = kinds
    for name in names:
        parents = [part.lower() for part in PurePosixPath(name).parts[:-1]]
        kind = PurePosixPath(name).parent.name
        labels: dict[str, int | str] = {"class": kinds.index(kind)}
        if "smil" in kind.lower():
            labels["Smiling"] = int(not kind.lower().startswith(("non", "not", "no_")))
        if {"train", "test"} & set(parents):
            labels["part"] = "test" if "test" in parents else "train"
        yield archive.item(name, **labels)


def morph2(path: Path, notes: dict) -> Iterator[Item]:
    """Pictures and a CSV of MORPH-2's columns: a picture's path, age, gender (M or F), perhaps
    the person and the race. All-Age-Faces comes in the same shape."""
    archive, names = _opened(path, notes)
    rows = read_table(archive.text(".csv"))
    header = [*rows[0]] if rows else []
    column = {label: next((n for n in usual if n in header), None)
              for label, usual in MORPH_COLUMNS.items()}  # fmt: skip
    lacking = [label for label in ("photo", "age", "gender") if column[label] is None]
    if lacking:
        wanted = "; ".join(f"{label}: {' or '.join(MORPH_COLUMNS[label])}" for label in lacking)
        raise BadSource(
            f"the CSV of {path} has {', '.join(header) or 'no rows'}: it needs columns separated "
            f"by commas and named as usual ({wanted})"
        )
    found = match_paths([row[column["photo"] or ""] for row in rows], names)
    notes |= {"total": len(rows) - found.count(None), "missing_images": found.count(None)}
    for name, row in zip(found, rows, strict=True):
        if name is None:
            continue
        cells = {label: row[title].strip() for label, title in column.items() if title}
        labels: dict[str, int | str] = {"age": _years(cells["age"])}
        labels["gender"] = {"M": 0, "F": 1}.get(cells["gender"].upper()[:1], -1)
        if "race" in cells:
            digit = cells["race"] in ("0", "1", "2", "3", "4")
            labels["race"] = (
                int(cells["race"]) if digit else RACES.get(cells["race"][:1].upper(), -1)
            )
        if cells.get("person"):
            labels["person"] = cells["person"]
        yield _noted(archive.item(name, **labels), notes)


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
            f"{path} is not frey_rawface.mat ({first_line(error)}): download it again"
        ) from error
    notes["total"] = len(frames)
    for i, frame in enumerate(frames):
        yield Item(f"frame{i:04d}", partial(np.asarray, frame))


def lfw(path: Path | None, notes: dict) -> Iterator[Item]:
    """Labeled Faces in the Wild through scikit-learn's fetcher, which downloads it once."""
    from sklearn.datasets import fetch_lfw_people

    people = fetch_lfw_people(data_home=path, color=True, resize=1.0, slice_=None)
    notes["total"] = len(people.images)
    for i, (image, who) in enumerate(zip(people.images, people.target, strict=True)):
        levels = (image * (255 if image.max() <= 1 else 1)).astype(np.uint8)
        labels: dict[str, int | str] = {"person": str(people.target_names[who])}
        yield Item(f"lfw{i:05d}", partial(np.asarray, levels), labels)


def hub(name: str, notes: dict) -> Iterator[Item]:
    """Any Hugging Face dataset with an image column (a local folder of parquet files too)."""
    import datasets

    try:
        whole = datasets.load_dataset(name, split="train")
    except Exception as error:  # the library raises of many kinds for what it cannot load
        raise BadSource(f"the dataset {name} cannot be loaded: {first_line(error)}") from error
    columns = [c for c, kind in whole.features.items() if isinstance(kind, datasets.Image)]
    if not columns:
        raise BadSource(f"the dataset {name} has no image column among {whole.column_names}")
    whole = whole.cast_column(columns[0], datasets.Image(decode=False))
    notes["total"] = len(whole)
    plain = [c for c, kind in whole.features.items() if getattr(kind, "dtype", "") in
             ("int8", "int16", "int32", "int64", "bool", "string")
             and c not in RESERVED_LABELS]  # fmt: skip
    texts = {c for c in plain if whole.features[c].dtype == "string"}
    for i, row in enumerate(whole.select_columns(plain)):
        labels = {c: str(value or "") if c in texts else -1 if value is None else int(value)
                  for c, value in row.items()}  # fmt: skip
        yield Item(f"row{i:06d}", partial(_hub_bytes, whole, i, columns[0]), labels)


def _hub_bytes(rows: Sequence[dict], row: int, column: str) -> bytes:
    cell = rows[row][column]
    return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()


def _opened(path: Path, notes: dict) -> tuple[Archive, list[str]]:
    """An archive and the names of its pictures."""
    archive = Archive(path)
    if archive.damage:
        notes["damage"] = archive.damage
    names = archive.pictures()
    notes["total"] = len(names)
    return archive, names


def _noted(item: Item, notes: dict) -> Item:
    if -1 in item.labels.values():
        notes.setdefault("incomplete_labels", []).append(item.name)
    return item


def _years(text: str) -> int:
    """An age from a name or a table; −1 where it is none, or none that anybody has."""
    try:
        years = int(float(text or ""))
    except (ValueError, OverflowError):
        return -1
    return years if 0 <= years <= MAX_AGE else -1


SOURCES: dict[str, Callable[..., Iterator[Item]]] = {
    source.__name__: source for source in (utkface, celeba, folders, morph2, frey, lfw)
}


def open_source(source: str, path: str | Path | None, notes: dict) -> Iterator[Item]:
    """The pictures of a source by its name, or of the Hub dataset `hub:NAME`."""
    if source.startswith("hub:"):
        return hub(source.removeprefix("hub:"), notes)
    if source not in SOURCES:
        known = ", ".join([*SOURCES, "hub:NAME", "synthetic", "studio"])
        raise BadSource(f"the source {source!r} is unknown: use one of {known}")
    if path is None and source != "lfw":
        raise BadSource(f"{source} needs its archive, folder or file: give --archive")
    return SOURCES[source](Path(path) if path is not None else None, notes)
