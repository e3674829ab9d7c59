"""facevae: learn face VAEs by building them, then play with one on your own photo.

The public names are imported when they are first used: `import facevae` alone takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facevae.config import RECIPES as RECIPES
    from facevae.config import ModelConfig as ModelConfig
    from facevae.config import Recipe as Recipe
    from facevae.data.face_set import FaceSet as FaceSet
    from facevae.data.face_set import NotPrepared as NotPrepared
    from facevae.data.face_set import load_faces as load_faces
    from facevae.data.prepare import prepare as prepare
    from facevae.imaging.alignment import NoFaceFound as NoFaceFound
    from facevae.imaging.face import Face as Face
    from facevae.imaging.photo import UnreadablePhoto as UnreadablePhoto
    from facevae.io import NotAModel as NotAModel
    from facevae.models.gaussian import Gaussian as Gaussian
    from facevae.models.vae import FaceVAE as FaceVAE
    from facevae.studio import Studio as Studio
    from facevae.training.checkpoints import read_history as read_history
    from facevae.training.runs import train as train

__version__ = "0.2.0"

MODULES = {  # name → where it is defined
    "RECIPES": "config", "ModelConfig": "config", "Recipe": "config",
    "FaceSet": "data.face_set", "NotPrepared": "data.face_set", "load_faces": "data.face_set",
    "prepare": "data.prepare", "NoFaceFound": "imaging.alignment", "Face": "imaging.face",
    "UnreadablePhoto": "imaging.photo", "NotAModel": "io", "Gaussian": "models.gaussian",
    "FaceVAE": "models.vae", "Studio": "studio", "read_history": "training.checkpoints",
    "train": "training.runs",
}  # fmt: skip
__all__ = sorted(MODULES)


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module 'facevae' has no attribute {name!r}")
    value = getattr(import_module(f"facevae.{MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *MODULES]
