"""The Explore tab: faces of nobody, from a gallery or a map, and what each latent does to them.

A spot says which face: {"seed", "temperature", "index"} in the gallery, perhaps with "age" (years)
and "gender" (0 male, 1 female), or {"x", "y", "latents"} on a map; "moved" are latents moved from
there. It is all that page and server exchange, so nothing is kept for a visitor.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

import gradio as gr
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from facevae.imaging import images
from facevae.latents.editor import State
from facevae.ui.components import Page
from facevae.ui.latent_planes import LatentPlanes
from facevae.ui.session import Request, Session, jpeg

GALLERY_FACES = 12
CACHED_GALLERIES = 64  # codes of a seed and settings each, of no visitor
PLANE_CODES = 2000  # draws of the prior that the map's axes are fitted to
MAP_TILES, MAP_TILE_HEIGHT = 7, 64  # faces along a side of a map's background, and pixels of each
OFFERED_LATENTS = 24  # of a map's axes, the strongest ones
TRAVERSED, STEPS, STEP_HEIGHT = 8, 7, 56  # latents, faces of each, and pixels of a face
TRAVERSAL_REACH = 3.0  # standard deviations either way

Latent = Annotated[int, Field(ge=0)]
Gender = Annotated[int, Field(ge=0, le=1)]


class Spot(Request):
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.8
    index: Annotated[int, Field(ge=0, lt=GALLERY_FACES)] = 0
    age: float | None = None
    gender: Gender | None = None
    x: Annotated[float, Field(ge=-1, le=1)] = 0.0
    y: Annotated[float, Field(ge=-1, le=1)] = 0.0
    latents: Annotated[list[Latent], Field(min_length=2, max_length=2)] | None = None
    moved: dict[Latent, Annotated[float, Field(ge=-TRAVERSAL_REACH, le=TRAVERSAL_REACH)]] = {}


class Explorer:
    """The tab's server functions: spots in, pictures out."""

    def __init__(self, session: Session) -> None:
        self.session, self.studio = session, session.studio
        self.prior, self.editor = self.studio.statistics.prior, self.studio.editor
        self._drawn = lru_cache(CACHED_GALLERIES)(self._draw)
        self._planes = session.slow.submit(self._fit_planes)

    @torch.inference_mode()
    def _fit_planes(self) -> tuple[LatentPlanes, list[int]]:
        planes = LatentPlanes(self.prior.sample(PLANE_CODES, torch.Generator().manual_seed(0), 1.0))
        condition = self._condition(planes.mean[None])
        return planes, planes.strongest(lambda codes: self._decode(codes, condition))

    def _condition(self, codes: Tensor) -> Tensor | None:
        """What faces of these codes have or have not, as `Studio.sample` decides it."""
        condition = self.editor.probe(codes)
        if condition is None:
            return None
        binary = torch.tensor([name != "age" for name in self.editor.conditions])
        return torch.where(binary, condition.round(), condition)

    @torch.inference_mode()
    def _draw(self, seed: int, temperature: float, age: float | None, gender: int | None) -> State:
        generator = torch.Generator().manual_seed(seed)
        codes = self.prior.sample(GALLERY_FACES, generator, temperature)
        wanted = {} if gender is None else {"Male": 1.0 - 2.0 * gender}
        state = self.editor.moved((codes, self._condition(codes)), wanted)
        return state if age is None else self.editor.aged(state, None, age)

    def _dozen(self, spot: Spot) -> State:
        return self._drawn(spot.seed or 0, spot.temperature, spot.age, spot.gender)

    @torch.inference_mode()
    def _state(self, spot: Spot) -> State:
        """The code and the condition of a spot, (1, D) and (1, K)."""
        planes, _ = self._planes.result()
        if spot.seed is not None:
            codes, conditions = self._dozen(spot)
            one = slice(spot.index, spot.index + 1)
            code, condition = codes[one].clone(), None if conditions is None else conditions[one]
        else:
            code = planes.codes(torch.tensor([[spot.x, spot.y]]), spot.latents)
            condition = self._condition(code)
        for latent, value in spot.moved.items():
            code[0, latent] = planes.mean[latent] + value * planes.std[latent]
        return code, condition

    def _decode(self, codes: Tensor, condition: Tensor | None) -> Tensor:
        given = None if condition is None else condition.expand(len(codes), -1)
        return self.studio.model.decode(codes, given)

    @torch.inference_mode()
    def _pictures(self, codes: Tensor, condition: Tensor | None) -> list[Image.Image]:
        return images.to_pil(self._decode(codes, condition))

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
        faces = self._pictures(codes, self._condition(codes))
        return self._sheet(faces, MAP_TILE_HEIGHT, MAP_TILES)

    def strongest(self, _: None) -> list[int]:
        """Latents by how much they change the picture, for the map's axes."""
        return self._planes.result()[1][:OFFERED_LATENTS]

    def traverse(self, spot: Spot) -> list[dict]:
        """For each of the strongest latents: where the face has it, and a strip of it moved."""
        planes, order = self._planes.result()
        code, condition = self._state(spot)
        steps = torch.linspace(-TRAVERSAL_REACH, TRAVERSAL_REACH, STEPS)
        rows = []
        for latent in order[:TRAVERSED]:
            codes = code.repeat(STEPS, 1)  # (STEPS, D)
            codes[:, latent] = planes.mean[latent] + steps * planes.std[latent]
            value = (code[0, latent] - planes.mean[latent]) / planes.std[latent]
            strip = self._sheet(self._pictures(codes, condition), STEP_HEIGHT, STEPS)
            rows.append({"latent": latent, "value": round(value.item(), 3), "strip": strip})
        return rows

    def _sheet(self, faces: list[Image.Image], height: int, columns: int) -> str:
        size = self.session.size(height)[::-1]
        return jpeg(images.tile([face.resize(size) for face in faces], columns))


def build(page: Page) -> None:
    session = page.session
    explorer = Explorer(session)
    session.draw_spot = lambda spot: explorer.picture(Spot.model_validate(spot))

    def go(event: gr.EventData) -> gr.Tabs:
        return gr.Tabs(selected=event.tab if event.tab in ("morph", "edit", "age") else "morph")

    element = page.element(
        "explore",
        live=[explorer.face],
        slow=[explorer.gallery, explorer.background, explorer.strongest, explorer.traverse],
        places=page.places,
        ages=session.studio.can_age,
        genders="Male" in session.studio.attributes,
    )
    element.go(go, None, page.tabs, api_visibility="private", show_progress="hidden", queue=False)
