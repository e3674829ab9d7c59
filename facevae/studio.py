"""Studio: everything that the app, the notebooks and the command line do with a photo."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor

from facevae import CannotDo
from facevae.imaging.alignment import Alignment, Points, locate
from facevae.imaging.compositing import Face, Parts, Shape, composite, crop_of, paste_back
from facevae.imaging.images import to_pil, to_tensor
from facevae.imaging.photo import PhotoLike, open_photo
from facevae.io import NotAModel, local
from facevae.latents.diagnostics import LatentStatistics
from facevae.latents.directions import Editor, State
from facevae.latents.paths import PATHS
from facevae.models.classifier import AttributeClassifier
from facevae.models.vae import FaceVAE, soften

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "studio"
MAX_PASTE_SIDE = 512  # pixels; a morph for a whole photo is made at the face's size up to this


class Studio:
    """A trained FaceVAE with the statistics of its latents: reads, edits and morphs photos.

    In all methods `detail` runs from 0, the decoder's own picture, to 1, the photo's own detail
    kept; `size` is the height of a result in pixels, the model's own by default; `paste=True`
    gives the whole photo at its own resolution. CannotDo says what a model cannot do.

    Attributes:
        attributes: the names that `edit` takes: the model's conditions, then its directions.
        can_age, age_span: whether it draws ages, and which, in years.
        framing: of the faces that it reads. size: height of the model's picture.
        whole_photos: whether there is `paste`: not where the model reads whole pictures."""

    def __init__(
        self, model: FaceVAE, statistics: LatentStatistics,
        classifier: AttributeClassifier | None = None,
    ) -> None:  # fmt: skip
        config = model.config
        sizes = (statistics.prior.means.shape[1], len(statistics.mean_condition))
        if sizes != (config.latents, len(config.conditions)):
            raise NotAModel("the statistics beside the model are of another: train it again")
        # channels last: a decoder is a third faster so on a CPU
        self.model = model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.statistics, self.classifier = statistics, classifier
        self.editor = Editor(config, statistics)
        self.attributes = self.editor.attributes
        self.can_age, self.age_span = bool(self.editor.age_methods), self.editor.age_span
        self.framing, self.whole_photos = statistics.framing, statistics.framing != "none"
        self.size = config.image_shape[1]

    @classmethod
    def load(cls, folder: str | Path = FOLDER) -> Self:
        """Load any folder that `train` wrote, or `hub:owner/name`; NotAModel says why it fails."""
        folder = local(folder)
        model, statistics = FaceVAE.from_pretrained(folder), LatentStatistics.load(folder)
        classified = (folder / "classifier.json").is_file()
        return cls(model, statistics, AttributeClassifier.load(folder) if classified else None)

    def save(self, folder: str | Path) -> None:
        """Write what `load` reads, weights as float16."""
        self.model.save_pretrained(folder, torch.float16)
        self.statistics.save(folder)
        if self.classifier is not None:
            self.classifier.save(folder)

    def read(self, photo: PhotoLike, eyes: Points | None = None) -> Face:
        """Find and encode the largest face in anything Pillow reads.

        `eyes`, two points (x, y) in pixels of the upright photo, say where it is without the
        detector. Raises UnreadablePhoto or NoFaceFound: why, and what to do about it."""
        picture, shape = open_photo(photo), self._shape(None)
        found: dict[str, Any] = {"alignment": None}
        if self.whole_photos:
            place = locate(picture, self.framing, eyes)
            unit = torch.from_numpy(place.alignment.to_unit(place.points)).float()
            found = {"alignment": place.alignment, "faces_found": place.faces_found,
                     "points": unit if len(unit) == 5 else None,
                     "warning": place.warning(picture)}  # fmt: skip
        mode = "L" if self.model.config.image_shape[0] == 1 else "RGB"
        crop = crop_of(picture, found["alignment"], shape, mode)
        predicted = {}
        if self.classifier is not None and self.whole_photos:
            framed = Alignment.from_points(place.points, self.classifier.framing)
            read = self.classifier.predict(to_tensor([framed.crop(picture, max(shape))]))
            predicted = {name: value.item() for name, value in read.items()}
        found |= self._encode(to_tensor([crop]), predicted)
        readings = self.editor.readings(found["condition"]) | predicted
        years = readings.pop("age", None)
        if years is None and self.can_age:
            years = self.editor.years((found["mean"], found["condition"])).item()
        return Face(photo=picture, crop=crop, years=years, readings=readings, **found)

    def correct(self, face: Face, years: float) -> Face:
        """The face with another age than was predicted."""
        readings = {**face.readings, "age": years}
        return replace(face, years=years, **self._encode(face.image, readings))

    def reconstruct(self, face: Face, size: int | None = None) -> Image.Image:
        """The decoder's picture of a face."""
        return self._edited(face, (face.mean, face.condition), 0.0, size, False)

    def edit(
        self, face: Face, wanted: Mapping[str, float], detail: float = 1.0, method: str = "mean",
        locked: Sequence[str] = (), size: int | None = None, paste: bool = False,
    ) -> Image.Image:  # fmt: skip
        """The face with attributes at the wanted strengths; with none, the photo to the bit.

        A strength of 1 has the attribute, −1 has it not, 0 is as it was, linear between. Where the
        model has a condition of that name it is set, else a direction is added to the code.

        Args:
            method: of directions, "mean" or "balanced" within strata of gender and age.
            locked: attributes that must not move along, unless they are wanted."""
        state = self.editor.moved((face.mean, face.condition), wanted, method, locked, face.years)
        return self._edited(face, state, detail, size, paste)

    def age(
        self, face: Face, years: float, detail: float = 1.0, method: str | None = None,
        size: int | None = None, paste: bool = False,
    ) -> Image.Image:  # fmt: skip
        """The face at another age; ages outside `age_span` are clipped to it.

        Args:
            method: "condition" sets the model's condition; "vector" adds the difference between the
                mean codes at `years` and at `face.years`. By default the first that it has."""
        state = self.editor.aged((face.mean, face.condition), face.years, years, method)
        return self._edited(face, state, detail, size, paste)

    def morph(
        self, a: Face, b: Face, t: float, detail: float = 1.0, path: str = "linear",
        size: int | None = None, paste: bool = False,
    ) -> Image.Image:  # fmt: skip
        """The face at t on the way from a (0) to b (1); with `paste`, in a's whole photo.

        Args:
            path: "linear" or "spherical". A condition is interpolated linearly."""
        return self._morphed(a, b, [t], detail, path, size, paste)[0]

    def morph_strip(
        self, a: Face, b: Face, steps: int = 9, detail: float = 1.0, path: str = "linear",
        size: int | None = None,
    ) -> list[Image.Image]:  # fmt: skip
        """`steps` pictures from a to b, both ends included; see `morph`."""
        if steps < 2:
            raise CannotDo(f"a strip needs at least 2 steps, not {steps}")
        return self._morphed(a, b, torch.linspace(0, 1, steps).tolist(), detail, path, size)

    def blend(
        self, faces: Sequence[Face], weights: Sequence[float], detail: float = 1.0,
        size: int | None = None, paste: bool = False,
    ) -> Image.Image:  # fmt: skip
        """Several faces as one, codes and detail in the proportion of the weights, none of which
        is below 0; with `paste`, in the first face's whole photo."""
        total = sum(weights)
        if len(weights) != len(faces) or not 0 < total < math.inf or min(weights) < 0:
            raise CannotDo(f"give a weight for each of the {len(faces)} faces, none below 0")
        parts = [(face, weight / total) for face, weight in zip(faces, weights, strict=True)]
        code = torch.stack([share * face.mean for face, share in parts]).sum(0)
        condition = torch.stack([share * face.condition for face, share in parts]).sum(0)
        return self._shown(parts, self.model.decode(code, condition), detail, size, paste)

    def draw_codes(
        self, n: int, seed: int = 0, temperature: float = 0.9, age: float | None = None,
        gender: int | None = None, attributes: Mapping[str, float] | None = None,
    ) -> State:  # fmt: skip
        """Codes (n, D) from the prior fitted to the training faces' codes, and the conditions
        (n, K) that they suit; see `sample`."""
        if n < 1 or not math.isfinite(temperature):
            raise CannotDo("ask for at least one sample, at a finite temperature")
        wanted = dict(attributes or {}) | ({} if gender is None else {"Male": 1.0 - 2.0 * gender})
        generator = torch.Generator().manual_seed(seed)
        codes = self.statistics.prior.sample(n, generator, temperature)
        state = self.editor.moved((codes, self.editor.probe(codes, binary=True)), wanted)
        return state if age is None else self.editor.aged(state, None, age)

    def sample(
        self, n: int, seed: int = 0, temperature: float = 0.9, age: float | None = None,
        gender: int | None = None, attributes: Mapping[str, float] | None = None,
    ) -> list[Image.Image]:  # fmt: skip
        """n faces of nobody.

        Args:
            age: in years. gender: 0 male, 1 female. attributes: strengths, as `edit` takes them."""
        codes, conditions = self.draw_codes(n, seed, temperature, age, gender, attributes)
        return to_pil(self.draw(codes, self.editor.probe(codes, binary=True), conditions)[0])

    def average(self, name: str, has: bool) -> Image.Image:
        """The average person with an attribute, or without it."""
        code, condition = self.editor.average(name, has)
        return to_pil(self.draw(code, self.statistics.mean_condition[None], condition)[0])[0]

    def draw(
        self, code: Tensor, condition: Tensor, edited: Tensor, lacking: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Pictures (N, C, h, w) of codes (N, D) that suit the conditions (N, K), edited to others,
        and the share of a photo's detail that stays, (N, 1, h, w) or None: all.

        Args:
            lacking: what the edit decoder's pictures lack of the decoder's, where that is known.
        """
        if not self.model.config.hold or torch.equal(condition, edited):
            return self.model.decode(code, edited), None
        after, hold = self.model.decode_edit(code, edited)
        hold = soften(hold, self.model.distance(condition, edited))
        if lacking is None:
            lacking = self._lacking(code, condition, self.model.decode(code, condition))
        return after + hold * lacking, hold

    def _lacking(self, code: Tensor, condition: Tensor, decoded: Tensor) -> Tensor:
        own = self.model.decode_edit(code, condition)[0] if self.model.config.hold else decoded
        return decoded - own

    def _encode(self, image: Tensor, readings: Mapping[str, float]) -> dict[str, Any]:
        """The fields of a Face that a model makes of its image; the condition is by readings, or
        else by the probe."""
        condition = self.editor.condition(readings)
        if self.model.config.conditions and not readings:
            condition = self.editor.probe(self.model.encode(image, condition).mean)
        mean = self.model.encode(image, condition).mean
        decoded = self.model.decode(mean, condition)
        lacking = self._lacking(mean, condition, decoded)
        return {"image": image, "mean": mean, "condition": condition, "decoded": decoded,
                "lacking": lacking}  # fmt: skip

    def _edited(
        self, face: Face, state: State, detail: float, size: int | None, paste: bool
    ) -> Image.Image:
        """A face at another code or condition; its decoder's picture only where one changed."""
        (code, condition), after, hold = state, face.decoded, None
        same = torch.equal(code, face.mean)
        if not (same and torch.equal(condition, face.condition)):
            known = face.lacking if same else None
            after, hold = self.draw(code, face.condition, condition, known)
        return self._shown([(face, 1.0)], after, detail, size, paste, hold)

    def _morphed(
        self, a: Face, b: Face, ts: Sequence[float], detail: float, path: str,
        size: int | None, paste: bool = False,
    ) -> list[Image.Image]:  # fmt: skip
        """The morph from a to b at each t."""
        if not all(0 <= t <= 1 for t in ts) or path not in PATHS:
            raise CannotDo(f"t runs from 0 to 1, and the path is one of {[*PATHS]}, not {path!r}")
        t = torch.tensor(ts, dtype=torch.float32)
        condition = PATHS["linear"](a.condition, b.condition, t)
        decoded = self.model.decode(PATHS[path](a.mean, b.mean, t), condition)  # (T, C, h, w)
        return [self._shown([(a, 1 - at), (b, at)], picture, detail, size, paste)
                for at, picture in zip(ts, decoded.split(1), strict=True)]  # fmt: skip

    def _shown(
        self, parts: Parts, after: Tensor, detail: float, size: int | None, paste: bool,
        hold: Tensor | None = None,
    ) -> Image.Image:  # fmt: skip
        """What is shown of one or several faces, alone or in the first one's photo."""
        if not 0 <= detail <= 1:
            raise CannotDo("detail runs from 0 to 1")
        face, share = parts[0]
        kept = detail * (torch.ones(1, 1, 1, 1) if hold is None else hold)
        picture = composite(parts, after, kept, self._shape(size, face if paste else None))
        # an edit fades out over this share of the crop; a morph brings another background along
        feather = 0.12 if len(parts) == 1 else 0.24
        return paste_back(face, picture, share * kept, feather) if paste else picture

    def _shape(self, size: int | None, pasted: Face | None = None) -> Shape:
        """Of a picture `size` pixels high, by default as the model's, or as the face to paste."""
        height, width = self.model.config.image_shape[1:]
        if size is None and pasted and pasted.alignment:
            size = min(max(height, round(pasted.alignment.side)), MAX_PASTE_SIDE)
        size = height if size is None else size
        if size < 1:
            raise CannotDo(f"a picture needs a side of at least 1 pixel, not {size}")
        return size, max(1, round(size * width / height))
