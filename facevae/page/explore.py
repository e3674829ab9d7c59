"""The Explore tab: faces of nobody, from a gallery or from a map under the mouse.

A spot says which face: {"seed", "temperature", "index"} in the gallery, perhaps with "age" (years)
and "gender" (0 male, 1 female); {"x", "y", "latents"} on a map; {"other"} among the others. It is
all that the page and the server exchange, so nothing is kept for a visitor.
"""

from __future__ import annotations

from functools import lru_cache

import gradio as gr
import torch
from PIL import Image
from torch import Tensor

from facevae import pictures
from facevae.page.desk import Desk, jpeg
from facevae.page.parts import EVERY, Page, live

MANY = 12  # faces of the gallery
KEPT = 64  # galleries whose codes are remembered: a seed and a temperature each, and no visitor
OTHERS, NEAREST = 1000, 4  # faces drawn once, among which the nearest to a spot are sought
TILES, TILE = 7, 64  # faces along a side of a map's background, and pixels of each
OFFERED = 24  # of the latents, the strongest ones


class Explorer:
    """Spots in, codes and pictures out."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.decode = desk.studio.model.decode
        self._drawn = lru_cache(KEPT)(self._draw)  # a gallery is asked for again with each click
        self._others = desk.background.submit(self._draw, OTHERS, 0, 0.8)

    def _draw(self, many: int, seed: int, temperature: float) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return self.desk.studio.prior.sample(many, generator, temperature)

    def drawn(self, seed: int, temperature: float) -> Tensor:
        """The gallery's codes, (MANY, D)."""
        return self._drawn(MANY, int(seed), min(2.0, max(0.0, float(temperature))))

    @property
    def others(self) -> Tensor:
        """Codes (OTHERS, D) among which the nearest to a spot are sought."""
        return self._others.result()

    def settled(self, codes: Tensor, wish: dict) -> Tensor:
        """Codes (N, D) brought to the wish's age and gender, if it names any."""
        age, gender = wish.get("age"), wish.get("gender")
        if age is None and gender is None:
            return codes
        age = None if age is None else float(age)
        gender = None if gender is None else int(bool(gender))
        return self.desk.studio.guide.settled(self.desk.studio.model, codes, age, gender)

    def code(self, spot: dict) -> Tensor:
        """The code of a spot, (1, D)."""
        if "seed" in spot:
            codes = self.drawn(spot["seed"], spot["temperature"])
            return self.settled(codes[int(spot["index"]), None], spot)
        if "other" in spot:
            return self.others[int(spot["other"]), None]
        point = torch.tensor([[float(spot["x"]), float(spot["y"])]]).clamp(-1, 1)
        return self.desk.planes.result().codes(point, spot.get("latents"))

    @torch.inference_mode()
    def picture(self, spot: dict) -> Image.Image:
        return pictures.to_pil(self.decode(self.code(spot)))[0]

    @torch.inference_mode()
    def gallery(self, wish: dict) -> list[str]:
        codes = self.drawn(wish["seed"], wish["temperature"])
        faces = self.decode(self.settled(codes, wish))
        return [jpeg(face) for face in pictures.to_pil(faces)]

    @torch.inference_mode()
    def nearest(self, spot: dict) -> list[dict]:
        """Of the others those whose codes lie nearest to a spot's, the spot itself left out."""
        apart = torch.cdist(self.code(spot), self.others)[0]  # (OTHERS,)
        if "other" in spot:
            apart[int(spot["other"])] = torch.inf
        places = apart.topk(NEAREST, largest=False).indices
        faces = pictures.to_pil(self.decode(self.others[places]))
        pairs = zip(places.tolist(), faces, strict=True)
        return [{"other": place, "picture": jpeg(face)} for place, face in pairs]

    @torch.inference_mode()
    def background(self, latents: list[int] | None) -> str:
        """Faces all over a map, as one picture."""
        steps = (torch.arange(TILES) + 0.5) / TILES * 2 - 1  # the middles of the tiles
        points = torch.cartesian_prod(steps, steps).flip(1)  # (TILES², 2), row by row
        faces = self.decode(self.desk.planes.result().codes(points, latents))
        small = [face.resize((TILE, TILE)) for face in pictures.to_pil(faces)]
        return jpeg(pictures.tile(small, TILES))


def guided(desk: Desk) -> bool:
    """Whether the studio can bring a drawn face to an age and a gender."""
    try:
        return bool(desk.studio.guide)
    except ValueError:
        return False


def build(page: Page) -> None:
    explorer = Explorer(page.desk)
    page.draw_spot = explorer.picture

    def gallery(wish: dict) -> list[str]:
        return explorer.gallery(wish)

    def nearest(spot: dict) -> list[dict]:
        return explorer.nearest(spot)

    def face(spot: dict) -> str:
        return jpeg(explorer.picture(spot))

    def background(wish: dict) -> str:
        return explorer.background(wish["latents"])

    def strongest(_: object) -> list[int]:
        return page.desk.strongest.result()[:OFFERED]

    def take(event: gr.EventData) -> tuple:
        return page.desk.place(explorer.picture(event.spot), event.spot)

    labels = {name: target.label for name, target in page.targets.items()}
    seldom = (gallery, nearest, background, strongest)
    functions = [page.desk.live.served(face), *(page.desk.patient.served(one) for one in seldom)]
    settles = guided(page.desk)
    numbers = {"many": MANY, "others": OTHERS}
    explorer_element = live(
        "face-explorer", *functions, events=[*labels], targets=labels, settles=settles, **numbers
    )
    for name, target in page.targets.items():
        send = getattr(explorer_element, name)
        placed = send(page.desk.patient.of(take), None, list(target.shown), **EVERY)
        target.follow(placed)
        send(None, None, page.tabs, js=f"() => openTab('{target.tab}')")
