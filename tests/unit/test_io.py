"""Files are whole or not there, on a full disk too; foreign models are refused in one sentence."""

import json
import os
import resource
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from facevae import FaceVAE, ModelConfig, NotAModel, io
from facevae.latents.diagnostics import LatentStatistics
from facevae.models.classifier import AttributeClassifier
from tests.helpers import HARM, refused
from tests.unit.studios import LABELS, tiny_studio


def write_tensors(path, tensors):
    io.Pair("a.json", path.name, 1, "test", "").write(path.parent, {}, tensors)
    (path.parent / "a.json").unlink()


@pytest.mark.parametrize(("write", "content"), [
    (write_tensors, {"a": torch.zeros(10_000)}), (io.write_text, "a" * 50_000),
])  # fmt: skip
def test_a_full_disk_is_told_and_the_old_file_stays(write, content, tmp_path):
    path, limit = tmp_path / "a.file", resource.getrlimit(resource.RLIMIT_FSIZE)
    path.write_bytes(b"old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, limit[1]))  # of bytes, as on a full disk
    try:
        with refused(OSError, f"{path} cannot be written (", "make room there"):
            write(path, content)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_bytes() == b"old" and [*tmp_path.glob("*.file")] == [path]
    write(path, content)
    assert path.stat().st_size > 9_000


def test_a_writer_with_an_error_leaves_nothing_nor_does_a_killed_one_in_a_claimed_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), io.replacing(tmp_path / "new" / "a.txt") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert not list((tmp_path / "new").iterdir())
    with io.replacing(tmp_path / "best" / "model.safetensors") as unfinished:
        unfinished.write_bytes(b"half")
        left = unfinished.rename(unfinished.with_name(f"{unfinished.stem}0.safetensors"))
        unfinished.write_bytes(b"whole")
    own = tmp_path / ".mine.txt"
    own.write_text("of somebody else")
    io.claim(tmp_path)
    assert not left.exists() and {*tmp_path.iterdir()} == {own, tmp_path / "best", tmp_path / "new"}
    with refused(OSError, "cannot be written (Not a directory)"):
        io.claim(own / "run")


def test_a_folder_is_itself_and_a_name_of_the_hub_is_asked_for(tmp_path, monkeypatch):
    import huggingface_hub

    def download(name, allow_patterns):
        if name != "owner/name":
            raise OSError("404 Client Error\nof much text")
        assert all(pattern.endswith((".json", ".safetensors")) for pattern in allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert io.local("runs/none") == io.Path("runs/none") and io.local(tmp_path) == tmp_path
    assert io.local("hub:owner/name") == tmp_path
    with refused(NotAModel, "the Hugging Face Hub gave no hub:nobody/none", "404 Client Error"):
        FaceVAE.from_pretrained("hub:nobody/none")


def test_saved_and_loaded_are_equal_and_float16_halves_the_file(tmp_path):
    model = FaceVAE(ModelConfig((3, 32, 32), latents=32, channels=(16, 32)))
    model(torch.rand(4, 3, 32, 32))  # moves the running statistics
    model.eval().save_pretrained(tmp_path / "full")
    model.save_pretrained(tmp_path / "half", torch.float16)
    full, half = (FaceVAE.from_pretrained(tmp_path / kind) for kind in ("full", "half"))
    assert full.config == model.config and not full.training
    assert all(torch.equal(v, full.state_dict()[k]) for k, v in model.state_dict().items())
    images = torch.rand(2, 3, 32, 32)
    decoded = [m.decode(m.encode(images).mean) for m in (model, full, half)]
    assert torch.equal(*decoded[:2]) and (decoded[2] - decoded[0]).abs().max() < 0.01
    sizes = [(tmp_path / k / "model.safetensors").stat().st_size for k in ("full", "half")]
    assert sizes[1] < 0.6 * sizes[0]


def written(content):
    return lambda path: path.write_bytes(content)


def rewritten(change):
    """A change of a model's tensors."""
    return lambda path: save_file(change(load_file(path)), path)


def settings(**changes):
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | changes))


gone, nothing = Path.unlink, "holds no statistics of training faces"
GUIDE = "python -m facevae classifier"
CASES = {  # a file, what is done to it, what is said
    "no weights": ("model.safetensors", gone, "model.safetensors"),
    "a pickle": ("model.safetensors", written(HARM), ""),
    "a header of a terabyte": (
        "model.safetensors",
        lambda path: path.write_bytes(struct.pack("<Q", 1 << 40) + path.read_bytes()[8:]), ""),
    "other shapes": (
        "model.safetensors", rewritten(lambda w: {k: v[None] for k, v in w.items()}), "model.saf"),
    "a weight missing": (
        "model.safetensors", rewritten(lambda w: dict([*w.items()][:-1])), "model.safetensors"),
    "no settings": ("config.json", gone, "config.json"),
    "settings that are a list": ("config.json", written(b"[1]"), ""),
    "another format": ("config.json", settings(format=99), "its config.json is not of format 2"),
    "an unknown setting": ("config.json", settings(magic=1), "magic"),
    "words for numbers": ("config.json", settings(latents="many"), "latents"),
    "no picture": ("config.json", settings(image_shape=[]), "image_shape"),
    "no edit decoder": ("edits.json", gone, "edits.json"),
    "no tensors": ("studio.safetensors", gone, "studio.safetensors"),
    "cut tensors": ("studio.safetensors", lambda path: os.truncate(path, 99), nothing),
    "no labels": ("studio.json", gone, "studio.json"),
    "a list for statistics": ("studio.json", written(b"[]"), nothing),
    "a later format": ("studio.json", settings(format=9), "is not of format 1"),
    "a label more": ("studio.json", settings(labels=[*LABELS, "a"]), "do not fit its labels"),
    "no names": ("classifier.json", gone, GUIDE),
    "a format of later": ("classifier.json", settings(format=99), GUIDE),
    "a list for names": ("classifier.json", written(b"[1, 2]"), GUIDE),
    "no file of tensors": ("classifier.safetensors", written(b"a"), GUIDE),
}  # fmt: skip
READERS = dict.fromkeys(("config", "model", "edits"), FaceVAE.from_pretrained)
READERS |= {"studio": LatentStatistics.load, "classifier": AttributeClassifier.load}


@pytest.mark.parametrize(("file", "harm", "words"), CASES.values(), ids=CASES)
def test_foreign_and_broken_folders(file, harm, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_studio("studio").save(tmp_path)
    read = READERS[file.partition(".")[0]]
    read(tmp_path)
    harm(tmp_path / file)
    with refused(NotAModel, "holds no", words):
        read(tmp_path)
    assert not (tmp_path / "harm").exists()
