"""Sources: what a source does not state is unknown, −1 or an empty text, and never guessed."""

import itertools

import numpy as np
import pytest

from facevae.data.archives import BadSource
from facevae.data.sources import SOURCES, celeba, folders, frey, hub, lfw, morph2, utkface
from tests.helpers import one_sentence
from tests.unit.archive_files import DRAWN, JPEG, encoded, folder_of, tar_of, zip_of

TABLES = {  # a table of morph2 → ages and genders, or what is wrong with it
    "no table": (None, "holds no file that ends in .csv"),
    "no rows": (b"", "has no rows"),
    "other columns": (b"picture,years\na.jpg,3\n",
                      "photo or path or file or filename or image; age: age; gender: gender"),
    "semicolons": (b"path;age;gender\na.jpg;31;M\n", "separated by commas"),
    "UTF-16": ("path,age,gender\na.jpg,31,M\n".encode("utf-16"), "save it as UTF-8"),
    "a field without end": (b'path,age,gender\n"' + b"a" * 140_000, "save it again as CSV"),
    "a BOM": (b"\xef\xbb\xbfPath,Age,Gender\na.jpg,31,M\n", [(31, 0)]),
    "Windows line ends": (b"path,age,gender\r\na.jpg,31,F\r\n\r\n", [(31, 1)]),
    "line ends of an old Mac": (b"path,age,gender\ra.jpg,31,F\r", [(31, 1)]),
    "letters": (b"path,age,gender\na.jpg,old,M\n", [(-1, 0)]),
    "not yet born": (b"path,age,gender\na.jpg,-5,M\n", [(-1, 0)]),
    "too old": (b"path,age,gender\na.jpg,999,M\n", [(-1, 0)]),
    "no number": (b"path,age,gender\na.jpg,nan,M\na.jpg,1e999,M\n", [(-1, 0), (-1, 0)]),
    "a short row": (b"path,age,gender\na.jpg,31\n", [(31, -1)]),
    "a long row": (b"path,age,gender\na.jpg,31,M,7,8\n", [(31, 0)]),
    "one name in two folders": (b"path,age,gender\ny/b.jpg,31,M\nb.jpg,60,F\n", [(31, 0)]),
    "usual names": (b"file,sex,age\n.\\x\\b.jpg,female,31\n", [(31, 1)]),
}  # fmt: skip


@pytest.mark.parametrize(("table", "expected"), TABLES.values(), ids=TABLES)
def test_tables_of_labels(table, expected, tmp_path):
    members = [("a.jpg", JPEG), ("x/b.jpg", JPEG), ("y/b.jpg", JPEG)]
    members += [("labels.csv", table)] if table is not None else []
    archive, notes = zip_of(tmp_path / "a", members), {}
    if isinstance(expected, str):
        with pytest.raises(BadSource) as caught:
            list(morph2(archive, notes))
        one_sentence(caught, expected)
        return
    items = list(morph2(archive, notes))
    assert [(i.labels["age"], i.labels["gender"]) for i in items] == expected
    unknown = sum(-1 in pair for pair in expected)
    assert len(notes.get("incomplete_labels", [])) == unknown
    assert notes["total"] == len(items)
    if "one_name" in str(tmp_path):
        assert items[0].name == "y/b.jpg" and notes["missing_images"] == 1


def test_the_columns_of_morph_2_as_it_is_distributed(tmp_path):
    table = (
        "id_num,picture_num,dob,doa,race,gender,facial_hair,age,photo\n"
        "009055,0,12/12/1959,9/21/1999,B,M,1.0,39.0,Album2/009055_0M54.JPG\n"
        "009055,1,12/12/1959,9/21/2004,W,F,,44.0,Album2/009055_1M60.JPG\n"
        "009056,0,12/12/1959,9/21/2004,?,F,,44.0,Album2/009056_0M60.JPG\n"
    )
    names = ("009055_0M54", "009055_1M60", "009056_0M60")
    members = [(f"Album2/{name}.JPG", JPEG) for name in names]
    items = list(morph2(folder_of(tmp_path, [*members, ("morph.csv", table.encode())]), {}))
    assert [item.labels for item in items] == [
        {"age": 39, "gender": 0, "race": 1, "person": "009055"},
        {"age": 44, "gender": 1, "race": 0, "person": "009055"},
        {"age": 44, "gender": 1, "race": -1, "person": "009056"},
    ]


LISTS = {  # a list of CelebA → Smiling and gender of its one picture, or what is wrong
    "no list": (None, "holds no file that ends in list_attr_celeba.txt"),
    "no header": (b"a.jpg 1 -1\n", "lacks its two header lines"),
    "no text": (b"1\nSmiling Male\n\xff\xfe\x00\n", "save it as UTF-8"),
    "a BOM, other line ends and an empty line": (
        b"\xef\xbb\xbf1\r\nSmiling Male\r\n\r\na.jpg  1 -1\r\n", (1, 1)),
    "letters": (b"1\nSmiling Male\na.jpg yes 1\n", (-1, 0)),
    "a short row": (b"1\nSmiling Male\na.jpg 1\n", (-1, -1)),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), LISTS.values(), ids=LISTS)
def test_lists_of_attributes(text, expected, tmp_path):
    members = [("a.jpg", JPEG)] + ([("list_attr_celeba.txt", text)] if text is not None else [])
    archive = zip_of(tmp_path / "a", members)
    if isinstance(expected, str):
        with pytest.raises(BadSource) as caught:
            list(celeba(archive, {}))
        one_sentence(caught, expected)
    else:
        (item,) = celeba(archive, {})
        assert (item.labels["Smiling"], item.labels["gender"]) == expected


def test_celeba_counts_what_is_missing_and_reads_identities(tmp_path):
    rows = ["5", "No_Beard Male Smiling"] + [f"00000{i}.jpg  1 -1  1" for i in range(5)]
    members = [(f"img_align_celeba/00000{i}.jpg", JPEG) for i in range(3)]
    members += [("list_attr_celeba.txt", "\n".join(rows).encode())]
    notes = {}
    items = list(celeba(folder_of(tmp_path, members), notes))
    assert notes == {"total": 3, "missing_images": 2}
    expected = {"No_Beard": 1, "Male": 0, "Smiling": 1, "gender": 1, "Beard": 0}
    assert [item.labels for item in items] == [expected] * 3
    identities = b"000000.jpg 2880\n000001.jpg 17\nbroken\n000009.jpg 3\n"
    folder_of(tmp_path, [("identity_CelebA.txt", identities)])
    assert [item.labels["person"] for item in celeba(tmp_path, {})] == [2880, 17, -1]


@pytest.mark.parametrize("name", ["999_0_0_2017.jpg", "²_0_0_2017.jpg", "20170116_0.jpg", "x.jpg"])
def test_ages_that_nobody_has_are_unknown(name, tmp_path):
    notes = {}
    (item,) = utkface(tar_of(tmp_path / "a", [(name, JPEG)]), notes)
    assert item.labels["age"] == -1 and notes["incomplete_labels"] == [name]


@pytest.mark.parametrize("parts", [("",), ("train/", "test/")])
def test_class_folders_with_and_without_a_test_set(tmp_path, parts):
    kinds = itertools.product(parts, ("smile", "non_smile"))
    notes = {}
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
    with pytest.raises(BadSource) as caught:
        list(frey(tmp_path / "a.mat", {}))
    one_sentence(caught, "is not frey_rawface.mat")


def test_lfw_through_a_stand_in_for_its_fetcher(monkeypatch):
    people = type("Bunch", (), {"images": DRAWN[:3] / np.float32(255), "target": [0, 1, 0],
                                "target_names": np.array(["Ann", "Bob"])})  # fmt: skip
    monkeypatch.setattr("sklearn.datasets.fetch_lfw_people", lambda **_: people)
    items = list(lfw(None, {}))
    assert [item.labels["person"] for item in items] == ["Ann", "Bob", "Ann"]
    assert np.abs(items[1].read().astype(int) - DRAWN[1]).max() <= 1


def test_cells_that_a_hub_dataset_lacks_are_unknown(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    cells = {
        "image": (datasets.Image(), [{"bytes": encoded(f), "path": None} for f in DRAWN[:3]]),
        "person": (datasets.Value("string"), ["Ann", None, ""]),
        "age": (datasets.Value("int64"), [30, None, 0]),
        "smiles": (datasets.Value("bool"), [True, None, False]),
        "kind": (datasets.ClassLabel(names=["a", "b"]), [1, None, 0]),
        "content": (datasets.Value("string"), ["reserved", "for", "us"]),
    }
    features = datasets.Features({name: kind for name, (kind, _) in cells.items()})
    (tmp_path / "in").mkdir()
    table = datasets.Dataset.from_dict({n: c for n, (_, c) in cells.items()}, features=features)
    table.to_parquet(tmp_path / "in" / "train.parquet")
    items = list(hub(str(tmp_path / "in"), {}))
    assert [item.labels for item in items] == [
        {"person": "Ann", "age": 30, "smiles": 1, "kind": 1},
        {"person": "", "age": -1, "smiles": -1, "kind": -1},
        {"person": "", "age": 0, "smiles": 0, "kind": 0},
    ]
    assert items[2].read() == encoded(DRAWN[2])
    with pytest.raises(BadSource, match="cannot be loaded"):
        list(hub(str(tmp_path / "absent"), {}))


def test_real_archives_are_read_as_they_are(real_data):
    for name, file, labels in (
        ("utkface", "UTKFace.tar", {"age", "gender", "race"}),
        ("morph2", "AllAgeFaces.tar", {"age", "gender"}),
        ("celeba", "celeba.tar", {"Smiling", "gender", "Beard", "person"}),
        ("folders", "GENKI4K.tar", {"Smiling", "part"}),
    ):
        notes = {}
        for item in itertools.islice(SOURCES[name](real_data / file, notes), 20):
            assert labels <= set(item.labels) and len(item.read()) > 500
        assert notes["total"] > 3900
