"""Sources: archives do no harm, damage is refused in one sentence, and nothing is guessed."""

import itertools
import struct
import tarfile
import zipfile

import numpy as np
import pytest

from facevae.data.sources import BadSource, celeba, folders, frey, hub, morph2, utkface
from tests.helpers import encoded, refused, snapshot
from tests.unit.archive_files import DRAWN, JPEG, folder_of, patched, tar_of, zip_of

FACE = "20_0_0_2017.jpg"
ZEROS = bytes((64 << 20) + 1)

HARMLESS = {  # builders of archives, each with one picture in it
    "tar: a path that climbs out": lambda p: tar_of(p, [(f"../../{FACE}", JPEG)]),
    "zip: an absolute path": lambda p: zip_of(p, [(f"/etc/{FACE}", JPEG)]),
    "tar: links": lambda p: tar_of(p, [
        (FACE, JPEG), ("1.jpg", tarfile.SYMTYPE, "/etc/passwd"),
        ("2.jpg", tarfile.SYMTYPE, "../x.jpg"), ("3.jpg", tarfile.LNKTYPE, "/etc/passwd"),
        ("4.jpg", tarfile.CHRTYPE, ""), ("5.jpg", tarfile.FIFOTYPE, "")]),
    "tar: what macOS leaves": lambda p: tar_of(
        p, [(FACE, JPEG), (f"__MACOSX/._{FACE}", b"x"), (f"._{FACE}", b"x")]),
}  # fmt: skip


@pytest.mark.parametrize("build", HARMLESS.values(), ids=HARMLESS)
def test_names_and_links_of_an_archive_do_no_harm(build, tmp_path):
    archive = build(tmp_path / "a")
    before = snapshot(tmp_path)
    (item,) = utkface(archive, {})
    assert item.read() == JPEG and snapshot(tmp_path) == before


DAMAGED = {  # a builder → what reading its one picture says
    "tar.gz: a bomb": (
        lambda p: tar_of(p, [(FACE, ZEROS)], "w:gz"), "67108865 bytes are too many"),
    "zip: a bomb that lies about its size": (
        lambda p: patched(zip_of(p, [(FACE, bytes(99_999))], compression=zipfile.ZIP_DEFLATED),
                          (struct.pack("<I", 99_999), struct.pack("<I", 500))), "cannot be read"),
    "zip: locked by a password": (
        lambda p: patched(zip_of(p, [(FACE, JPEG)]),
                          (b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01"),
                          (b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01")),
        "password"),
}  # fmt: skip


@pytest.mark.parametrize(("build", "words"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_member_says_why(build, words, tmp_path):
    (item,) = utkface(build(tmp_path / "a"), {})
    with refused(OSError, words):
        item.read()


def cut(path, at):
    path.write_bytes(path.read_bytes()[:at])
    return path


NOISE = np.random.default_rng(0).bytes(200_000)  # so that a cut falls behind the first picture
NO_SOURCE = {
    "no bytes": (lambda p: p.write_bytes(b"") or p, "download it again"),
    "an empty folder": (lambda p: p.mkdir() or p, "if it holds archives, unpack"),
    "a cut zip": (lambda p: cut(zip_of(p, [(FACE, JPEG)]), -30), "neither a folder nor a whole"),
    "a cut tar": (lambda p: cut(tar_of(p, [(FACE, JPEG)]), 700), "neither a folder nor a whole"),
    "a cut tar.gz": (
        lambda p: cut(tar_of(p, [(FACE, JPEG), ("2.jpg", NOISE)], "w:gz"), 100_000), "whole .tar"),
    "a dead link": (lambda p: p.symlink_to("nowhere") or p, "check the path"),
}  # fmt: skip


@pytest.mark.parametrize(("build", "words"), NO_SOURCE.values(), ids=NO_SOURCE)
def test_what_is_no_whole_archive_is_refused(build, words, tmp_path):
    with refused(BadSource, words):
        list(utkface(build(tmp_path / "a"), {}))


TABLES = {  # a table of morph2 → ages and genders, or what is wrong with it
    "no table": (None, "no file that ends in .csv"),
    "other columns": (b"picture,years\na.jpg,3\n", "one of photo, path, file, filename, image"),
    "semicolons": (b"path;age;gender\na.jpg;31;M\n", "separated by commas"),
    "UTF-16": ("path,age,gender\na.jpg,31,M\n".encode("utf-16"), "save it as UTF-8"),
    "a field without end": (b'path,age,gender\n"' + b"a" * 140_000, "save it again"),
    "a BOM": (b"\xef\xbb\xbfPath,Age,Gender\na.jpg,31,M\n", [(31, 0)]),
    "Windows line ends": (b"path,age,gender\r\na.jpg,31,F\r\n\r\n", [(31, 1)]),
    "line ends of an old Mac": (b"path,age,gender\ra.jpg,31,F\r", [(31, 1)]),
    "no age": (b"path,age,gender\na.jpg,-5,M\na.jpg,999,M\na.jpg,old,M\n", [(-1, 0)] * 3),
    "a short row": (b"path,age,gender\na.jpg,31\n", [(31, -1)]),
    "one name in two folders": (b"path,age,gender\ny/b.jpg,31,M\nb.jpg,60,F\n", [(31, 0)]),
    "usual names": (b"file,sex,age\n.\\x\\b.jpg,female,31\n", [(31, 1)]),
}  # fmt: skip
LISTS = {  # a list of CelebA → Smiling and gender of its one picture, or what is wrong
    "no list": (None, "no file that ends in list_attr_celeba.txt"),
    "no header": (b"a.jpg 1 -1\n", "lacks its two header lines"),
    "no text": (b"1\nSmiling Male\n\xff\xfe\x00\n", "save it as UTF-8"),
    "a BOM, other line ends and an empty line": (
        b"\xef\xbb\xbf1\r\nSmiling Male\r\n\r\na.jpg  1 -1\r\n", [(1, 1)]),
    "a short row": (b"1\nSmiling Male\na.jpg 1\n", []),  # nothing says which one is missing
}  # fmt: skip
CASES = [(morph2, "labels.csv", "age", *case) for case in TABLES.values()]
CASES += [(celeba, "list_attr_celeba.txt", "Smiling", *case) for case in LISTS.values()]


@pytest.mark.parametrize(("source", "file", "label", "table", "expected"), CASES,
                         ids=[*TABLES, *LISTS])  # fmt: skip
def test_tables_of_labels(source, file, label, table, expected, tmp_path):
    members = [("a.jpg", JPEG), ("x/b.jpg", JPEG), ("y/b.jpg", JPEG)]
    archive = zip_of(tmp_path / "a", members + ([(file, table)] if table is not None else []))
    if isinstance(expected, str):
        with refused(BadSource, expected):
            list(source(archive, {}))
    else:
        labels = [item.labels for item in source(archive, {})]
        assert [(one[label], one["gender"]) for one in labels] == expected


def test_celeba_reads_identities_and_morph_2_the_columns_as_it_is_distributed(tmp_path):
    rows = "2\nNo_Beard Male Smiling\na.jpg  1 -1  1\nb.jpg  1 -1  1\n"
    people = ("identity_CelebA.txt", b"a.jpg 17\nbroken\nc.jpg 3\n")
    members = [("a.jpg", JPEG), ("b.jpg", JPEG), ("list_attr_celeba.txt", rows.encode()), people]
    labels = {"No_Beard": 1, "Male": 0, "Smiling": 1, "gender": 1, "Beard": 0}
    found = [item.labels for item in celeba(folder_of(tmp_path / "celeba", members), {})]
    assert found == [labels | {"person": 17}, labels | {"person": -1}]
    table = (
        "id_num,picture_num,dob,doa,race,gender,facial_hair,age,photo\n"
        "009055,0,12/12/1959,9/21/1999,B,M,1.0,39.0,Album2/009055_0M54.JPG\n"
        "009056,0,12/12/1959,9/21/2004,?,F,,44.0,Album2/009056_0M60.JPG\n"
    )
    members = [(f"Album2/{name}.JPG", JPEG) for name in ("009055_0M54", "009056_0M60")]
    one, other = morph2(folder_of(tmp_path / "2", [*members, ("morph.csv", table.encode())]), {})
    assert one.labels == {"age": 39, "gender": 0, "person": "009055"}
    assert other.labels == {"age": 44, "gender": 1, "person": "009056"}


@pytest.mark.parametrize("parts", [("",), ("train/", "test/")])
def test_class_folders_with_and_without_a_test_set(tmp_path, parts):
    kinds, notes = itertools.product(parts, ("smile", "non_smile")), {}
    folder_of(tmp_path, [(f"{part}{kind}/a.jpg", JPEG) for part, kind in kinds])
    for item in folders(tmp_path, notes):
        assert item.labels["Smiling"] == ("non_smile" not in item.name)
        assert item.labels.get("part") == (item.name.split("/")[0] if "/" in parts[0] else None)
    assert notes["classes"] == ["non_smile", "smile"]
    one = folder_of(tmp_path / "one", [("smile/a.jpg", JPEG)])
    with pytest.raises(BadSource, match="give each class a folder"):
        list(folders(one, {}))


@pytest.mark.parametrize("frames", [np.zeros((560, 3)), np.zeros((7, 3), np.uint8), None])
def test_another_matlab_file_is_not_freys(frames, tmp_path):
    from scipy.io import savemat

    savemat(tmp_path / "a.mat", {"other": 1} if frames is None else {"ff": frames})
    with refused(BadSource, "is not frey_rawface.mat"):
        list(frey(tmp_path / "a.mat", {}))


def test_a_hub_dataset_gives_its_pictures_and_plain_columns(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "in").mkdir()
    columns = {
        "image": [{"bytes": encoded(f), "path": None} for f in DRAWN[:2]], "age": [30, None],
        "person": ["Ann", None], "smiles": [True, None],
    }  # fmt: skip
    table = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    table.to_parquet(tmp_path / "in" / "train.parquet")
    one, other = hub(str(tmp_path / "in"), {})
    assert one.labels == {"person": "Ann", "age": 30, "smiles": 1} and other.labels == {}
    assert other.read() == encoded(DRAWN[1])
    with pytest.raises(BadSource, match="cannot be loaded"):
        list(hub(str(tmp_path / "absent"), {}))
