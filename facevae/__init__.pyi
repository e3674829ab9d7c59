from .config import RECIPES as RECIPES
from .config import ModelConfig as ModelConfig
from .config import Recipe as Recipe
from .data.face_set import FaceSet as FaceSet
from .data.face_set import NotPrepared as NotPrepared
from .data.face_set import load_faces as load_faces
from .data.prepare import prepare as prepare
from .imaging.alignment import NoFaceFound as NoFaceFound
from .imaging.compositing import Face as Face
from .imaging.photo import UnreadablePhoto as UnreadablePhoto
from .io import NotAModel as NotAModel
from .models.gaussian import Gaussian as Gaussian
from .models.vae import FaceVAE as FaceVAE
from .studio import Studio as Studio
from .training.runs import read_history as read_history
from .training.runs import train as train

__version__: str

class CannotDo(ValueError): ...
