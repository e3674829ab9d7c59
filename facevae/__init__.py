"""facevae: learn face VAEs by building them, then play with one on your own photo."""

from facevae.align import NoFaceFound
from facevae.data import FaceSet, NotPrepared, load_faces
from facevae.face import Face
from facevae.gaussian import Gaussian
from facevae.model import FaceVAE, ModelConfig
from facevae.photo import UnreadablePhoto
from facevae.prepare import prepare
from facevae.recipes import RECIPES, Recipe
from facevae.stored import NotAModel
from facevae.studio import Studio
from facevae.train import read_history, train

__version__ = "0.1.0"

__all__ = [
    "RECIPES",
    "Face",
    "FaceSet",
    "FaceVAE",
    "Gaussian",
    "ModelConfig",
    "NoFaceFound",
    "NotAModel",
    "NotPrepared",
    "Recipe",
    "Studio",
    "UnreadablePhoto",
    "load_faces",
    "prepare",
    "read_history",
    "train",
]
