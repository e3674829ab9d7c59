"""Archives: harmless whatever their names and links are; damage is refused in one sentence."""

import gzip
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest

from facevae.data.archives import Archive, BadSource
from facevae.data.sources import utkface
from tests.helpers import one_sentence, snapshot
from tests.unit.archive_files import JPEG, PNG, patched, tar_of, zip_of

FACE = "20_0_0_2017.jpg"
ZEROS = bytes((64 << 20) + 1)

HARMLESS = {  # builders of archives, each with one picture in it
    "tar: a path that climbs out": lambda p: tar_of(p, [(f"../../{FACE}", JPEG)]),
    "tar: an absolute path": lambda p: tar_of(p, [(f"/etc/{FACE}", JPEG)]),
    "zip: a path that climbs out": lambda p: zip_of(p, [(f"../../{FACE}", JPEG)]),
    "zip: an absolute path": lambda p: zip_of(p, [(f"/etc/{FACE}", JPEG)]),
    "tar: an absolute link": lambda p: tar_of(
        p, [(FACE, JPEG), ("1.jpg", tarfile.SYMTYPE, "/etc/passwd")]),
    "tar: a relative link": lambda p: tar_of(
        p, [(FACE, JPEG), ("1.jpg", tarfile.SYMTYPE, "../x.jpg")]),
    "tar: a hard link": lambda p: tar_of(
        p, [(FACE, JPEG), ("1.jpg", tarfile.LNKTYPE, "/etc/passwd")]),
    "tar: a device and a pipe": lambda p: tar_of(
        p, [(FACE, JPEG), ("1.jpg", tarfile.CHRTYPE, ""), ("2.jpg", tarfile.FIFOTYPE, "")]),
    "tar: one name twice, the last counts": lambda p: tar_of(p, [(FACE, PNG), (FACE, JPEG)]),
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
    "zip: a bomb": (
        lambda p: zip_of(p, [(FACE, ZEROS)], compression=zipfile.ZIP_DEFLATED), "too many for one"),
    "tar.gz: a bomb": (
        lambda p: tar_of(p, [(FACE, ZEROS)], "w:gz"), "67108865 bytes are too many"),
    "zip: a bomb that lies about its size": (
        lambda p: patched(zip_of(p, [(FACE, bytes(99_999))], compression=zipfile.ZIP_DEFLATED),
                          (struct.pack("<I", 99_999), struct.pack("<I", 500))), "cannot be read"),
    "zip: damaged bytes": (
        lambda p: patched(zip_of(p, [(FACE, JPEG)]), (JPEG[200:210], bytes(10))), "cannot be read"),
    "zip: a broken stream": (
        lambda p: patched(zip_of(p, [(FACE, bytes(9999))], compression=zipfile.ZIP_DEFLATED),
                          (zlib.compress(bytes(9999))[2:12], b"\xff" * 10)), "cannot be read"),
    "zip: locked by a password": (
        lambda p: patched(zip_of(p, [(FACE, JPEG)]),
                          (b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01"),
                          (b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01")),
        "password"),
    "tar: cut within the picture": (
        lambda p: p.write_bytes(tar_of(p, [(FACE, JPEG)]).read_bytes()[:700]) and p,
        "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize(("build", "words"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_member_says_why(build, words, tmp_path):
    (item,) = utkface(build(tmp_path / "a"), {})
    with pytest.raises(OSError) as caught:
        item.read()
    one_sentence(caught, words)


def test_a_file_too_large_for_a_picture_is_not_read(tmp_path):
    with open(tmp_path / FACE, "wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk, but a terabyte in memory
    (item,) = utkface(tmp_path, {})
    with pytest.raises(OSError, match="too many for one picture"):
        item.read()


NO_SOURCE = {
    "no bytes": (lambda p: p.write_bytes(b"") or p, "download it again"),
    "an empty tar": (lambda p: tar_of(p, []), "holds no pictures"),
    "an empty zip": (lambda p: zip_of(p, []), "holds no pictures"),
    "an empty folder": (lambda p: p.mkdir() or p, "holds no pictures"),
    "a cut zip": (
        lambda p: p.write_bytes(zip_of(p, [(FACE, JPEG)]).read_bytes()[:-30]) and p,
        "neither a folder nor a whole .tar, .tar.gz or .zip"),
    "a zip with a broken list": (
        lambda p: patched(zip_of(p, [(FACE, JPEG)]), (b"PK\x01\x02", b"PK\x09\x09")),
        "download it again"),
    "half a gzip": (lambda p: p.write_bytes(gzip.compress(bytes(9999))[:20]) and p, "download it"),
    "archives in an archive": (
        lambda p: zip_of(p, [("in/UTKFace.tar.gz", b"x")]), "unpack in/UTKFace.tar.gz and give"),
    "a dead link": (lambda p: p.symlink_to("nowhere") or p, "check the path"),
}  # fmt: skip


@pytest.mark.parametrize(("build", "words"), NO_SOURCE.values(), ids=NO_SOURCE)
def test_what_is_no_archive_is_refused(build, words, tmp_path):
    with pytest.raises(BadSource) as caught:
        list(utkface(build(tmp_path / "a"), {}))
    one_sentence(caught, words)


def test_a_cut_gzip_gives_what_is_whole_and_tells(tmp_path):
    noise = np.random.default_rng(0).bytes(200_000)  # so that the cut falls behind the first
    path = tar_of(tmp_path / "a", [(FACE, JPEG), ("21_0_0_2017.jpg", noise)], "w:gz")
    path.write_bytes(path.read_bytes()[:100_000])
    archive, notes = Archive(path), {}
    assert archive.read(FACE) == JPEG and "cut short" in archive.damage
    list(utkface(path, notes))
    assert "cut short" in notes["damage"]
