"""The Explore tab: faces of nobody, from a gallery or a map, and what each latent does to them.

A spot says which face: {"seed", "temperature", "index"} in the gallery, perhaps with "age" (years)
and "gender" (0 male, 1 female), or {"x", "y", "latents"} on a map; "moved" are latents moved from
there. It is all that page and server exchange, so nothing is kept for a visitor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated

import gradio as gr
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from facevae import Studio
from facevae.imaging import images
from facevae.ui.session import Page, Request, Seed, Session, Tab, jpeg

GALLERY_FACES = 12
CACHED_GALLERIES = 64  # codes of a seed and settings each, of no visitor
PLANE_CODES = 2000  # draws of the prior that the map's axes are fitted to
MAP_REACH = 2.5  # standard deviations from the middle of a map to its edge
MAP_TILES, MAP_TILE_HEIGHT = 7, 64  # faces along a side of a map's background, and pixels of each
OFFERED_LATENTS = 24  # of a map's axes, the strongest ones
TRAVERSED, STEPS, STEP_HEIGHT = 8, 7, 56  # latents, faces of each, and pixels of a face
TRAVERSAL_REACH = 3.0  # standard deviations either way

Latent = Annotated[int, Field(ge=0)]
Place = Annotated[float, Field(ge=-1, le=1)]
Move = Annotated[float, Field(ge=-TRAVERSAL_REACH, le=TRAVERSAL_REACH)]
Drawn = tuple[Tensor, Tensor, Tensor]  # codes (N, D), conditions that they suit, and own (N, K)


class Spot(Request):
    seed: Seed | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.8
    index: Annotated[int, Field(ge=0, lt=GALLERY_FACES)] = 0
    age: float | None = None
    gender: Annotated[int, Field(ge=0, le=1)] | None = None
    x: Place = 0.0
    y: Place = 0.0
    latents: Annotated[list[Latent], Field(min_length=2, max_length=2)] | None = None
    moved: dict[Latent, Move] = {}


class LatentPlanes:
    """The main plane of codes (N, D), such as draws of a prior, and those of any two latents.

    Attributes:
        mean: (D,), the middle of every map. std: (D,), of each latent.
        main: (2, D), the two leading principal axes, one standard deviation long.
    """

    def __init__(self, codes: Tensor) -> None:
        self.mean, self.std = codes.mean(0), codes.std(0)
        _, lengths, axes = torch.linalg.svd(codes - self.mean, full_matrices=False)
        main = (lengths[:, None] / (len(codes) - 1) ** 0.5 * axes)[:2]
        self.main = pad(main, (0, 0, 0, 2 - len(main)))  # for a model of one latent

    def codes(self, points: Tensor, latents: Sequence[int] | None = None) -> Tensor:
        """Codes (N, D) of points (N, 2) of a map, each coordinate from −1 to 1.

        Args:
            latents: the two that are moved; the main axes by default.
        """
        axes = self.main if latents is None else torch.diag(self.std)[[*latents]]  # (2, D)
        return self.mean + MAP_REACH * points @ axes

    def strongest(self, decode: Callable[[Tensor], Tensor], batch: int = 32) -> list[int]:
        """All latents, first those that change the decoder's picture of the mean code the most
        from two standard deviations on one side to two on the other."""
        changes = [
            (decode(self.mean + steps) - decode(self.mean - steps)).square().flatten(1).mean(dim=1)
            for steps in torch.diag(2 * self.std).split(batch)
        ]
        return torch.cat(changes).argsort(descending=True).tolist()


@torch.inference_mode()
def fit_planes(studio: Studio) -> tuple[LatentPlanes, list[int]]:
    """The planes of a model's prior, and its latents, the strongest first."""
    planes = LatentPlanes(studio.draw_codes(PLANE_CODES, 0, 1.0)[0])
    suited = studio.editor.probe(planes.mean[None], binary=True)
    return planes, planes.strongest(
        lambda codes: studio.model.decode(codes, suited.expand(len(codes), -1))
    )


class Explorer(Tab):
    """Spots in, pictures out."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.editor = self.studio.editor
        self._drawn = lru_cache(CACHED_GALLERIES)(self.studio.draw_codes)
        self._planes = session.slow.submit(fit_planes, self.studio)

    def _dozen(self, spot: Spot) -> Drawn:
        how = (spot.seed or 0, spot.temperature, spot.age, spot.gender)
        codes, conditions = self._drawn(GALLERY_FACES, *how)
        return codes, self.editor.probe(codes, binary=True), conditions

    def _state(self, spot: Spot) -> Drawn:
        """The code of a spot (1, D), the condition that it suits and its own (1, K)."""
        planes, _ = self._planes.result()
        if spot.seed is not None:
            one = slice(spot.index, spot.index + 1)
            code, suited, condition = (part[one].clone() for part in self._dozen(spot))
        else:
            code = planes.codes(torch.tensor([[spot.x, spot.y]]), spot.latents)
            suited = condition = self.editor.probe(code, binary=True)
        for latent, value in spot.moved.items():
            code[0, latent] = planes.mean[latent] + value * planes.std[latent]
        return code, suited, condition

    def _pictures(self, codes: Tensor, *conditions: Tensor) -> list[Image.Image]:
        """Of codes (N, D) and, a face each or one for all, what they suit and are edited to."""
        suited, edited = (one.expand(len(codes), -1) for one in conditions)
        return images.to_pil(self.studio.draw(codes, suited, edited)[0])

    def _sheet(self, faces: list[Image.Image], height: int, columns: int) -> str:
        size = self.session.size(height)[::-1]
        return jpeg(images.tile([face.resize(size) for face in faces], columns))

    def picture(self, spot: Spot) -> Image.Image:
        return self._pictures(*self._state(spot))[0]

    def face(self, spot: Spot) -> str:
        return jpeg(self.picture(spot))

    def gallery(self, spot: Spot) -> list[str]:
        """The spot's dozen."""
        return [jpeg(face) for face in self._pictures(*self._dozen(spot))]

    def background(self, spot: Spot) -> str:
        """Faces all over a map, as one picture."""
        steps = (torch.arange(MAP_TILES) + 0.5) / MAP_TILES * 2 - 1  # the middles of the tiles
        points = torch.cartesian_prod(steps, steps).flip(1)  # (MAP_TILES², 2), row by row
        codes = self._planes.result()[0].codes(points, spot.latents)
        suited = self.editor.probe(codes, binary=True)
        return self._sheet(self._pictures(codes, suited, suited), MAP_TILE_HEIGHT, MAP_TILES)

    def strongest(self, _: None) -> list[int]:
        """Latents by how much they change the picture, for the map's axes."""
        return self._planes.result()[1][:OFFERED_LATENTS]

    def traverse(self, spot: Spot) -> list[dict]:
        """For each of the strongest latents: where the face has it, and a strip of it moved."""
        planes, order = self._planes.result()
        code, *conditions = self._state(spot)
        steps = torch.linspace(-TRAVERSAL_REACH, TRAVERSAL_REACH, STEPS)
        rows = []
        for latent in order[:TRAVERSED]:
            codes = code.repeat(STEPS, 1)  # (STEPS, D)
            codes[:, latent] = planes.mean[latent] + steps * planes.std[latent]
            value = (code[0, latent] - planes.mean[latent]) / planes.std[latent]
            strip = self._sheet(self._pictures(codes, *conditions), STEP_HEIGHT, STEPS)
            rows.append({"latent": latent, "value": round(value.item(), 3), "strip": strip})
        return rows


def build(page: Page) -> None:
    studio, explorer = page.session.studio, Explorer(page.session)
    page.session.draw_spot = lambda spot: explorer.picture(Spot.model_validate(spot))

    def go(event: gr.EventData) -> gr.Tabs:
        return gr.Tabs(selected=event.tab if event.tab in ("morph", "edit", "age") else "morph")

    element = page.element(
        "explore",
        live=[explorer.face],
        slow=[explorer.gallery, explorer.background, explorer.strongest, explorer.traverse],
        places=page.places,
        ages=studio.can_age,
        genders="Male" in studio.attributes,
    )
    element.go(go, None, page.tabs, api_visibility="private", show_progress="hidden", queue=False)
