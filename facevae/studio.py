"""Studio: what the app, the notebooks and the command line do to a photo."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from facevae import latent
from facevae.align import Eyes, located
from facevae.dye import spread
from facevae.face import Face
from facevae.files import local
from facevae.guide import Guide
from facevae.model import FaceVAE
from facevae.morphing import blended, on_path, shares
from facevae.pace import paced
from facevae.photo import PhotoLike, open_scaled
from facevae.pictures import to_pil, to_tensor
from facevae.refine import refine as refined
from facevae.retouch import aged_picture, composed, greyed, greys, redrawn
from facevae.stored import NotAModel
from facevae.ways import DYES

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "studio"
PASTE_SIDE = 512  # a morph put back into a photo is made at the photo's own size up to this


class Studio:
    """A trained FaceVAE, a prior fitted to its latents, and what one does with them.

    `detail` runs from 0, the decoder's own picture, to 1, the photo plus what the edit changed
    in the decoder's picture: nothing of the photo that the model cannot draw is lost.
    """

    def __init__(self, model: FaceVAE, prior: latent.Prior, guide: Guide | None = None) -> None:
        # channels last: a decoder on a CPU is a third faster so
        self.model = model.eval().to(memory_format=torch.channels_last)
        self.prior, self._guide = prior, guide
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
            NotAModel: a file is missing or foreign, and which; or is of another model.
        """
        model = FaceVAE.from_pretrained(folder)
        try:
            prior = latent.load_prior(local(folder) / "prior.safetensors")
        except ValueError as error:
            raise NotAModel(str(error)) from error
        if prior.latents != model.config.latents:
            raise NotAModel(
                f"the prior in {folder} is of a model of {prior.latents} latents, not of "
                f"{model.config.latents}: make one with `python -m facevae export`"
            )
        guide = Guide.load_if_there(local(folder))
        if guide is not None and guide.model != model.fingerprint():
            raise NotAModel(
                f"the guide in {folder} is of another model: make one with "
                f"`python -m facevae guide {folder}`"
            )
        return cls(model, prior, guide)

    @property
    def guide(self) -> Guide:
        """What edits and ageing go by; ValueError if this studio has none."""
        if self._guide is None:
            raise ValueError("this studio has no guide: make one with `python -m facevae guide`")
        return self._guide

    @property
    def attributes(self) -> tuple[str, ...]:
        """The names that `edit` takes."""
        return tuple(self.guide.ways)

    def save(self, folder: str | Path) -> None:
        """Write what `load` reads, the model as float16."""
        self.model.save_pretrained(folder, torch.float16)
        self.prior.save(Path(folder) / "prior.safetensors")
        if self._guide is not None:
            self._guide.save(folder)

    @torch.inference_mode()
    def read(
        self,
        photo: PhotoLike,
        which: int = 0,
        eyes: Eyes | None = None,
        refine: int = 0,
    ) -> Face:
        """Find and encode a face in anything Pillow reads.

        Args:
            which: 0 for the largest face, 1 for the next …
            eyes: its two eyes as (x, y) in pixels of the upright photo: the way in without the
                detector.
            refine: steps by which the encoder's answer is bettered; see `facevae.refine`.

        Raises:
            UnreadablePhoto, NoFaceFound: and what to do about it.
        """
        photo, shrunk = open_scaled(photo)
        if eyes is not None:
            eyes = np.asarray(eyes, float) * shrunk
        alignment, found, marks = located(photo, which, eyes)
        points = None if marks is None else torch.from_numpy(marks).float()
        crop = alignment.crop(photo, self.size)
        image = to_tensor([crop])
        mean = self.model.encode(image).mean  # (1, D)
        if refine:
            mean = refined(self.model, image, mean, self.prior, refine)
        years, gender = self._guide.read(image) if self._guide else (None, None)
        decoded = self.model.decode(mean)
        return Face(photo, alignment, crop, mean, decoded, found, points, years, gender)

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
        side = self._pasted(a, size) if paste else self._side(size)
        [frame] = on_path(self.model, a, b, [t], detail, path, side)
        return _put_back(a, frame, detail * (1 - t)) if paste else frame

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
        ts = torch.linspace(0, 1, steps).tolist()
        return on_path(self.model, a, b, ts, detail, path, self._side(size))

    def blend(
        self,
        faces: Sequence[Face],
        weights: Sequence[float],
        detail: float = 1.0,
        size: int | None = None,
        paste: bool = False,
    ) -> Image.Image:
        """Several faces as one: codes, and with `detail` the photos' own detail, in proportion.

        Args:
            weights: one a face, none below 0; only their ratios count.
            size: side of the picture in pixels, the model's own by default.
            paste: give the first face's whole photo with the face put back into it.

        Raises:
            ValueError: the weights do not fit, or detail is outside 0 … 1.
        """
        parts = shares(faces, weights)
        side = self._pasted(faces[0], size) if paste else self._side(size)
        frame = blended(self.model, faces, parts, detail, side)
        return _put_back(faces[0], frame, detail * parts[0]) if paste else frame

    @torch.inference_mode()
    def edit(
        self,
        face: Face,
        wanted: Mapping[str, float],
        detail: float = 1.0,
        locked: Iterable[str] = (),
        size: int | None = None,
        paste: bool = False,
    ) -> Image.Image:
        """The face with attributes at the wanted strengths: 1 has it, −1 has it not, as soon as the
        guide's reader sees that in this face's picture (`facevae.pace`).

        Args:
            locked: attributes whose own strength must not move, unless they are wanted.
            size: side of the picture in pixels, the model's own by default.
            paste: give the whole photo, as `open_photo` read it, with the face put back into it;
                where the crop's hair is dyed, the rest of it in the photo is, too.

        Raises:
            ValueError: an attribute is unknown or cannot move, or a number is outside its range.
        """
        steps = self.steps(face, wanted, locked)
        codes = face.mean + torch.cat([face.mean[:0], *steps.values()]).cumsum(0)  # (K, D)
        regions = [self.guide.way(name).region(wanted[name], face.hair) for name in steps]
        change, holds = composed(torch.cat([face.decoded, self.model.decode(codes)]), regions)
        grey = min(max(wanted.get("Gray_Hair", 0.0), 0.0), 1.0)
        dyed = not DYES.isdisjoint(steps)
        strands = face.hair if dyed and wanted.get("Bald", 0.0) <= 0 else None

        def picture(side: int) -> Tensor:
            crop = to_tensor([face.crop_at(side)])
            drawn = redrawn(face.decoded, change, holds, crop, detail, strands)
            return greyed(drawn, face.hair, grey) if grey else drawn

        return self._shown(face, picture, detail, size, paste, dyed)

    def steps(
        self, face: Face, wanted: Mapping[str, float], locked: Iterable[str] = ()
    ) -> dict[str, Tensor]:
        """What each wanted attribute adds to the face's code, (1, D), as far as this face needs it:
        `Guide.steps` of `pace.paced`."""
        return self.guide.steps(face.mean, paced(self.model, self.guide, face, wanted), locked)

    @torch.inference_mode()
    def age(
        self,
        face: Face,
        years: float,
        detail: float = 1.0,
        size: int | None = None,
        paste: bool = False,
    ) -> Image.Image:
        """The face at another age: shape by the mean way of ageing, lines by its own texture.

        It starts from `face.years` and `face.gender`; ages beyond those learnt are clipped to
        them. See `edit` for the rest.
        """
        _finite(years, face.years)
        seen = self.guide.read(to_tensor([face.crop]))
        own = seen[0] if face.years is None else face.years
        gender = seen[1] if face.gender is None else face.gender
        low, high = self.guide.curves.span
        years = min(max(years, low), high)

        def picture(side: int) -> Tensor:
            crop = to_tensor([face.crop_at(side)])
            return aged_picture(
                self.model, self.guide.curves, self.guide.texture, crop, face.mean,
                face.decoded, face.hair, own, years, gender, detail,
            )  # fmt: skip

        return self._shown(face, picture, detail, size, paste, greys(own, years) > 0)

    def _shown(
        self,
        face: Face,
        picture: Callable[[int], Tensor],
        detail: float,
        size: int | None,
        paste: bool,
        dyed: bool,
    ) -> Image.Image:
        """`picture(side)`, (1, 3, side, side), alone or put back into the photo; if its hair is
        dyed, the photo's other hair with it."""
        if not 0 <= detail <= 1:
            raise ValueError("detail runs from 0 to 1")
        if not paste:
            return to_pil(picture(self._side(size)))[0]
        side = self._pasted(face, size)
        crop, edited = face.crop_at(side), picture(side)
        levels = 255.0 * edited[0].permute(1, 2, 0).numpy()  # (side, side, 3)
        pasted = face.alignment.paste(face.photo, levels, crop, detail)
        return spread(face, pasted, to_tensor([crop]), edited) if dyed else pasted

    @torch.inference_mode()
    def sample(
        self,
        n: int,
        seed: int = 0,
        temperature: float = 0.9,
        age: float | None = None,
        gender: int | None = None,
    ) -> list[Image.Image]:
        """n faces of nobody, drawn from the prior fitted to the training faces' latents.

        Args:
            age: in years, and gender: 0 male or 1 female: moved there if given.

        Raises:
            ValueError: n is below 1, a number is none, or the gender neither.
        """
        if n < 1:
            raise ValueError(f"ask for at least one sample, not {n}")
        _finite(temperature, age)
        if gender not in (None, 0, 1):
            raise ValueError(f"the gender is 0 (male) or 1 (female), not {gender}")
        generator = torch.Generator().manual_seed(seed)
        codes = self.prior.sample(n, generator, temperature)
        if age is not None or gender is not None:
            codes = self.guide.settled(self.model, codes, age, gender)
        return to_pil(self.model.decode(codes))

    def _side(self, size: int | None) -> int:
        if size is not None and size < 1:
            raise ValueError(f"a picture needs a side of at least 1 pixel, not {size}")
        return self.size if size is None else size

    def _pasted(self, face: Face, size: int | None) -> int:
        """The side at which a picture is made that goes back into the photo."""
        own = min(max(self.size, round(face.alignment.side)), PASTE_SIDE)
        return own if size is None else self._side(size)


def _put_back(face: Face, frame: Image.Image, kept: float) -> Image.Image:
    """The face's whole photo with a morph of it put back. `kept` is the part that is left of what
    the photo shows beyond the frame's size: no other photo has such detail to meet it."""
    return face.alignment.paste(face.photo, frame, face.crop_at(frame.width), kept)


def _finite(*numbers: float | None) -> None:
    """ValueError if one of them is given and is no number."""
    for number in numbers:
        if number is not None and not math.isfinite(number):
            raise ValueError(f"give a finite number, not {number}")
