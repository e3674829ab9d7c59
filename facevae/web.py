"""The studio as one static page: its networks as ONNX, the page's files, and the hash of each."""

import base64
import gzip
import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import tarfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from facevae import Studio
from facevae.imaging.alignment import ALIGNED_BY, FRAMINGS
from facevae.io import write_text
from facevae.models import conditions
from facevae.models.classifier import AttributeClassifier
from facevae.models.vae import HOLD_BIAS
from facevae.ui import age, edit, explore, morph
from facevae.ui.session import ASSETS, SCRIPTS, OfFace, Page, Session, markup

PACKAGES = {  # of npm, all MIT: which of their files the page takes
    "onnxruntime-web@1.30.0": (
        "dist/ort.wasm.min.mjs", "dist/ort-wasm-simd-threaded.mjs",
        "dist/ort-wasm-simd-threaded.wasm", "dist/ort.webgpu.min.mjs",
        "dist/ort-wasm-simd-threaded.asyncify.mjs", "dist/ort-wasm-simd-threaded.asyncify.wasm",
    ),
    "gifenc@1.0.3": ("dist/gifenc.esm.js", "LICENSE.md"),
    "mp4-muxer@5.2.2": ("build/mp4-muxer.mjs", "LICENSE"),
}  # fmt: skip
DETECTOR = {"pnet": 40, "rnet": 24, "onet": 48}  # MTCNN's networks, and the side of their pictures
MAX_SIDE = 1600  # pixels of a photo
MIN_HALVED = 512  # weights of a tensor that is stored as float16: not of variances
SPACE = "---\ntitle: facevae\nemoji: 🎭\nsdk: static\npinned: false\n---\n"


def export(model: str | Path, out: str | Path, runtime: str | Path | None = None) -> int:
    """Write a page that any web server serves as it is; return the bytes of its folder.

    Args:
        out: a new folder, or an earlier export, which is replaced.
        runtime: folder of the npm packages as .tgz files; those that it lacks are fetched by
            `npm pack`. By default `web-runtime` beside `out`.

    Raises ValueError: the model, a package or a folder does not suit, and what to do about it."""
    out, studio = Path(out), Studio.load(model)
    config, classifier = studio.model.config, studio.classifier
    colour = config.image_shape == (3, studio.size, studio.size)
    if not (config.conditions and studio.whole_photos and colour) or config.condition_encoder:
        raise ValueError(f"{model} cannot be a page: give a model of square colour faces whose "
                         "decoder alone takes conditions, such as assets/studio")  # fmt: skip
    if studio.editor.directions["mean"]:
        raise ValueError(f"{model} cannot be a page, which moves conditions alone: give a model "
                         "that has all of its labels as conditions")  # fmt: skip
    if classifier and classifier.framing != studio.framing:
        raise ValueError(f"{model} cannot be a page: its classifier reads faces in the framing "
                         f"{classifier.framing!r}, train one in {studio.framing!r}")  # fmt: skip
    if not importlib.util.find_spec("onnx"):
        raise ValueError("a page needs one package more: pip install onnx")
    if out.exists() and any(out.iterdir()) and not (out / "runtime").is_dir():
        raise ValueError(f"{out} holds other files: name a new folder")
    shutil.rmtree(out, ignore_errors=True)
    for name in ("runtime", "networks", "portraits", "page"):
        (out / name).mkdir(parents=True)
    _vendor(Path(runtime or out.parent / "web-runtime"), out / "runtime")
    _write_networks(studio, out / "networks")
    _write_about(studio, out)
    _write_page(out)
    return sum(path.stat().st_size for path in out.rglob("*") if path.is_file())


def check(folder: str | Path, studio: Studio) -> None:
    """Refuse a folder that is no whole export of this model by this version of the package."""
    folder = Path(folder)
    advice = f"write it by python -m facevae export MODEL --web {folder}"
    try:
        about = json.loads((folder / "studio.json").read_text(encoding="utf-8"))
        listed = (folder / "files.js").read_text(encoding="utf-8").partition("= ")[2]
        files = {name: digest for name, (_, digest) in json.loads(listed.rstrip("\n;")).items()}
    except (OSError, ValueError):
        raise ValueError(f"{folder} is no page: {advice}") from None
    if about.get("model") != _digest(studio):
        raise ValueError(f"{folder} is the page of another model: {advice}")
    current = {f"page/{script.name}": _hash(script) for script in _scripts()}
    found = {name: _hash(folder / name) for name in files if (folder / name).is_file()}
    if not current.items() <= files.items() or found != files:
        raise ValueError(f"{folder} is of another version, or was changed: {advice}")


def _saved(tensors: dict[str, Tensor]) -> bytes:
    return save({name: tensor.contiguous() for name, tensor in tensors.items()})


def _digest(studio: Studio) -> str:
    """The same for the same weights."""
    return hashlib.sha256(_saved(studio.model.state_dict())).hexdigest()


def _write_packed(path: Path, content: bytes) -> None:
    """A file packed by gzip, which few servers would do themselves."""
    path.with_name(f"{path.name}.packed").write_bytes(gzip.compress(content, 9, mtime=0))


def _vendor(packages: Path, out: Path) -> None:
    packages.mkdir(parents=True, exist_ok=True)
    for package, names in PACKAGES.items():
        archive = packages / f"{package.replace('@', '-')}.tgz"
        if not archive.is_file():
            if not shutil.which("npm"):
                raise ValueError(f"{archive} is missing: install npm, or name a folder that has it")
            command = ["npm", "pack", package, "--silent", "--pack-destination", str(packages)]
            if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
                raise ValueError(f"npm could not fetch {package}: see what it says above")
        with tarfile.open(archive) as opened:
            for name in names:
                content = opened.extractfile(f"package/{name}").read()  # type: ignore[union-attr]
                name = Path(name).name
                path = out / (f"{package}-{name}" if name.startswith("LICENSE") else name)
                if path.suffix == ".wasm":
                    _write_packed(path, content)
                else:
                    path.write_bytes(content)


class _Network(nn.Module):
    """A function of a model's modules, as ONNX takes it."""

    def __init__(self, model: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def _write_networks(studio: Studio, out: Path) -> None:
    from facenet_pytorch import MTCNN

    model, size, detector = studio.model, studio.size, MTCNN(device="cpu")
    bias = torch.tensor([0.0, 0.0, 0.0, HOLD_BIAS])[:, None, None]

    def encode(x: Tensor) -> Tensor:
        """Images (N, 3, H, W) → posterior means (N, D)."""
        return model.encode(x).mean

    def decode(z: Tensor, y: Tensor) -> Tensor:
        """Codes (N, D), conditions (N, K) with the age as weights → pictures (N, 3, H, W)."""
        return model.decoder(z, y).sigmoid()

    def edits(z: Tensor, y: Tensor) -> Tensor:
        """The same → the edit decoder's pictures, and its `hold` as a fourth channel."""
        return (model.edit_decoder(z, y) + bias).sigmoid()

    faces, z = {"x": torch.rand(2, 3, size, size)}, torch.zeros(2, model.config.latents)
    codes = {"z": z, "y": torch.rand(2, model.config.condition_numbers)}
    _write_onnx(_Network(model, encode), faces, out / "encoder.onnx")
    _write_onnx(_Network(model, decode), codes, out / "decoder.onnx")
    if model.config.hold:
        _write_onnx(_Network(model, edits), codes, out / "edit_decoder.onnx")
    if classifier := studio.classifier:
        network = _Network(classifier, _prediction(classifier, size))
        _write_onnx(network, faces, out / "classifier.onnx")
    for name, side in DETECTOR.items():
        picture = {"x": torch.rand(2, 3, side, side)}
        _write_onnx(getattr(detector, name), picture, out / f"{name}.onnx", half=False)


def _prediction(classifier: AttributeClassifier, size: int) -> Callable[[Tensor], Tensor]:
    """Images (N, 3, H, W) → what `AttributeClassifier.predict` gives, (N, A [+ 1])."""
    small, eye = (classifier.config.size, size), torch.eye(size)[None, None]
    # shrinking as a matrix, which every runtime can multiply by
    shrink = F.interpolate(eye, small, mode="bilinear", antialias=True)[0, 0]
    return lambda images: classifier.table(shrink @ images @ shrink.T)


def _write_onnx(
    network: nn.Module, inputs: dict[str, Tensor], path: Path, half: bool = True
) -> None:
    """A network for batches of any number. With `half` its weights are stored as float16 and read
    as float32: not the detector's, which would then place eyes a pixel off."""
    import onnx

    axes = {name: {0: "n", 2: "h", 3: "w"} if path.stem == "pnet" else {0: "n"} for name in inputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's newer exporter takes minutes
        torch.onnx.export(network.eval(), tuple(inputs.values()), path, dynamo=False,
                          input_names=[*inputs], dynamic_axes=axes)  # fmt: skip
    model = onnx.load(path)
    path.unlink()
    for tensor in model.graph.initializer:
        weights = onnx.numpy_helper.to_array(tensor)
        if half and weights.dtype == np.float32 and weights.size >= MIN_HALVED:
            name, stored = tensor.name, f"{tensor.name}.half"
            tensor.CopyFrom(onnx.numpy_helper.from_array(weights.astype(np.float16), stored))
            cast = onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT)
            model.graph.node.insert(0, cast)
    _write_packed(path, model.SerializeToString())


@dataclass
class _Recorder(Page):  # keeps what a tab tells its element
    props: dict[str, dict[str, Any]] = field(default_factory=dict)

    def element(self, name: str, live: Any = (), slow: Any = (), **props: Any) -> gr.HTML:
        self.props[name] = props
        return super().element(name, **props)


@torch.inference_mode()
def _write_about(studio: Studio, out: Path) -> None:
    """What the page knows of the model, and the portraits."""
    session, editor, statistics = Session(studio, MAX_SIDE), studio.editor, studio.statistics
    with gr.Blocks(), gr.Tabs() as tabs:
        recorder = _Recorder(session, tabs)
        for tab in (morph, edit, age, explore):
            with gr.Tab():
                tab.build(recorder)
    planes, strongest = explore.fit_planes(studio)
    tensors = {f"prior_{name}": tensor for name, tensor in vars(statistics.prior).items()}
    tensors |= {"mean": statistics.prior.mean, "plane_mean": planes.mean,
                "plane_std": planes.std, "plane_main": planes.main, "probe": statistics.probe,
                "mean_condition": statistics.mean_condition, "ages": statistics.ages,
                "age_codes": statistics.age_codes}  # fmt: skip
    _write_packed(out / "networks" / "studio.safetensors", _saved(tensors))
    faces = []  # to begin with, and what reading them would find
    for begun in session.starting.result():
        key, path = begun["key"], session.portraits.get(begun["name"])
        (a, _, x), (b, _, y) = session.own[key].alignment.matrix.tolist()  # type: ignore[union-attr]
        known = begun | session.drawable(OfFace(face=key)) | {"alignment": [a, b, x, y]}
        if path:
            shutil.copy(path, out / "portraits")
            known["file"] = f"portraits/{path.name}"
        del known["crop"]  # the page makes it of the file
        faces.append(known)
    config, classifier = studio.model.config, studio.classifier
    reads = [*classifier.attributes, *["age"] * classifier.config.age] if classifier else []
    template = FRAMINGS[studio.framing][: ALIGNED_BY[studio.framing]]  # type: ignore[index]
    about = {
        "model": _digest(studio), "source": statistics.source, "faces": faces,
        "size": studio.size, "latents": config.latents, "hold": config.hold,
        "conditions": config.conditions, "columns": editor.columns, "anchors": config.age_anchors,
        "removes": conditions.REMOVES, "brings": conditions.BRINGS, "takes": conditions.TAKES,
        "adult": conditions.ADULT, "grown": [conditions.CHILD, conditions.GROWN],
        "span": studio.age_span, "strongest": strongest[: explore.OFFERED_LATENTS],
        "reads": reads, "template": template.tolist(),
        "face": FRAMINGS["face"].tolist(), "props": recorder.props,  # type: ignore[union-attr]
        "shared": {"portraits": session.thumbnails, "whole": True, "side": MAX_SIDE},
    }  # fmt: skip
    write_text(out / "studio.json", json.dumps(about))


def _write_page(out: Path) -> None:
    """Scripts and style, the list of all files with their hashes, and index.html."""
    for script in _scripts():
        shutil.copy(script, out / "page")
    styles = [ASSETS / "app.css", *sorted((ASSETS / "app").glob("*.css")), ASSETS / "web/web.css"]
    rules = [style.read_text(encoding="utf-8") for style in styles if style.name != "learn.css"]
    write_text(out / "page" / "page.css", "\n".join([":root { --fv-aspect: 1; }", *rules]))
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    listed = {name: [path.stat().st_size, _hash(path)] for name, path in sorted(files.items())}
    write_text(out / "files.js", f"const FILES = {json.dumps(listed, indent=1)};\n")
    tags = "\n".join(f'<script defer src="page/{name}.js"></script>' for name in SCRIPTS[:-1])
    text = (ASSETS / "web" / "index.html").read_text(encoding="utf-8")
    text = text.replace("<!-- scripts -->", tags)
    text = re.sub(r"<!-- element (\S+) -->", lambda found: markup(found[1]), text)
    for name in [*files, "files.js"]:
        text = text.replace(f'"{name}"', f'"{name}" integrity="{_hash(out / name)}"')
    write_text(out / "index.html", text)
    shutil.copy(ASSETS / "web" / "sw.js", out)
    write_text(out / "README.md", SPACE)


def _scripts() -> list[Path]:
    own = [path for path in (ASSETS / "web").glob("*.js") if path.name != "sw.js"]
    return own + [ASSETS / "app" / f"{name}.js" for name in SCRIPTS[:-1]]  # without Learn


def _hash(path: Path) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(path.read_bytes()).digest()).decode()
