"""Bad commands, settings of notebooks, and calls of programs: each is refused in one sentence that
names the thing, and nothing that was there before is lost."""

import os
from pathlib import Path

import nbformat
import pytest

import facevae
from facevae.data import NotPrepared, load_faces
from facevae.photo import UnreadablePhoto
from tests.conftest import ROOT
from tests.small_run import one_sentence, refused, snapshot

pytest_plugins = "tests.small_run"  # its fixtures
PHOTO = str(ROOT / "assets" / "portraits" / "grace_hopper.jpg")


TRAIN = ["train", "drawn", "--data", "DATA", "--out", "out"]
AGE = ["age", PHOTO, "-o", "a.png"]
EDIT = ["edit", PHOTO, "-o", "e.png", "--set"]
MORPH = ["morph", PHOTO, PHOTO, "-o", "m.gif"]
SAMPLE = ["sample", "-o", "s.png"]
COMMANDS = {
    "no command": ([], "required"),
    "an unknown command": (["prepair"], "invalid choice: 'prepair'"),
    "an unknown option": ([*SAMPLE, "--sede", "1"], "--sede"),
    "no --out": (["train", "drawn"], "--out"),
    "an unknown recipe": (["train", "dawn", "--out", "out"], "'dawn' is unknown: use one of drawn"),
    "an unknown setting": ([*TRAIN, "--set", "betta=4"], "no setting 'betta'"),
    "a setting of the model": ([*TRAIN, "--set", "model.latent=4"], "'model.latent'"),
    "a setting without a value": ([*TRAIN, "--set", "beta"], "beta"),
    "a word for a number": ([*TRAIN, "--set", "epochs=many"], "this field takes a int"),
    "a word for a yes or no": ([*TRAIN, "--set", "flip=perhaps"], "this field takes a bool"),
    "too many halvings": ([*TRAIN, "--set", "model.channels=4,4,4,4,4,4,4"], "fewer channels"),
    "1,000,000,000 latents": ([*TRAIN, "--set", "model.latents=1000000000"], "from 1 to 65536"),
    "a network of 40 GB": ([*TRAIN, "--set", "model.channels=40000,30000"], "enough memory"),
    "none where there must be some": ([*TRAIN, "--set", "lr=none"], "this field takes a float"),
    "a word for none": ([*TRAIN, "--set", "model.sigma=wide"], "this field takes a float"),
    "no epochs": ([*TRAIN, "--epochs", "0"], "--epochs: give a whole number from 1"),
    "epochs below none": ([*TRAIN, "--epochs", "-1"], "--epochs: give a whole number from 1"),
    "half an epoch": ([*TRAIN, "--epochs", "1.5"], "not '1.5'"),
    "batches of none": ([*TRAIN, "--batch", "0"], "--batch: give a whole number from 1"),
    "a seed too large": ([*TRAIN, "--seed", "9" * 30], "--seed"),
    "no faces to train on": (["train", "drawn", "--data", "no", "--out", "o"], "facevae prepare"),
    "a run in a file": ([*TRAIN[:-1], "file"], "file cannot be written"),
    "a run below a file": ([*TRAIN[:-1], "file/run"], "choose another folder"),
    "a run where nobody may write": ([*TRAIN[:-1], "/proc/run"], "/proc/run cannot be written"),
    "no device": ([*TRAIN, "--device", "abacus"], "abacus"),
    "faces into a file": (["prepare", "synthetic", "--out", "file"], "file cannot be written"),
    "faces where nobody may write": (
        ["prepare", "synthetic", "--count", "9", "--out", "/sys/faces"], "/sys/faces cannot be"),
    "faces of no size": (["prepare", "synthetic", "--out", "o", "--size", "2"], "from 8 to 1024"),
    "vast faces": (["prepare", "synthetic", "--out", "o", "--size", "99999999"], "--size"),
    "no workers": (["prepare", "synthetic", "--out", "o", "--workers", "0"], "--workers"),
    "no faces": (["prepare", "synthetic", "--out", "o", "--count", "0"], "--count"),
    "an unknown source": (["prepare", "utkfase", "--out", "o"], "use one of utkface"),
    "a strength in words": ([*EDIT, "Smiling=very"], "write it as Smiling=1"),
    "a strength that is no number": ([*EDIT, "Smiling=nan"], "1 has it, -1 has it not"),
    "a strength beyond all": ([*EDIT, "Smiling=1e9"], "'Smiling=1e9' is too strong"),
    "an unknown attribute": ([*EDIT, "Grin=1"], "there is no attribute 'Grin'"),
    "an unknown lock": ([*EDIT, "Smiling=1", "--lock", "Grin"], "there is no attribute 'Grin'"),
    "an age below none": ([*AGE, "--years", "-1"], "--years: give a number from 0 to 120"),
    "an age of stones": ([*AGE, "--years", "1e9"], "not '1e9'"),
    "an age that is no number": ([*AGE, "--years", "nan"], "not 'nan'"),
    "more detail than all": ([*AGE, "--detail", "2"], "--detail: give a number from 0 to 1"),
    "detail that is no number": ([*AGE, "--detail", "nan"], "--detail"),
    "a picture of no size": ([*AGE, "--size", "0"], "--size"),
    "no photo": (["age", "nobody.jpg", "-o", "a.png"], "there is no file nobody.jpg"),
    "a text for a photo": (["age", "file", "-o", "a.png"], "file cannot be read as a picture"),
    "a folder for a photo": (["age", ".", "-o", "a.png"], "cannot be read as a picture"),
    "another kind of file": ([*AGE[:-1], "a.doc"], "end its name in"),
    "a picture below a file": ([*AGE[:-1], "file/a.png"], "file/a.png cannot be written"),
    "one step": ([*MORPH, "--steps", "1"], "--steps: give a whole number from 2"),
    "steps without end": ([*MORPH, "--steps", str(10**9)], "--steps"),
    "no seconds": ([*MORPH, "--seconds", "0"], "--seconds"),
    "an unknown path": ([*MORPH, "--path", "curly"], "invalid choice: 'curly'"),
    "no samples": ([*SAMPLE, "-n", "0"], "-n: give a whole number from 1"),
    "more samples than memory": ([*SAMPLE, "-n", str(10**9)], "-n"),
    "a device without a driver": ([*TRAIN, "--device", "hpu"], "there is no device 'hpu' here"),
    "a temperature that is none": ([*SAMPLE, "--temperature", "nan"], "--temperature"),
    "no such model": ([*SAMPLE, "--model", "nowhere"], "nowhere holds no facevae model"),
    "no such run": (["evaluate", "no", "--data", "DATA"], "no holds no facevae model"),
    "no such judge": (  # said at once, before the faces are found to be of another size
        ["evaluate", str(facevae.studio.FOLDER), "--data", "DATA", "--judge", "no"],
        "no holds no judge that can be read"),
    "an unknown prior": (
        ["export", "RUN/best", "--data", "DATA", "--out", "o", "--prior", "flat"], "--prior flat"),
    "an export into a file": (
        ["export", "RUN/best", "--data", "DATA", "--out", "file"], "cannot be written"),
}  # fmt: skip


@pytest.mark.parametrize(("command", "words"), COMMANDS.values(), ids=COMMANDS)
def test_bad_commands(command, words, drawn, run, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("a text that was here before")
    monkeypatch.chdir(tmp_path)
    kept = snapshot(run) | snapshot(drawn.folder) | snapshot(tmp_path)
    places = {"DATA": str(drawn.folder), "RUN/best": str(run / "best")}
    refused([places.get(word, word) for word in command], words, capsys)
    assert kept.items() <= (snapshot(run) | snapshot(drawn.folder) | snapshot(tmp_path)).items()
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".gif", ".png")]


# --- what the notebooks read of the environment


def settings(number):
    """The cell of a notebook that reads the environment."""
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    return next(c.source for c in nbformat.read(path, 4).cells if "FACEVAE_BUDGET" in c.source)


@pytest.mark.parametrize("number", ["01", "02", "03", "04", "05"])
def test_a_budget_that_is_none_stops_a_notebook_at_its_settings(number, monkeypatch):
    monkeypatch.setenv("FACEVAE_BUDGET", "medium")
    names = {"os": os, "Path": Path, "ROOT": ROOT}
    with pytest.raises(AssertionError):
        exec(settings(number), names)
    monkeypatch.setenv("FACEVAE_BUDGET", "small")
    exec(settings(number), names)
    assert names["BUDGET"] == "small"


@pytest.mark.parametrize("source", ["utkface", "no/such/folder", "../data", ""])
def test_a_source_that_was_not_prepared_says_how(source, tmp_path):
    with pytest.raises(NotPrepared) as caught:
        load_faces(source, root=tmp_path)  # as FACEVAE_SOURCE and FACEVAE_DATA reach it
    one_sentence(caught, "python -m facevae prepare")


def test_a_photo_that_is_not_there_says_so(tmp_path):
    with pytest.raises(UnreadablePhoto) as caught:
        facevae.photo.open_photo(str(tmp_path / "me.jpg"))  # as FACEVAE_PHOTO reaches it
    one_sentence(caught, "there is no file")


# --- what programs ask of the app

NAN = float("nan")
STRENGTHS = {
    "not a number": {"Smiling": NAN},
    "without end": {"Smiling": float("inf")},
    "huge": {"Smiling": 1e9},
    "a text": {"Smiling": "1"},
    "yes": {"Smiling": True},
    "none": {"Smiling": None},
    "a list": ["Smiling"],
    "a word": "Smiling",
}
NUMBERS = {"years": (70, 0, 120), "t": (0.5, 0, 1), "n": (1, 1, 64)}
WRONG = [-1, 1e9, NAN, float("-inf"), "30", True, [30], {}]


@pytest.mark.parametrize("given", STRENGTHS.values(), ids=STRENGTHS)
def test_strengths_of_programs(given):
    import gradio as gr

    from facevae.page import endpoints

    with pytest.raises(gr.Error) as caught:
        endpoints.checked_strengths(given)
    one_sentence(caught.value.message, "must be")


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_programs(name):
    import gradio as gr

    from facevae.page import endpoints

    field = endpoints.number(name, *NUMBERS[name], whole=name == "n")
    for given in (*WRONG, None):
        with pytest.raises(gr.Error) as caught:
            field.preprocess(given)
        one_sentence(caught.value.message, f"{name} must be a")
    assert field.preprocess(1) == 1
