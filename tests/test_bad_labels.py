"""Label files and names that are not as they should be: refused, or unknown, never guessed."""

import numpy as np
import pytest

from facevae import sources
from facevae.sources import BadSource
from tests.small_run import one_sentence
from tests.test_bad_input import JPEG, tar_of, zip_of

TABLES = {  # a table of morph2 → ages and genders, or what is wrong with it
    "no table": (None, "holds no file that ends in .csv"),
    "no rows": (b"", "it needs path, age and gender"),
    "other columns": (b"file,years\na.jpg,3\n", "it needs path, age and gender"),
    "semicolons": (b"path;age;gender\na.jpg;31;M\n", "it needs path, age and gender"),
    "UTF-16": ("path,age,gender\na.jpg,31,M\n".encode("utf-16"), "save it as UTF-8"),
    "a field without end": (b'path,age,gender\n"' + b"a" * 140_000, "save it again as CSV"),
    "a BOM": (b"\xef\xbb\xbfpath,age,gender\na.jpg,31,M\n", [(31, 0)]),
    "Windows line ends": (b"path,age,gender\r\na.jpg,31,F\r\n\r\n", [(31, 1)]),
    "line ends of an old Mac": (b"path,age,gender\ra.jpg,31,F\r", [(31, 1)]),
    "letters": (b"path,age,gender\na.jpg,old,M\n", [(-1, 0)]),
    "not yet born": (b"path,age,gender\na.jpg,-5,M\n", [(-1, 0)]),
    "too old": (b"path,age,gender\na.jpg,999,M\n", [(-1, 0)]),
    "no number": (b"path,age,gender\na.jpg,nan,M\na.jpg,1e999,M\n", [(-1, 0), (-1, 0)]),
    "a short row": (b"path,age,gender\na.jpg,31\n", [(31, -1)]),
    "a long row": (b"path,age,gender\na.jpg,31,M,7,8\n", [(31, 0)]),
    "one name in two folders": (b"path,age,gender\ny/b.jpg,31,M\nb.jpg,60,F\n", [(31, 0)]),
}


@pytest.mark.parametrize(("table", "expected"), TABLES.values(), ids=TABLES)
def test_tables_of_labels(table, expected, tmp_path):
    members = [("a.jpg", JPEG), ("x/b.jpg", JPEG), ("y/b.jpg", JPEG)]
    members += [("labels.csv", table)] if table is not None else []
    archive, notes = zip_of(tmp_path / "a", members), {}
    if isinstance(expected, str):
        with pytest.raises(BadSource) as caught:
            list(sources.morph2(archive, notes))
        one_sentence(caught, expected)
        return
    items = list(sources.morph2(archive, notes))
    assert [(i.labels["age"], i.labels["gender"]) for i in items] == expected
    unknown = sum(-1 in pair for pair in expected)
    assert len(notes.get("incomplete_labels", [])) == unknown
    if "two" in str(tmp_path):
        assert items[0].name == "y/b.jpg" and notes["missing_images"] == 1


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
            list(sources.celeba(archive, {}))
        one_sentence(caught, expected)
    else:
        (item,) = sources.celeba(archive, {})
        assert (item.labels["Smiling"], item.labels["gender"]) == expected


@pytest.mark.parametrize("name", ["999_0_0_2017.jpg", "²_0_0_2017.jpg", "20170116_0.jpg", "x.jpg"])
def test_ages_that_nobody_has_are_unknown(name, tmp_path):
    notes: dict = {}
    (item,) = sources.utkface(tar_of(tmp_path / "a", [(name, JPEG)]), notes)
    assert item.labels["age"] == -1 and notes["incomplete_labels"] == [name]


@pytest.mark.parametrize("frames", [np.zeros((560, 3)), np.zeros((7, 3), np.uint8), None])
def test_another_matlab_file_is_not_freys(frames, tmp_path):
    from scipy.io import savemat

    savemat(tmp_path / "a.mat", {"other": 1} if frames is None else {"ff": frames})
    with pytest.raises(BadSource) as caught:
        list(sources.frey(tmp_path / "a.mat", {}))
    one_sentence(caught, "is not frey_rawface.mat")
