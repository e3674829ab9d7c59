"""Files are whole or not there, on a full disk too; foreign models are refused in one sentence."""

import json
import os
import pickle
import resource
import struct
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import load_file, save_file

from facevae import io
from facevae.config import ModelConfig
from facevae.io import NotAModel
from facevae.models.vae import FaceVAE
from tests.helpers import one_sentence

SMALL = ModelConfig(image_shape=(3, 16, 16), latents=4, channels=(4, 8))


@contextmanager
def full_disk(size):
    """Writes beyond `size` bytes of a file fail, as on a disk without room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("write", "content"), [
    (io.write_safetensors, {"a": torch.zeros(10_000)}), (io.write_text, "a" * 50_000),
])  # fmt: skip
def test_a_full_disk_is_told_and_the_old_file_stays(write, content, tmp_path):
    path = tmp_path / "a.file"
    path.write_bytes(b"old")
    with full_disk(9_000), pytest.raises(OSError) as caught:
        write(path, content)
    one_sentence(caught, f"{path} cannot be written (")
    assert "make room there" in str(caught.value)
    assert path.read_bytes() == b"old" and [*tmp_path.iterdir()] == [path]
    write(path, content)
    assert path.stat().st_size > 9_000


def test_an_error_of_the_writer_itself_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), io.replacing(tmp_path / "new" / "a.txt") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert not list((tmp_path / "new").iterdir())


def test_a_claimed_folder_takes_files_and_loses_what_a_killed_writer_left(tmp_path):
    with io.replacing(tmp_path / "best" / "model.safetensors") as unfinished:
        unfinished.write_bytes(b"half")
        left = unfinished.rename(unfinished.with_name(f"{unfinished.stem}0.safetensors"))
        unfinished.write_bytes(b"whole")
    own = tmp_path / ".mine.txt"
    own.write_text("of somebody else")
    io.claim(tmp_path)
    assert not left.exists() and {*tmp_path.iterdir()} == {own, tmp_path / "best"}
    with pytest.raises(OSError) as caught:
        io.claim(own / "run")
    one_sentence(caught, "cannot be written (Not a directory)")


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
    with pytest.raises(NotAModel, match="the Hugging Face Hub gave no hub:nobody/none") as caught:
        FaceVAE.from_pretrained("hub:nobody/none")
    one_sentence(caught, "404 Client Error")


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


class Evil:
    """A pickle that makes a file called `harm` when it is loaded."""

    def __reduce__(self):
        return os.system, ("touch harm",)


def rewritten(change):
    """A change of a model's tensors."""
    return lambda path: save_file(change(load_file(path)), path)


def settings(**changes):
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | changes))


CONFIG, WEIGHTS = "config.json", "model.safetensors"
MODELS = {  # what is done to a file of a model → what is said
    "no weights": (WEIGHTS, lambda p: p.unlink(), WEIGHTS),
    "a pickle": (WEIGHTS, lambda p: p.write_bytes(pickle.dumps(Evil())), ""),
    "a header of a terabyte": (
        WEIGHTS, lambda p: p.write_bytes(struct.pack("<Q", 1 << 40) + p.read_bytes()[8:]), ""),
    "other shapes": (WEIGHTS, rewritten(lambda w: {k: v[None] for k, v in w.items()}), WEIGHTS),
    "a weight missing": (WEIGHTS, rewritten(lambda w: dict([*w.items()][:-1])), WEIGHTS),
    "no settings": (CONFIG, lambda p: p.unlink(), CONFIG),
    "settings that are a list": (CONFIG, lambda p: p.write_text("[1]"), ""),
    "another format": (CONFIG, settings(format=99), "its config.json is not of format 2"),
    "an unknown setting": (CONFIG, settings(magic=1), "magic"),
    "words for numbers": (CONFIG, settings(latents="many"), "latents"),
    "no picture": (CONFIG, settings(image_shape=[]), "image_shape"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "harm", "words"), MODELS.values(), ids=MODELS)
def test_foreign_and_broken_models(name, harm, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    FaceVAE(SMALL).save_pretrained(tmp_path)
    harm(tmp_path / name)
    with pytest.raises(NotAModel, match="holds no facevae model") as caught:
        FaceVAE.from_pretrained(tmp_path)
    one_sentence(caught, words)
    assert not (tmp_path / "harm").exists()
