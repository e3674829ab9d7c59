"""A tiny FaceSet and a tiny run for the tests of bad input, and how these look at what was said."""

import pytest

import facevae
from facevae.__main__ import main

TINY = ["--epochs", "1", "--set", "model.channels=4,8", "--set", "model.latents=4"]


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "drawn"
    return facevae.prepare("synthetic", out=folder, size=16, count=80, progress=False)


@pytest.fixture(scope="session")
def run(drawn, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", "drawn", "--data", str(drawn.folder), "--out", str(out), *TINY]) == 0
    return out


def snapshot(folder):
    """Each file's path → its bytes."""
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def one_sentence(caught, words):
    """What an exception (of pytest.raises) or a text says: one line, with these words in it."""
    said = str(getattr(caught, "value", caught))
    assert words in said and "\n" not in said.strip() and len(said) < 600, said


def refused(command, words, capsys, progress=False):
    """Exit 2, and one line on standard error, be it after a bar of progress."""
    try:
        status = main([str(word) for word in command])
    except SystemExit as exit_:
        status = exit_.code
    error = capsys.readouterr().err
    if progress:
        error = error[error.index("facevae: ") :]
    assert status == 2 and error.startswith("facevae: ") and error.count("\n") == 1, error
    one_sentence(error, words)
