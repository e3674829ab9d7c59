"""Broken and foreign face sets, models and checkpoints: each is refused in one sentence that names
the file, no pickle is run, and nothing that was there before is lost."""

import json
import os
import pickle
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

import facevae
from facevae import FaceVAE, NotAModel
from facevae.checkpoints import CannotResume
from facevae.data import FaceSet, NotPrepared
from tests.small_run import TINY, one_sentence, refused, snapshot

pytest_plugins = "tests.small_run"  # its fixtures


SETS = {
    "a manifest cut short": ("manifest.json", b'{"source": "syn', "manifest.json is broken"),
    "a manifest that is a list": ("manifest.json", b"[]", "it is no object"),
    "images cut short": ("images.npy", 5000, "images.npy is broken"),
    "pickled images": ("images.npy", pickle.dumps([1]), "prepare these faces again"),
    "labels that are no archive": ("labels.npz", b"PK no", "labels.npz is broken"),
}


@pytest.mark.parametrize(("name", "content", "words"), SETS.values(), ids=SETS)
def test_broken_face_sets(name, content, words, drawn, tmp_path):
    for path, data in snapshot(drawn.folder).items():
        (tmp_path / path.name).write_bytes(data)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:content] if isinstance(content, int) else content)
    with pytest.raises(NotPrepared) as caught:
        faces = FaceSet(tmp_path)
        _ = faces.manifest, faces.images, faces.labels
    one_sentence(caught, words)


class Evil:
    """A pickle that makes a file called `harm` when it is loaded."""

    def __reduce__(self):
        return os.system, ("touch harm",)


def changed(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def pickled(path):
    path.unlink()
    torch.save({"a": torch.zeros(1)}, path.with_name("pytorch_model.bin"))


def longer_header(path):
    path.write_bytes(struct.pack("<Q", 1 << 40) + path.read_bytes()[8:])


def reshaped(path):
    save_file({k: v[None] for k, v in load_file(path).items()}, path)


def shortened(path):
    weights = load_file(path)
    weights.popitem()
    save_file(weights, path)


MODELS = {  # what is done to a file of a model → what is said
    "a pickle instead of safetensors": ("model.safetensors", pickled, "model.safetensors"),
    "a pickle named safetensors": (
        "model.safetensors", lambda p: p.write_bytes(pickle.dumps(Evil())), "no facevae model"),
    "weights cut short": (
        "model.safetensors", lambda p: p.write_bytes(p.read_bytes()[:-99]), "no facevae model"),
    "a header of a terabyte": ("model.safetensors", longer_header, "no facevae model"),
    "other shapes": ("model.safetensors", reshaped, "model.safetensors"),
    "a weight missing": ("model.safetensors", shortened, "model.safetensors"),
    "no settings": ("config.json", lambda p: p.unlink(), "config.json"),
    "settings that are a list": ("config.json", lambda p: p.write_text("[1]"), "is of format None"),
    "settings that are no JSON": ("config.json", lambda p: p.write_text("{"), "no facevae model"),
    "another format": ("config.json", lambda p: changed(p, format=99), "format 99, this reads 1"),
    "an unknown setting": ("config.json", lambda p: changed(p, magic=1), "'magic'"),
    "a thousand million latents": (
        "config.json", lambda p: changed(p, latents=10**9), "no facevae model"),
    "words for numbers": ("config.json", lambda p: changed(p, latents="many"), "no facevae model"),
    "no picture": ("config.json", lambda p: changed(p, image_shape=[]), "no facevae model"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "harm", "words"), MODELS.values(), ids=MODELS)
def test_foreign_and_broken_models(name, harm, words, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (run / "best").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    harm(tmp_path / name)
    with pytest.raises(NotAModel) as caught:
        FaceVAE.from_pretrained(tmp_path)
    one_sentence(caught, words)
    assert not (tmp_path / "harm").exists()


CHECKPOINTS = {
    "code in a pickle": lambda p: p.write_bytes(pickle.dumps(Evil())),
    "code in torch's own file": lambda p: torch.save({"recipe": Evil()}, p),
    "cut short": lambda p: p.write_bytes(p.read_bytes()[:-500]),
    "no bytes": lambda p: p.write_bytes(b""),
    "a list": lambda p: torch.save([1, 2], p),
}


@pytest.mark.parametrize("harm", CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_foreign_and_broken_checkpoints(harm, drawn, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for path, data in snapshot(run).items():
        (tmp_path / path.relative_to(run)).parent.mkdir(exist_ok=True)
        (tmp_path / path.relative_to(run)).write_bytes(data)
    harm(tmp_path / "checkpoint.pt")
    before = snapshot(tmp_path)
    command = ["train", "drawn", "--data", drawn.folder, "--out", tmp_path, *TINY, "--resume"]
    refused(command, "checkpoint.pt is no whole checkpoint", capsys)
    assert snapshot(tmp_path) == before  # and no file called harm


def test_a_checkpoint_of_another_recipe_is_refused(drawn, run):
    with pytest.raises(CannotResume) as caught:
        facevae.train("drawn", drawn, run, resume=True, device="cpu", progress=False)
    one_sentence(caught, "of another recipe or other faces: choose another folder")


STUDIO_FILES = {"prior.safetensors": "prior", "ways.safetensors": "ways to attributes",
                "ages.safetensors": "age curves", "texture.safetensors": "texture",
                "judge.safetensors": "judge"}  # fmt: skip


@pytest.mark.parametrize(("name", "words"), STUDIO_FILES.items(), ids=STUDIO_FILES)
def test_a_broken_file_of_a_studio_is_named(name, words, tmp_path):
    for path in facevae.studio.FOLDER.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / name).unlink()
    (tmp_path / name).write_bytes((facevae.studio.FOLDER / name).read_bytes()[:1000])
    with pytest.raises(ValueError) as caught:
        facevae.Studio.load(tmp_path)
    one_sentence(caught, words)
