"""facevae: learn face VAEs by building them, then play with one on your own photo.

The public names are imported when they are first used: `import facevae` alone takes no time.
"""
# ruff: noqa: F401

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facevae.config import RECIPES, ModelConfig, Recipe
    from facevae.data.face_set import FaceSet, NotPrepared, load_faces
    from facevae.data.prepare import prepare
    from facevae.imaging.alignment import NoFaceFound
    from facevae.imaging.compositing import Face
    from facevae.imaging.photo import UnreadablePhoto
    from facevae.io import NotAModel
    from facevae.models.gaussian import Gaussian
    from facevae.models.vae import FaceVAE
    from facevae.studio import Studio
    from facevae.training.runs import read_history, train

__version__ = "0.2.0"
MODULES = {  # name → where it is defined
    "RECIPES": "config", "ModelConfig": "config", "Recipe": "config",
    "FaceSet": "data.face_set", "NotPrepared": "data.face_set", "load_faces": "data.face_set",
    "prepare": "data.prepare", "NoFaceFound": "imaging.alignment", "Face": "imaging.compositing",
    "UnreadablePhoto": "imaging.photo", "NotAModel": "io", "Gaussian": "models.gaussian",
    "FaceVAE": "models.vae", "Studio": "studio", "read_history": "training.runs",
    "train": "training.runs",
}  # fmt: skip
__all__ = sorted(["CannotDo", *MODULES])


class CannotDo(ValueError):
    """What was asked of a studio cannot be done: why, in one sentence that a visitor may see."""


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module 'facevae' has no attribute {name!r}")
    return getattr(import_module(f"facevae.{MODULES[name]}"), name)
