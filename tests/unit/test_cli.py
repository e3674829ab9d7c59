"""The command line: what each command writes, and that a bad one is refused in one clear line."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from facevae import cli
from facevae.__main__ import main
from facevae.evaluation import tables
from tests.conftest import ROOT
from tests.helpers import one_sentence, snapshot

PHOTO = str(ROOT / "assets" / "portraits" / "grace_hopper.jpg")
TRAIN = ["train", "drawn", "--data", "DATA", "--out", "out"]
EVALUATE = ["evaluate", "RUN", "--data", "DATA"]
MODEL = ["--model", "RUN"]
AGE = ["age", PHOTO, "-o", "a.png", *MODEL]
EDIT = ["edit", PHOTO, "-o", "e.png", *MODEL, "--set"]
MORPH = ["morph", PHOTO, PHOTO, "-o", "m.gif", *MODEL]
SAMPLE = ["sample", "-o", "s.png", *MODEL]
BAD = {
    "no command": ([], "required"),
    "an unknown command": (["prepair"], "invalid choice: 'prepair'"),
    "an unknown option": ([*SAMPLE, "--sede", "1"], "--sede"),
    "no --out": (["train", "drawn"], "--out"),
    "an unknown recipe": (["train", "dawn", "--out", "out"], "'dawn' is unknown: use one of drawn"),
    "an unknown setting": ([*TRAIN, "--set", "betta=4"], "no setting 'betta'"),
    "a setting of the model": ([*TRAIN, "--set", "model.latent=4"], "'model.latent'"),
    "a word for a number": ([*TRAIN, "--set", "epochs=many"], "epochs=many"),
    "a word for a yes or no": ([*TRAIN, "--set", "flip=perhaps"], "flip=perhaps"),
    "too many halvings": ([*TRAIN, "--set", "model.channels=4,4,4,4,4,4,4"], "halvings"),
    "none where there must be some": ([*TRAIN, "--set", "lr=none"], "lr=None"),
    "no epochs": ([*TRAIN, "--epochs", "0"], "--epochs: give a whole number from 1"),
    "half an epoch": ([*TRAIN, "--epochs", "1.5"], "not '1.5'"),
    "a negative seed": ([*TRAIN, "--seed", "-1"], "--seed"),
    "data that is not there": (["train", "drawn", "--data", "no", "--out", "out"], "prepare"),
    "labels that are not there": (
        ["train", "drawn", "--data", "GREY", "--out", "out", "--set", "model.conditions=age"],
        "no label 'age'"),
    "a run below a file": ([*TRAIN[:-1], "file/run"], "cannot be written"),
    "one monitor photo": ([*TRAIN, "--monitor", PHOTO], "--monitor"),
    "a device without a driver": ([*TRAIN, "--device", "hpu"], "there is no device 'hpu' here"),
    "a run that is there": (["train", "drawn", "--data", "DATA", "--out", "RUN/.."], "--resume"),
    "an unknown source": (["prepare", "facebook", "--out", "p"], "'facebook'"),
    "an archive that is not there": (["prepare", "utkface", "--archive", "no.tar", "--out", "p"],
                                     "no.tar"),
    "an unknown framing": (["prepare", "synthetic", "--framing", "toe", "--out", "p"], "'toe'"),
    "faces of a pixel": (["prepare", "synthetic", "--size", "1", "--out", "p"], "--size"),
    "no strength": ([*EDIT, "Smiling"], "write it as Smiling=1"),
    "a word for a strength": ([*EDIT, "Smiling=very"], "write it as Smiling=1"),
    "a strength that is no number": ([*EDIT, "Smiling=nan"], "1 has it, -1 has it not"),
    "a strength beyond all": ([*EDIT, "Smiling=1e9"], "'Smiling=1e9' is too strong"),
    "an age below none": ([*AGE, "--years", "-1"], "--years: give a number from 0 to 120"),
    "an age that is no number": ([*AGE, "--years", "nan"], "not 'nan'"),
    "more detail than all": ([*AGE, "--detail", "2"], "--detail: give a number from 0 to 1"),
    "a picture of no size": ([*AGE, "--size", "0"], "--size"),
    "one age for two faces": (["age", PHOTO, PHOTO, *AGE[2:], "--own", "30"], "for one photo"),
    "no photo": (["age", "nobody.jpg", "-o", "a.png", *MODEL], "there is no file nobody.jpg"),
    "a text for a photo": (["age", "file", "-o", "a.png", *MODEL], "file cannot be read"),
    "one step": ([*MORPH, "--steps", "1"], "--steps: give a whole number from 2"),
    "no seconds": ([*MORPH, "--seconds", "0"], "--seconds"),
    "an unknown path": ([*MORPH, "--path", "curly"], "invalid choice: 'curly'"),
    "no samples": ([*SAMPLE, "-n", "0"], "-n: give a whole number from 1"),
    "a temperature that is none": ([*SAMPLE, "--temperature", "nan"], "--temperature"),
    "another kind of file": ([*SAMPLE[:2], "s.doc", *MODEL], "end its name in"),
    "a picture below a file": ([*SAMPLE[:2], "file/s.png", *MODEL], "file/s.png cannot be written"),
    "no such model": ([*SAMPLE[:3], "--model", "nowhere"], "nowhere holds no facevae model"),
    "an unknown average": (["average", "Grin", "-o", "a.png", *MODEL], "no attribute 'Grin'"),
    "an age of what has none": (["sample", "-o", "s.png", "--model", "GREYRUN", "--age", "30"],
                                "knows no ages"),
    "evaluate no model": (["evaluate", "no", "--data", "DATA"], "no holds no facevae model"),
    "evaluate other faces": (["evaluate", "RUN", "--data", "GREY"], "reads pictures of shape"),
    "an unknown factor": ([*EVALUATE, "--factors", "race"], "no label 'race'"),
    "a factor in texts": ([*EVALUATE, "--factors", "content"], "no label 'content'"),
    "no such classifier": ([*EVALUATE, "--edits", "--classifier", "no"], "evaluation classifier"),
    "a report of no run": (["report", "."], "history.csv is missing"),
    "an export into a file": (["export", "RUN", "--out", "file"], "cannot be written"),
    "a classifier of no labels": (
        ["classifier", "--data", "GREY", "--out", "c"], "no label"),
}  # fmt: skip


@pytest.fixture
def places(drawn_faces, grey_faces, tiny_run, grey_run):
    return {"DATA": str(drawn_faces.folder), "GREY": str(grey_faces.folder),
            "RUN": str(tiny_run / "best"), "RUN/..": str(tiny_run),
            "GREYRUN": str(grey_run / "best")}  # fmt: skip


def said(words, capsys):
    """What a command that must fail says: exit status 2, one line after any bar of progress."""
    try:
        status = main(words)
    except SystemExit as stopped:
        status = stopped.code
    captured = capsys.readouterr()
    assert status == 2, captured
    return captured.err.splitlines()[-1]


@pytest.mark.parametrize(("command", "words"), BAD.values(), ids=BAD)
def test_bad_commands(command, words, places, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("a text that was here before")
    monkeypatch.chdir(tmp_path)
    one_sentence(said([places.get(word, word) for word in command], capsys), words)
    assert (tmp_path / "file").read_text() == "a text that was here before"
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".gif", ".png", ".safetensors")]


def test_an_interruption_says_how_to_go_on(monkeypatch, capsys):
    def stopped(args):
        raise KeyboardInterrupt("interrupted; add --resume")

    stopped.__name__ = "recipes"
    monkeypatch.setattr(cli, "recipes", stopped)
    assert main(["recipes"]) == 130
    assert "--resume" in capsys.readouterr().err


def test_too_little_memory_is_said_and_a_fault_of_ours_is_not_hidden(monkeypatch, capsys):
    for error in (RuntimeError("can't allocate 9 bytes"), MemoryError()):
        monkeypatch.setattr(cli, "recipes", raising(error))
        assert "not enough memory" in said(["recipes"], capsys)
    monkeypatch.setattr(cli, "recipes", raising(RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        main(["recipes"])


def raising(error):
    def recipes(args):
        raise error

    return recipes


def test_recipes_are_listed(capsys):
    assert main(["recipes"]) == 0
    assert "aging" in capsys.readouterr().out


def test_evaluate_prints_tables_or_json(places, capsys):
    command = ["evaluate", places["RUN"], "--data", places["DATA"], "--against", places["RUN"]]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    other = found["against"][places["RUN"]]
    assert other["psnr_difference"]["mean"] == 0 and found["pca_psnr"] > 0
    assert "mig" not in found  # 30 drawn faces are too few, and nobody asked
    assert main([*command, "--no-pca"]) == 0
    text = capsys.readouterr().out
    assert f"{found['psnr']:.2f}" in text and "gender female" in text and "PCA" not in text


def test_a_conditional_model_is_evaluated_where_labels_are_known(
    tiny_conditional_run, places, capsys
):
    command = ["evaluate", str(tiny_conditional_run / "best"), "--data", places["DATA"], "--no-pca"]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["faces"] > 0


def test_pictures_are_written(places, tmp_path, capsys):
    out = {name: str(tmp_path / f"{name}.png") for name in ("sample", "average")}
    assert main(["sample", "-n", "3", "-o", out["sample"], "--model", places["RUN"]]) == 0
    assert Image.open(out["sample"]).size == (3 * 32, 32)
    assert main(["average", "Male", "-o", out["average"], "--model", places["RUN"]]) == 0
    without, with_it = np.split(np.asarray(Image.open(out["average"]), float), 2, axis=1)
    assert np.abs(without - with_it).mean() > 1


def test_photos_give_frames_or_sheets(grey_run, portraits, tmp_path):
    """By a model of whole pictures, so that nothing depends on a detector."""
    a, b = map(str, portraits)
    model = ["--model", str(grey_run / "best"), "--size", "28"]
    assert main(["reconstruct", a, b, "-o", str(tmp_path / "r.png"), *model]) == 0
    assert Image.open(tmp_path / "r.png").size == (2 * 20, 2 * 28)
    strip = tmp_path / "m.png"
    assert main(["morph", a, b, "-o", str(strip), "--steps", "4", *model]) == 0
    assert Image.open(strip).size == (4 * 20, 28)
    assert main(["edit", a, "-o", str(tmp_path / "e.png"), *model]) == 0


def test_several_faces_are_aged_on_one_sheet(tmp_path, monkeypatch):
    picture = Image.new("RGB", (8, 8))
    face = SimpleNamespace(years=31.0)
    studio = SimpleNamespace(read=lambda photo: face, age=lambda face, years, **options: picture)
    monkeypatch.setattr(cli.facevae, "Studio", SimpleNamespace(load=lambda folder: studio))
    out = tmp_path / "a.png"
    assert main(["age", "a", "b", "c", "--years", "20", "50", "-o", str(out)]) == 0
    assert Image.open(out).size == (2 * 8, 3 * 8)


def test_an_export_opens_as_a_studio(places, tmp_path, capsys):
    for options in ([], ["--data", places["DATA"]]):
        out = str(tmp_path / f"exported{len(options)}")
        assert main(["export", places["RUN"], "--out", out, *options]) == 0
        assert main(["sample", "-n", "1", "-o", f"{out}/s.png", "--model", out]) == 0
    assert not any("checkpoint" in str(path) for path in snapshot(tmp_path))


def test_an_editing_classifier_is_trained_and_measured(places, tmp_path, capsys):
    out = str(tmp_path / "classifier")
    assert main(["classifier", "--data", places["DATA"], "--out", out, "--epochs", "1"]) == 0
    text = capsys.readouterr().out
    assert "Male" in text and "balanced accuracy, held out" in text and "years" in text


def test_tables_line_up_and_leaks_are_named():
    text = tables.table(["what", "n"], [["a", "10"], ["longer", "9"]])
    assert text.split("\n") == ["what     n", "----------", "a       10", "longer   9"]
    share = {"mean": 0.9, "low": 0.8, "high": 1.0}
    side = {"faces": 20, "turned": share, "leaked": {"Male": 0.3, "Bangs": 0.01},
            "frechet": {"ratio": 1.25}, "age_moved": share}  # fmt: skip
    found = {"attributes": {"Bald": {"on": side, "off": {"faces": 2}}}, "unchanged": True,
             "classifier": {"Bald": 0.966}, "critic": {"accuracy": share}, "realism": {},
             "milliseconds": {"edit": 12.0}, "ages": {"span": share}, "groups": {}}  # fmt: skip
    parts = "\n".join(tables.studio_text(found))
    assert "+Bald" in parts and "0.90 (0.80–1.00)" in parts and "Male 0.30" in parts
    assert "Bangs" not in parts and "−Bald" in parts and "12.0 ms" in parts and "1.25" in parts
    assert tables.rounded({"a": float("nan"), "b": [1], "c": 0.12345}) == {
        "a": None, "b": [1], "c": 0.123}  # fmt: skip
