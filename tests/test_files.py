"""Files are whole or not there, on a disk that takes no more, too: see `facevae.files`."""

import errno
import os
import resource
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import facevae
from facevae import checkpoints, files
from facevae.__main__ import main
from tests.conftest import ROOT
from tests.small_run import TINY, one_sentence, refused, snapshot

pytest_plugins = "tests.small_run"  # its fixtures


@contextmanager
def full_disk(size):
    """Writes beyond `size` bytes of a file fail, as on a disk without room (in a process of root,
    too, whom no permission holds back)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def leftovers(folder):
    return [p for p in folder.rglob("*") if ".partial" in p.name and p.is_file()]


def test_a_full_disk_stops_a_preparation_and_leaves_nothing_half(tmp_path, capsys):
    command = ["prepare", "synthetic", "--size", "16", "--count", "80", "--out", tmp_path / "out"]
    with full_disk(20_000):
        refused(command, "images.npy cannot be written (File too large): make room there", capsys)
    assert not list((tmp_path / "out").iterdir())
    assert main([str(word) for word in command]) == 0


def test_a_full_disk_stops_training_and_the_last_epoch_stays(drawn, run, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(run, out)
    before = snapshot(out)
    longer = ["train", "drawn", "--data", drawn.folder, "--out", out, *TINY, "--epochs", "2"]
    with full_disk(9_000):  # room for the monitor's picture
        refused([*longer, "--resume"], "cannot be written", capsys, progress=True)
    assert before.items() <= snapshot(out).items() and not leftovers(out)
    assert main([str(word) for word in [*longer, "--resume"]]) == 0
    assert len(facevae.read_history(out)) == 2


@pytest.mark.parametrize("name", ["checkpoint.pt", "model.safetensors", "a.txt"])
def test_whatever_writes_a_file_a_full_disk_is_told_and_the_old_file_stays(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"old")
    tensor = {"a": torch.zeros(10_000)}
    write = {
        "checkpoint.pt": lambda: checkpoints.write(tmp_path, [], tensor),
        "model.safetensors": lambda: files.write_safetensors(path, tensor),
        "a.txt": lambda: files.write_text(path, "a" * 50_000),
    }[name]
    with full_disk(9_000), pytest.raises(OSError) as caught:
        write()
    one_sentence(caught, f"{path} cannot be written (")
    assert "make room there" in str(caught.value)
    assert path.read_bytes() == b"old" and not leftovers(tmp_path)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".mp4", ".webp"])
def test_a_full_disk_stops_a_picture(suffix, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (4, 128, 128, 3), np.uint8)
    frames = [Image.fromarray(one) for one in noise]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")
    with full_disk(4_000), pytest.raises(OSError) as caught:
        facevae.pictures.save_animation(frames, path)
    one_sentence(caught, f"a{suffix} cannot be written")
    assert path.read_bytes() == b"old" and not leftovers(tmp_path)


def test_a_disk_that_fails_at_the_flush_keeps_the_old_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=r"a\.txt cannot be written \(No space left on device\)"):
        files.write_text(path, "new")
    assert path.read_text() == "old" and not leftovers(tmp_path)


def test_what_a_killed_writer_left_goes_when_the_folder_is_claimed(tmp_path):
    left = tmp_path / "best" / f".{'0a' * 16}.partial.safetensors"
    left.parent.mkdir()
    left.write_bytes(b"half")
    own = tmp_path / ".mine.partial.txt"
    own.write_text("of somebody else")
    files.claim(tmp_path)
    assert not left.exists() and own.exists() and not list(tmp_path.glob("*.partial"))


def test_a_worker_of_preparation_does_not_outlive_its_parent():
    program = (
        "import os, time; from concurrent.futures import ProcessPoolExecutor\n"
        "from multiprocessing import get_context; from facevae.packets import _begin_worker\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessPoolExecutor(1, get_context('spawn'), initializer=_begin_worker)\n"
        "    print(pool.submit(os.getpid).result(), flush=True); time.sleep(99)"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        worker = Path(f"/proc/{int(parent.stdout.readline())}")
        assert worker.exists() or not Path("/proc").exists()
        parent.kill()
    deadline = time.monotonic() + 30
    while worker.exists():
        assert time.monotonic() < deadline, "it waits for ever"
        time.sleep(0.05)
