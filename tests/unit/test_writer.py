"""The writer of FaceSets: a killed preparation goes on, and ends in the same bytes."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from facevae.data.archives import BadSource
from facevae.data.prepare import prepare
from facevae.data.synthetic import draw_faces
from facevae.data.writer import FaceSetWriter, Options, Row
from tests.conftest import ROOT
from tests.unit.archive_files import JPEG, encoded, folder_of


def made(folder, out, workers):
    return prepare("utkface", folder, out, 64, "none", workers, progress=False)


def started(tmp_path, code, folder, workers):
    """A preparation of a folder into `out` by another process, some code before it."""
    arguments = f"'utkface', {str(folder)!r}, {str(tmp_path / 'out')!r}, 64, 'none', {workers}"
    code += "from facevae.data.prepare import prepare\nif __name__ == '__main__':\n"
    (tmp_path / "program.py").write_text(f"{code}    prepare({arguments}, progress=False)\n")
    command = [sys.executable, str(tmp_path / "program.py")]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
                            stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip


def test_a_killed_preparation_goes_on_to_the_same_bytes(tmp_path):
    drawn = draw_faces(400, size=64)[0]
    members = [(f"{i % 90}_0_0_{i:06d}.jpg", encoded(face)) for i, face in enumerate(drawn)]
    folder = folder_of(tmp_path / "UTKFace", members)
    child = started(tmp_path, "", folder, workers=1)
    rows, deadline = tmp_path / "out" / ".partial" / "rows.jsonl", time.monotonic() + 120
    while not (rows.is_file() and rows.stat().st_size):
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.002)
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    assert not (tmp_path / "out" / "manifest.json").exists()
    faces = made(folder, tmp_path / "out", workers=1)
    whole = made(folder, tmp_path / "whole", workers=2)
    assert len(faces) == 400
    for name in ("images.npy", "labels.npz", "manifest.json"):
        assert (faces.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    assert not (faces.folder / ".partial").exists()


def rows_of(numbers):
    rows = [Row(str(i), {"age": i}, content=i, shape=(2, 2, 1)) for i in numbers]
    return rows, [np.full((2, 2, 1), i, np.uint8) for i in numbers]


def test_a_batch_that_was_half_written_is_written_again(tmp_path):
    options = Options("made", "", 8, "none")
    FaceSetWriter(tmp_path, options).add(*rows_of([1, 2]))
    for name, data in (("images.raw", b"12345"), ("rows.jsonl", b'[["3", {}')):
        with open(tmp_path / ".partial" / name, "ab") as file:
            file.write(data)
    again = FaceSetWriter(tmp_path, options)
    assert [row.name for row in again.rows] == ["1", "2"]
    again.add(*rows_of([3]))
    again.add([Row("4", {}, reason="no face found")], [None])
    faces = again.finish({"classes": ["a"]})
    assert faces.images[:, 0, 0, 0].tolist() == faces.labels["age"].tolist() == [1, 2, 3]
    assert faces.manifest["skipped"] == {"no face found": ["4"]}
    assert faces.manifest["classes"] == ["a"]


def test_what_was_begun_with_other_options_is_begun_anew(tmp_path):
    FaceSetWriter(tmp_path, Options("made", "", 8, "none")).add(*rows_of([1, 2]))
    assert FaceSetWriter(tmp_path, Options("made", "", 16, "none")).rows == []


@pytest.mark.slow
def test_a_killed_worker_says_what_to_do(tmp_path):
    folder = folder_of(tmp_path / "in", [(f"20_0_0_{i:04d}.jpg", JPEG) for i in range(100)])
    code = "from facevae.data import prepare as module\nimport os\n" \
           "module.prepare_picture = lambda *_: os.kill(os.getpid(), 9)\n"  # fmt: skip
    ran = started(tmp_path, code, folder, workers=2)
    error = ran.communicate()[1]
    assert "with fewer --workers; it continues from here" in error.splitlines()[-1]


def test_a_disk_that_is_full_says_what_to_do(tmp_path, monkeypatch):
    writer = FaceSetWriter(tmp_path, Options("made", "", 8, "none"))

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot be written \(No space left on device\): make room"):
        writer.add(*rows_of([1]))


def test_a_source_without_a_face_is_refused(tmp_path):
    writer = FaceSetWriter(tmp_path, Options("made", "", 8, "none"))
    with pytest.raises(BadSource, match="no face could be prepared; the first one: nothing there"):
        writer.finish({})
    writer.add([Row("a.jpg", {}, reason="no face found")], [None])
    with pytest.raises(BadSource, match="the first one: a.jpg: no face found"):
        writer.finish({})
