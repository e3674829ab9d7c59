"""The studio as one static page: its networks as ONNX, the page's files, and the hash of each."""

from __future__ import annotations

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from facevae import FaceVAE, Studio
from facevae.imaging.alignment import ALIGNED_BY, FRAMINGS
from facevae.io import write_text
from facevae.models import conditions
from facevae.models.classifier import AGES, AttributeClassifier
from facevae.models.vae import HOLD_BIAS
from facevae.ui import age, edit, explore, morph
from facevae.ui.session import ASSETS, Page, Session, markup

PACKAGES = {  # of npm, all MIT: which of their files the page takes
    "onnxruntime-web@1.30.0": (
        "dist/ort.wasm.min.mjs", "dist/ort-wasm-simd-threaded.mjs",
        "dist/ort-wasm-simd-threaded.wasm", "dist/ort.webgpu.min.mjs",
        "dist/ort-wasm-simd-threaded.asyncify.mjs", "dist/ort-wasm-simd-threaded.asyncify.wasm",
    ),
    "gifenc@1.0.3": ("dist/gifenc.esm.js", "LICENSE.md"),
    "mp4-muxer@5.2.2": ("build/mp4-muxer.mjs", "LICENSE"),
}  # fmt: skip
SCRIPTS = ("live", "link", "face-input", "strip-player", "morph-pad", "morph", "edit", "age",
           "explore")  # fmt: skip
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

    Raises:
        ValueError: the model, a package or a folder does not suit, and what to do about it.
    """
    out, studio = Path(out), Studio.load(model)
    config = studio.model.config
    colour = config.image_shape == (3, studio.size, studio.size)
    if not (config.conditions and studio.whole_photos and colour) or config.condition_encoder:
        raise ValueError(f"{model} cannot be a page: give a model of square colour faces whose "
                         "decoder alone takes conditions, such as assets/studio")  # fmt: skip
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
                path = out / Path(name).name
                if path.suffix == ".wasm":
                    _write_packed(path, content)
                else:
                    licence = path.name.startswith("LICENSE")
                    (out / f"{package}-{path.name}" if licence else path).write_bytes(content)


class _Encoder(nn.Module):
    """Images (N, 3, H, W) → posterior means (N, D)."""

    def __init__(self, model: FaceVAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.encode(x).mean


class _Decoder(nn.Module):
    """Codes (N, D), conditions (N, K) with the age as weights → pictures (N, 3 [+ 1], H, W)."""

    def __init__(self, model: FaceVAE) -> None:
        super().__init__()
        self.decoder = model.decoder
        bias = [0.0] * 3 + [HOLD_BIAS] * model.config.hold
        self.bias = torch.tensor(bias)[:, None, None]

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return (self.decoder(z, y) + self.bias).sigmoid()


class _Classifier(nn.Module):
    """Images (N, 3, H, W) → what `AttributeClassifier.predict` gives, (N, A [+ 1])."""

    def __init__(self, classifier: AttributeClassifier, size: int) -> None:
        super().__init__()
        self.classifier = classifier
        small = (classifier.config.size, size)
        # shrinking as a matrix, which every runtime can multiply by
        self.shrink = F.interpolate(torch.eye(size)[None, None], small, mode="bilinear",
                                    antialias=True)[0, 0]  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        small = self.shrink @ x @ self.shrink.T
        return (self._table(small) + self._table(small.flip(3))) / 2

    def _table(self, images: Tensor) -> Tensor:
        logits, spans = self.classifier(images)
        if spans is None:
            return logits.sigmoid()
        return torch.cat([logits.sigmoid(), spans.softmax(dim=1) @ AGES[:, None]], dim=1)


def _write_networks(studio: Studio, out: Path) -> None:
    from facenet_pytorch import MTCNN

    config, detector = studio.model.config, MTCNN(device="cpu")
    faces = {"x": torch.rand(2, *config.image_shape)}
    codes = {"z": torch.zeros(2, config.latents), "y": torch.rand(2, config.condition_numbers)}
    _write_onnx(_Encoder(studio.model), faces, out / "encoder.onnx")
    _write_onnx(_Decoder(studio.model), codes, out / "decoder.onnx")
    if studio.classifier is not None:
        _write_onnx(_Classifier(studio.classifier, studio.size), faces, out / "classifier.onnx")
    for name, side in DETECTOR.items():
        picture = {"x": torch.rand(2, 3, side, side)}
        _write_onnx(getattr(detector, name), picture, out / f"{name}.onnx", half=False)


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
class _Recorder(Page):
    """Keeps what a tab tells its element."""

    props: dict[str, dict[str, Any]] = field(default_factory=dict)

    def element(self, name: str, live: Any = (), slow: Any = (), **props: Any) -> gr.HTML:
        self.props[name] = props
        return super().element(name, **props)


@torch.inference_mode()
def _write_about(studio: Studio, out: Path) -> None:
    """What the page knows of the model, and the portraits."""
    session, editor, statistics = Session(studio, MAX_SIDE), studio.editor, studio.statistics
    session.starting.result()
    with gr.Blocks(), gr.Tabs() as tabs:
        recorder = _Recorder(session, tabs)
        for tab in (morph, edit, age, explore):
            with gr.Tab():
                tab.build(recorder)
    planes = explore.LatentPlanes(editor.sampled(explore.PLANE_CODES, 0, 1.0)[0])
    middle = editor.probe(planes.mean[None])
    assert middle is not None  # it has conditions
    strongest = planes.strongest(lambda z: studio.model.decode(z, middle.expand(len(z), -1)))
    tensors = {f"prior_{name}": tensor for name, tensor in vars(statistics.prior).items()}
    tensors |= {"mean": statistics.prior.moments()[0], "plane_mean": planes.mean,
                "plane_std": planes.std, "plane_main": planes.main, "probe": statistics.probe,
                "mean_condition": statistics.mean_condition, "ages": statistics.ages,
                "age_codes": statistics.age_codes}  # fmt: skip
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    _write_packed(out / "networks" / "studio.safetensors", save(whole))
    portraits = {}
    for name, path in session.portraits.items():
        shutil.copy(path, out / "portraits")
        located, points = session.own[name].alignment, session.own[name].points
        assert located is not None and points is not None  # it is a face
        (a, _, x), (b, _, y) = located.matrix.tolist()
        portraits[name] = {"file": f"portraits/{path.name}", "alignment": [a, b, x, y],
                           "points": points.tolist()}  # fmt: skip
    config, classifier = studio.model.config, studio.classifier
    framings = {name: points.tolist() for name, points in FRAMINGS.items() if points is not None}
    about = {
        "size": studio.size, "latents": config.latents, "hold": config.hold,
        "conditions": config.conditions, "columns": editor.columns, "anchors": config.age_anchors,
        "removes": conditions.REMOVES, "brings": conditions.BRINGS, "takes": conditions.TAKES,
        "span": studio.age_span, "strongest": strongest[: explore.OFFERED_LATENTS],
        "reads": [*classifier.attributes, "age"] if classifier else [],
        "template": framings[studio.framing][: ALIGNED_BY[studio.framing]],
        "face": framings["face"], "portraits": portraits, "source": statistics.source,
        "props": recorder.props,
        "shared": {"portraits": session.thumbnails, "whole": True, "side": MAX_SIDE},
    }  # fmt: skip
    write_text(out / "studio.json", json.dumps(about))


def _write_page(out: Path) -> None:
    """Scripts and style, the list of all files with their hashes, and index.html."""
    scripts = [path for path in (ASSETS / "web").glob("*.js") if path.name != "sw.js"]
    for script in [*scripts, *(ASSETS / "app" / f"{name}.js" for name in SCRIPTS)]:
        shutil.copy(script, out / "page")
    styles = [ASSETS / "app.css", *sorted((ASSETS / "app").glob("*.css")), ASSETS / "web/web.css"]
    rules = [style.read_text(encoding="utf-8") for style in styles if style.name != "learn.css"]
    write_text(out / "page" / "page.css", "\n".join([":root { --fv-aspect: 1; }", *rules]))
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    listed = {name: [path.stat().st_size, _hash(path)] for name, path in sorted(files.items())}
    write_text(out / "files.js", f"const FILES = {json.dumps(listed, indent=1)};\n")
    hashes = {name: _hash(path) for name, path in (files | {"files.js": out / "files.js"}).items()}

    def signed(found: re.Match) -> str:
        return f'{found[0]} integrity="{hashes[found[2]]}"' if found[2] in hashes else found[0]

    text = (ASSETS / "web" / "index.html").read_text(encoding="utf-8")
    text = re.sub(r"<!-- element (\S+) -->", lambda found: markup(found[1]), text)
    tags = "\n".join(f'<script defer src="page/{name}.js"></script>' for name in SCRIPTS)
    text = text.replace("<!-- scripts -->", tags)
    write_text(out / "index.html", re.sub(r'(src|href)="([^"]+)"', signed, text))
    shutil.copy(ASSETS / "web" / "sw.js", out)
    write_text(out / "README.md", SPACE)


def _hash(path: Path) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(path.read_bytes()).digest()).decode()
