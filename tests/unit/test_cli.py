"""The command line: what each command writes, and that a bad one is refused in one clear line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from facevae import cli
from facevae.__main__ import main
from facevae.data.synthetic import draw_faces
from tests.helpers import ROOT, encoded, one_sentence, snapshot
from tests.unit.archive_files import folder_of

PHOTO = str(ROOT / "assets" / "portraits" / "grace_hopper.jpg")
TRAIN = ["train", "drawn", "--data", "DATA", "--out", "out"]
MODEL = ["--model", "RUN"]
EDIT = ["edit", PHOTO, "-o", "e.png", *MODEL, "--set"]
SAMPLE = ["sample", "-o", "s.png", *MODEL]
BAD = {
    "no command": ([], "required"),
    "an unknown recipe": (["train", "dawn", "--out", "out"], "'dawn' is unknown: use one of drawn"),
    "an unknown setting": ([*TRAIN, "--set", "betta=4"], "no setting 'betta'"),
    "a word for a number": ([*TRAIN, "--epochs", "many"], "epochs=many"),
    "too many halvings": ([*TRAIN, "--set", "model.channels=4,4,4,4,4,4,4"], "do not suit 32"),
    "a negative seed": ([*TRAIN, "--seed", "-1"], "--seed: give a whole number from 0"),
    "data that is not there": (["train", "drawn", "--data", "no", "--out", "out"], "prepare"),
    "labels that are not there": (
        ["train", "drawn", "--data", "GREY", "--out", "out", "--set", "model.conditions=age"],
        "no label 'age'"),
    "a device without a driver": ([*TRAIN, "--device", "hpu"], "there is no device 'hpu' here"),
    "a run that is there": (["train", "drawn", "--data", "DATA", "--out", "RUN/.."], "--resume"),
    "an unknown source": (["prepare", "facebook", "--out", "p"], "'facebook'"),
    "an archive that is not there": (["run", "frey", "--archive", "no", "--out", "p"], "no"),
    "a strength beyond all": ([*EDIT, "Smiling=1e9"], "not '1e9'"),
    "two whole photos": (["age", PHOTO, PHOTO, "-o", "a.png", *MODEL, "--paste"], "for one photo"),
    "a text for a photo": (["age", "file", "-o", "a.png", *MODEL], "file cannot be read"),
    "another kind of file": ([*SAMPLE[:2], "s.doc", *MODEL], "end its name in"),
    "no such model": ([*SAMPLE[:3], "--model", "nowhere"], "nowhere holds no facevae model"),
    "an unknown average": (["average", "Grin", "-o", "a.png", *MODEL], "no attribute 'Grin'"),
    "an age of what has none": ([*SAMPLE[:3], "--model", "GREYRUN", "--age", "30"], "no ages"),
    "evaluate other faces": (["evaluate", "RUN", "--data", "GREY"], "at its size"),
    "a report of no run": (["report", "."], "history.csv is missing"),
    "a report of other faces": (["report", "RUN/..", "--data", "GREY"], "none of these runs"),
    "an export to nowhere": (["export", "RUN"], "--out"),
    "an export into a file": (["export", "RUN", "--out", "file"], "cannot be written"),
    "a classifier of no labels": (["classifier", "--data", "GREY", "--out", "c"], "no label"),
}  # fmt: skip


@pytest.fixture
def places(drawn_faces, grey_faces, tiny_run, grey_run):
    return {"DATA": str(drawn_faces.folder), "GREY": str(grey_faces.folder),
            "RUN": str(tiny_run / "best"), "RUN/..": str(tiny_run),
            "GREYRUN": str(grey_run / "best")}  # fmt: skip


@pytest.mark.parametrize(("command", "words"), BAD.values(), ids=BAD)
def test_bad_commands(command, words, places, tmp_path, monkeypatch, capsys):
    """Their exit status is 2, and they say one line, after any bar of progress."""
    (tmp_path / "file").write_text("a text that was here before")
    monkeypatch.chdir(tmp_path)
    try:
        status = main([places.get(word, word) for word in command])
    except SystemExit as stopped:
        status = stopped.code
    captured = capsys.readouterr()
    assert status == 2, captured
    one_sentence(captured.err.splitlines()[-1], words)
    assert (tmp_path / "file").read_text() == "a text that was here before"
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".gif", ".png", ".safetensors")]


@pytest.mark.parametrize(("error", "words"), [
    (RuntimeError("can't allocate 9 bytes"), "not enough memory"),
    (MemoryError(), "not enough memory"), (KeyboardInterrupt("add --resume"), "--resume"),
], ids=["of torch", "of Python", "interrupted"])  # fmt: skip
def test_a_stop_is_said_in_words_and_our_fault_is_not_hidden(error, words, monkeypatch, capsys):
    def fails(folder):
        raise error

    monkeypatch.setattr(cli.facevae.Studio, "load", fails)
    assert main(SAMPLE) == (130 if isinstance(error, KeyboardInterrupt) else 2)
    one_sentence(capsys.readouterr().err, words)
    error = RuntimeError("shapes differ")
    with pytest.raises(RuntimeError, match="shapes differ"):
        main(SAMPLE)


SMALL = ["--epochs", "1", "--set", "model.channels=4,8", "--set", "model.latents=4",
         "--device", "cpu"]  # fmt: skip


def test_run_goes_all_the_way_and_does_nothing_twice(grey_faces, tmp_path, capsys):
    archive, out = tmp_path / "frey.mat", tmp_path / "run"
    savemat(archive, {"ff": grey_faces.images.reshape(len(grey_faces), -1).T})
    command = ["run", "frey", "--archive", str(archive), "--out", str(out), *SMALL]
    assert main(command) == 0 and "PSNR" in capsys.readouterr().out.upper()
    found = json.loads((out / "figures.json").read_text())
    assert found["run"]["epochs"] == 1 and found["run"]["command"].startswith("python -m facevae")
    assert (out / "report.html").is_file() and (out / "best" / "studio.json").is_file()
    before = snapshot(out)
    assert main(command) == 0 and snapshot(out) == before
    assert main([*command, "--epochs", "2"]) == 0
    assert json.loads((out / "figures.json").read_text())["run"]["epochs"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["morph-utkface", "smile", "attributes-celeba", "aging"])
def test_run_takes_the_recipe_of_each_source(recipe, tmp_path):
    """Of drawn faces, named as UTKFace's, in folders of two classes, with CelebA's list."""
    kinds, pictures = ("smile", "non_smile"), map(encoded, draw_faces(60, 96)[0])
    names = [f"{kinds[i % 2]}/{10 + i}_{i % 2}_0_2017{i:06d}.jpg" for i in range(60)]
    rows = [f"{Path(name).name} {2 * (i % 2) - 1}" for i, name in enumerate(names)]
    table = ("list_attr_celeba.txt", "\n".join(["60", "Smiling", *rows]).encode())
    archive = folder_of(tmp_path / "photos", [*zip(names, pictures, strict=True), table])
    out = tmp_path / "run"
    assert main(["run", recipe, "--archive", str(archive), "--out", str(out), *SMALL]) == 0
    assert (out / "figures.json").is_file() and (out / "best" / "studio.json").is_file()


@pytest.mark.slow
def test_a_row_of_frey_is_reproducible(real_data, tmp_path):
    archive, rows = str(real_data / "frey_rawface.mat"), []
    for name in ("a", "b"):
        command = ["run", "frey", "--archive", archive, "--out", str(tmp_path / name)]
        assert main([*command, "--epochs", "2", "--device", "cpu"]) == 0
        rows.append(json.loads((tmp_path / name / "figures.json").read_text())["figures"])
    assert rows[0] == rows[1]


def test_evaluate_takes_the_split_that_the_run_was_trained_with(places, tmp_path, capsys):
    shutil.copytree(places["RUN"], tmp_path / "best")
    about = json.loads((Path(places["RUN/.."]) / "recipe.json").read_text())
    about["recipe"] |= {"split_by": "order", "seed": 3}
    (tmp_path / "recipe.json").write_text(json.dumps(about))
    rest, printed = ["--data", places["DATA"], "--no-pca"], []
    for words in ([str(tmp_path / "best")], [places["RUN"], "--split-by", "order", "--seed", "3"],
                  [places["RUN"]]):  # fmt: skip
        assert main(["evaluate", *words, *rest]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != printed[2] and "PCA" not in printed[0]


def test_an_export_draws_faces(places, tmp_path, capsys):
    model, out = str(tmp_path / "exported"), str(tmp_path / "a.png")
    assert main(["recipes"]) == 0 and "aging" in capsys.readouterr().out
    assert main(["export", places["RUN"], "--out", model]) == 0
    assert main(["sample", "-n", "3", "-o", out, "--model", model]) == 0
    assert Image.open(out).size == (3 * 32, 32)
    assert main(["average", "Male", "-o", out, "--model", model]) == 0
    without, with_it = np.split(np.asarray(Image.open(out), float), 2, axis=1)
    assert np.abs(without - with_it).mean() > 1


@pytest.mark.parametrize(("command", "columns", "rows"), [
    (["reconstruct", PHOTO, PHOTO], 2, 2), (["edit", PHOTO, "--set", "Smiling=1"], 1, 1),
    (["morph", PHOTO, PHOTO, "--steps", "4"], 4, 1), (["edit", PHOTO, PHOTO], 1, 2),
    (["age", PHOTO, "--years", "20", "50", "80"], 3, 1),
    (["age", PHOTO, PHOTO, "--years", "20", "50", "80"], 3, 2),
])  # fmt: skip
def test_photos_give_a_strip_or_a_sheet(command, columns, rows, places, tmp_path):
    out = tmp_path / "sheet.png"
    assert main([*command, "-o", str(out), "--model", places["RUN"], "--size", "32"]) == 0
    assert Image.open(out).size == (columns * 32, rows * 32)


def test_an_editing_classifier_is_trained_and_measured(places, tmp_path, capsys):
    out = str(tmp_path / "classifier")
    assert main(["classifier", "--data", places["DATA"], "--out", out, "--epochs", "1"]) == 0
    text = capsys.readouterr().out
    assert "Male" in text and "balanced accuracy, held out" in text and "years" in text
