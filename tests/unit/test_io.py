"""Files are whole or not there, on a full disk too; foreign models are refused in one sentence."""

import errno
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


def leftovers(folder):
    return [p for p in folder.rglob("*") if ".partial" in p.name and p.is_file()]


@pytest.mark.parametrize("name", ["model.safetensors", "a.txt"])
def test_a_full_disk_is_told_and_the_old_file_stays(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"old")
    write = {
        "model.safetensors": lambda: io.write_safetensors(path, {"a": torch.zeros(10_000)}),
        "a.txt": lambda: io.write_text(path, "a" * 50_000),
    }[name]
    with full_disk(9_000), pytest.raises(OSError) as caught:
        write()
    one_sentence(caught, f"{path} cannot be written (")
    assert "make room there" in str(caught.value)
    assert path.read_bytes() == b"old" and not leftovers(tmp_path)
    write()
    assert path.stat().st_size > 9_000


def test_a_disk_that_fails_at_the_flush_keeps_the_old_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "a.txt"
    io.write_text(path, "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"a\.txt cannot be written \(No space left on device\)"):
        io.write_text(path, "new")
    assert path.read_text() == "old" and not leftovers(tmp_path)


def test_an_error_of_the_writer_itself_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), io.replacing(tmp_path / "new" / "a.txt") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert not list((tmp_path / "new").iterdir())


def test_what_a_killed_writer_left_goes_when_the_folder_is_claimed(tmp_path):
    left = tmp_path / "best" / f".{'0a' * 16}.partial.safetensors"
    left.parent.mkdir()
    left.write_bytes(b"half")
    own = tmp_path / ".mine.partial.txt"
    own.write_text("of somebody else")
    io.claim(tmp_path)
    assert not left.exists() and own.exists() and not list(tmp_path.glob("*.partial"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError) as caught:
        io.claim(tmp_path / "file" / "run")
    one_sentence(caught, "cannot be written (Not a directory)")


def test_a_folder_is_itself_and_a_name_of_the_hub_is_asked_for(tmp_path, monkeypatch):
    import huggingface_hub

    asked = []

    def download(name, allow_patterns):
        asked.append(name)
        if name == "nobody/none":
            raise OSError("404 Client Error\nof much text")
        assert all(pattern.endswith((".json", ".safetensors")) for pattern in allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert io.local("runs/none") == io.Path("runs/none") and io.local(tmp_path) == tmp_path
    assert io.local("hub:owner/name") == io.local("owner/name") == tmp_path
    assert asked == ["owner/name"] * 2
    with pytest.raises(NotAModel, match="there is no folder nobody/none here, and") as e:
        FaceVAE.from_pretrained("nobody/none")
    one_sentence(e, "404 Client Error")


def test_saved_and_loaded_are_equal(tmp_path):
    model = FaceVAE(SMALL)
    model(torch.rand(4, 3, 16, 16))  # moves the running statistics
    model.save_pretrained(tmp_path)
    again, images = FaceVAE.from_pretrained(tmp_path), torch.rand(2, 3, 16, 16)
    assert again.config == model.config and not again.training
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())
    decoded = [m.eval().decode(m.encode(images).mean) for m in (model, again)]
    assert torch.equal(*decoded)


def test_float16_halves_the_file_and_keeps_the_picture_and_the_fingerprint(tmp_path):
    model = FaceVAE(ModelConfig((3, 32, 32), latents=32, channels=(16, 32))).eval()
    model.save_pretrained(tmp_path / "full")
    model.save_pretrained(tmp_path / "half", torch.float16)
    sizes = [(tmp_path / k / "model.safetensors").stat().st_size for k in ("full", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    half, z = FaceVAE.from_pretrained(tmp_path / "half"), torch.randn(2, 32)
    assert (half.decode(z) - model.decode(z)).abs().max() < 0.01
    assert io.fingerprint(half) == io.fingerprint(model)
    assert io.fingerprint(model.to(memory_format=torch.channels_last)) == io.fingerprint(half)
    next(half.parameters()).view(-1)[0] += 1
    assert io.fingerprint(half) != io.fingerprint(model)


class Evil:
    """A pickle that makes a file called `harm` when it is loaded."""

    def __reduce__(self):
        return os.system, ("touch harm",)


def changed(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def longer_header(path):
    path.write_bytes(struct.pack("<Q", 1 << 40) + path.read_bytes()[8:])


def reshaped(path):
    save_file({k: v[None] for k, v in load_file(path).items()}, path)


def shortened(path):
    weights = load_file(path)
    weights.popitem()
    save_file(weights, path)


MODELS = {  # what is done to a file of a model → what is said
    "no weights": ("model.safetensors", lambda p: p.unlink(), "model.safetensors"),
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
    "another format": ("config.json", lambda p: changed(p, format=99), "format 99, this reads 2"),
    "an unknown setting": ("config.json", lambda p: changed(p, magic=1), "magic"),
    "a thousand million latents": (
        "config.json", lambda p: changed(p, latents=10**9), "no facevae model"),
    "words for numbers": ("config.json", lambda p: changed(p, latents="many"), "latents"),
    "no picture": ("config.json", lambda p: changed(p, image_shape=[]), "image_shape"),
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
