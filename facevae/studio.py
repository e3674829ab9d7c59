"""Studio: what the app, the notebooks and the command line do to a photo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from facevae import latent
from facevae.align import Alignment, PhotoLike, align, open_photo
from facevae.files import local
from facevae.model import FaceVAE, NotAModel
from facevae.pictures import to_pil, to_tensor

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "studio"


@dataclass(frozen=True, eq=False)
class Face:
    """A face as the studio holds it: the photo, where in it the face is, and its latent.

    Attributes:
        photo: upright RGB, without metadata.
        alignment: photo ↔ crop.
        crop: the aligned crop at the model's size.
        mean: (1, D), the posterior mean.
        decoded: (1, 3, S, S), the decoder's picture of that mean.
        found: how many faces the photo shows.
    """

    photo: Image.Image
    alignment: Alignment
    crop: Image.Image
    mean: Tensor
    decoded: Tensor
    found: int

    def crop_at(self, size: int) -> Image.Image:
        """The crop from the photo's own pixels, size × size."""
        return self.crop if size == self.crop.width else self.alignment.crop(self.photo, size)

    def residual(self, size: int) -> Tensor:
        """What the decoder's picture lacks of the photo, (1, 3, size, size) in −1 … 1."""
        return to_tensor([self.crop_at(size)]) - _resized(self.decoded, size)


class Studio:
    """A trained FaceVAE, a prior fitted to its latents, and what one does with them.

    `detail` runs from 0, the decoder's own picture, to 1, the photo plus what the edit changed
    in the decoder's picture: nothing of the photo that the model cannot draw is lost.
    """

    def __init__(self, model: FaceVAE, prior: latent.Prior) -> None:
        self.model, self.prior = model.eval(), prior
        channels, self.size, width = model.config.image_shape
        if channels != 3 or self.size != width or model.config.conditions:
            raise NotAModel(
                f"the studio needs a square colour model without conditions, not "
                f"{model.config.image_shape} given {model.config.conditions}: choose another folder"
            )

    @classmethod
    def load(cls, folder: str | Path = FOLDER) -> Studio:
        """Load `model.safetensors`, `config.json` and `prior.safetensors` from a folder, or from
        the Hugging Face Hub as `hub:owner/name`.

        Raises:
            NotAModel: a file is missing or foreign, and which.
        """
        model = FaceVAE.from_pretrained(folder)
        try:
            prior = latent.load_prior(local(folder) / "prior.safetensors")
        except ValueError as error:
            raise NotAModel(f"{error}: make one with `python -m facevae export`") from error
        return cls(model, prior)

    def save(self, folder: str | Path) -> None:
        """Write what `load` reads, the model as float16."""
        self.model.save_pretrained(folder, torch.float16)
        self.prior.save(Path(folder) / "prior.safetensors")

    @torch.inference_mode()
    def read(
        self,
        photo: PhotoLike,
        which: int = 0,
        eyes: tuple[tuple[float, float], tuple[float, float]] | None = None,
    ) -> Face:
        """Find and encode a face in anything Pillow reads.

        Args:
            which: 0 for the largest face, 1 for the next …
            eyes: its two eyes as (x, y) in photo pixels: the way in without the detector.

        Raises:
            UnreadablePhoto, NoFaceFound: and what to do about it.
        """
        photo = open_photo(photo)
        alignment, found = align(photo, which, eyes)
        crop = alignment.crop(photo, self.size)
        mean = self.model.encode(to_tensor([crop])).mean  # (1, D)
        return Face(photo, alignment, crop, mean, self.model.decode(mean), found)

    def reconstruct(self, face: Face, paste: bool = False) -> Image.Image:
        """The decoder's picture of a face; with `paste`, the whole photo with it put back."""
        picture = to_pil(face.decoded)[0]
        if paste:
            return face.alignment.paste(face.photo, picture, picture, detail=0.0)
        return picture

    def morph(
        self,
        a: Face,
        b: Face,
        t: float,
        detail: float = 1.0,
        path: str = "linear",
        size: int | None = None,
        paste: bool = False,
    ) -> Image.Image:
        """The face at t on the way from a (0) to b (1).

        Args:
            path: "linear" or "spherical".
            size: side of the picture in pixels, the model's own by default; the photos' detail
                is taken at that size.
            paste: give a's whole photo with the face put back into it.

        Raises:
            ValueError: t or detail is outside 0 … 1, or the path is unknown.
        """
        if not paste:
            return self._strip(a, b, [t], detail, path, size)[0]
        decoded = self._decoded(a, b, [t], detail, path)[0]  # (3, S, S)
        carried = detail * t * (b.residual(self.size) - a.residual(self.size))[0]
        edited = 255.0 * (decoded + carried).permute(1, 2, 0).numpy()  # (S, S, 3)
        before = 255.0 * a.decoded[0].permute(1, 2, 0).numpy()
        return a.alignment.paste(a.photo, edited, before, detail)

    def morph_strip(
        self,
        a: Face,
        b: Face,
        steps: int = 9,
        detail: float = 1.0,
        path: str = "linear",
        size: int | None = None,
    ) -> list[Image.Image]:
        """`steps` pictures from a to b, both ends included; see `morph`."""
        if steps < 2:
            raise ValueError(f"a strip needs at least 2 steps, not {steps}")
        return self._strip(a, b, torch.linspace(0, 1, steps).tolist(), detail, path, size)

    @torch.inference_mode()
    def sample(self, n: int, seed: int = 0, temperature: float = 0.8) -> list[Image.Image]:
        """n faces of nobody, drawn from the prior fitted to the training faces' latents."""
        if n < 1:
            raise ValueError(f"ask for at least one sample, not {n}")
        generator = torch.Generator().manual_seed(seed)
        return to_pil(self.model.decode(self.prior.sample(n, generator, temperature)))

    def _strip(
        self, a: Face, b: Face, ts: list[float], detail: float, path: str, size: int | None
    ) -> list[Image.Image]:
        size = size or self.size
        frames = _resized(self._decoded(a, b, ts, detail, path), size)  # (T, 3, size, size)
        t = torch.tensor(ts, dtype=torch.float32)[:, None, None, None]
        if detail > 0:
            frames = frames + detail * torch.lerp(a.residual(size), b.residual(size), t)
        return to_pil(frames)

    @torch.inference_mode()
    def _decoded(self, a: Face, b: Face, ts: list[float], detail: float, path: str) -> Tensor:
        """The decoder's pictures along the path, (T, 3, S, S)."""
        if not all(0 <= value <= 1 for value in (*ts, detail)):
            raise ValueError("t and detail run from 0 to 1")
        if path not in latent.PATHS:
            raise ValueError(f"the path {path!r} is unknown: use one of {[*latent.PATHS]}")
        t = torch.tensor(ts, dtype=torch.float32)
        return self.model.decode(latent.PATHS[path](a.mean, b.mean, t))


def _resized(images: Tensor, size: int) -> Tensor:
    """(N, 3, S, S) → (N, 3, size, size)."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bicubic", antialias=True)
