"""Stage 2 of the studio model: a conditional decoder trained on what an edit shows.

The encoder is frozen. For a face and a changed condition the decoder is trained on

    shown = decode(z, y′) + hold · (photo − decode(z, y))

against two critics: one of realism, and one of the condition. The critic of the condition goes on
learning: from real faces by their labels, and from shown ones by the labels that they had *before*
the edit. A fixed classifier in its place is fooled within minutes. Sources: Sauer et al., arXiv
2111.01007 (projected critic); Choi et al., "StarGAN", arXiv 1711.09020 (a condition that a critic
reads); He et al., "AttGAN", arXiv 1711.10678 (what was not asked for stays).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from facevae.models.conditions import changed
from facevae.models.critic import (
    Backbone,
    ConditionCritic,
    RealismCritic,
    hinge_critic,
    hinge_generator,
)
from facevae.models.vae import FaceVAE, age_weights, soften
from facevae.training.edit_faces import EditFaces

TIED = {  # an edit of the one may take along the others: they change together by nature
    "age": ("Gray_Hair", "Bald"),
    "Smiling": ("Mouth_Slightly_Open",),
    "Mouth_Slightly_Open": ("Smiling",),
}


@dataclass(frozen=True)
class EditRecipe:
    """Weights and rates of stage 2; by default as the shipped model's run ended."""

    batch: int = 16
    decoder_rate: float = 3e-4
    film_rate: float = 1e-3
    critic_rate: float = 5e-4
    ema: float = 0.995
    ramp: int = 500  # steps over which the weight of realism rises to its own
    realism: float = 1.0
    condition: float = 1.5  # of the attribute asked for
    others: float = 0.15  # of each attribute that was not asked for
    decoded: float = 250.0  # squared error of decode(z, y)
    kept: float = 3.0  # absolute difference between what is shown and the photo
    held: float = 0.3  # share of the photo that is let go
    real_condition: float = 3.0  # of the condition critic on real faces
    old_condition: float = 0.15  # of the condition critic on shown faces, with their old labels
    alone: float = 0.0  # share of a batch that is decode(z, y′) alone, without the photo
    partial: float = 0.2  # share of edits whose strength is drawn between 0 and 1
    second: float = 0.15  # share of edits that ask for a second attribute, too
    age_share: float = 0.2  # share of edits that ask for an age


class EditTrainer:
    """The networks, optimizers and random numbers of stage 2, and one step of it."""

    def __init__(
        self, model: FaceVAE, faces: EditFaces, recipe: EditRecipe | None = None,
        seed: int = 0, device: str = "cpu", backbone: nn.Module | None = None,
    ) -> None:  # fmt: skip
        self.recipe, self.faces, self.device = recipe or EditRecipe(), faces, torch.device(device)
        torch.manual_seed(seed)
        self.model = model.to(self.device).to(memory_format=torch.channels_last).eval()
        self.model.requires_grad_(False)
        self.model.decoder.requires_grad_(True)  # BatchNorm keeps its statistics: eval()
        self.names = model.config.conditions
        self.age = self.names.index("age") if "age" in self.names else None
        self.attributes = [k for k in range(len(self.names)) if k != self.age]
        self.backbone = (backbone or Backbone()).to(self.device)
        self.realism = RealismCritic(model.config.image_shape[1]).to(self.device)
        self.reader = ConditionCritic(len(self.attributes), len(faces.anchors)).to(self.device)
        film = [p for n, p in model.decoder.named_parameters() if ".film." in n]
        rest = [p for n, p in model.decoder.named_parameters() if ".film." not in n]
        groups = [
            {"params": rest, "lr": self.recipe.decoder_rate},
            {"params": film, "lr": self.recipe.film_rate},
        ]
        self.decoder_optimizer = torch.optim.Adam(groups, betas=(0.0, 0.99))
        critics = [*self.realism.parameters(), *self.reader.parameters()]
        self.critic_optimizer = torch.optim.Adam(
            critics, lr=self.recipe.critic_rate, betas=(0.0, 0.99)
        )
        self.average = AveragedModel(
            model.decoder, multi_avg_fn=get_ema_multi_avg_fn(self.recipe.ema), use_buffers=True
        )
        self.rng = np.random.default_rng(seed)
        self.steps = 0

    def step(self) -> dict[str, float]:
        """One update of the decoder and one of the critics; the parts of their losses."""
        edit = self._edit()
        with self._autocast():
            drawn, hold = self.model.decode_and_hold(
                edit["z"].repeat(2, 1), torch.cat([edit["before"], edit["after"]])
            )
        before, after = drawn.float().chunk(2)  # (B, 3, H, W) each
        hold = hold.float().chunk(2)[1]
        soft = soften(hold, self.model.distance(edit["before"], edit["after"]))
        kept = edit["kept"][:, None, None, None]  # 0 where the decoder's picture stands alone
        photo = edit["photo"]
        shown = (after + kept * soft * (photo - before)).clamp(0, 1)
        with self._autocast():
            maps = self.backbone(shown)
        parts = self._decoder_step(edit, maps, shown, before, hold, kept)
        parts |= self._critic_step(edit, [m.detach() for m in maps])
        self.average.update_parameters(self.model.decoder)
        self.steps += 1
        return parts

    def _edit(self) -> dict[str, Tensor]:
        """A batch of photos, their codes, y and y′, and what their critic should see."""
        recipe, rng = self.recipe, self.rng
        drawn = [self.faces.draw(rng, False, recipe.age_share) for _ in range(recipe.batch)]
        rows = np.array([row for row, _ in drawn])
        photo = self._photos(rows)
        before = self.faces.condition[rows]
        labels = torch.where(self.faces.labels[rows].isnan(), before, self.faces.labels[rows])
        after, target = before.clone(), labels.clone()
        weight = torch.full_like(before, recipe.others)
        for i, (_, column) in enumerate(drawn):
            wanted = self._wanted(column, labels[i])
            after[i] = changed(self.names, before[i : i + 1], wanted)[0]
            moved = changed(self.names, labels[i : i + 1], wanted)[0]
            touched = (moved - labels[i]).abs() > 0.05
            target[i] = moved
            weight[i, touched] = 0.5 * recipe.condition
            for name in wanted:
                for other in {*TIED.get(name, ())} & {*self.names} - {*wanted}:
                    weight[i, self.names.index(other)] = 0.0
            for name in wanted:
                weight[i, self.names.index(name)] = recipe.condition
        with torch.no_grad(), self._autocast():
            z = self.model.encode(photo).mean.float()
        alone = torch.from_numpy(rng.random(recipe.batch) < recipe.alone)
        batch = {
            "before": before, "after": after, "labels": labels, "target": target,
            "weight": weight, "kept": (~alone).float(),
        }  # fmt: skip
        return {k: v.to(self.device) for k, v in batch.items()} | {"photo": photo, "z": z}

    def _wanted(self, column: int, labels: Tensor) -> dict[str, float]:
        """The edit of a face drawn for a column: its state turned round, or another age."""
        rng, recipe = self.rng, self.recipe
        columns = [column]
        if rng.random() < recipe.second:
            columns.append(int(rng.choice([k for k in range(len(self.names)) if k != column])))
        wanted: dict[str, float] = {}
        for k in columns:
            partial = rng.random() < recipe.partial
            share = float(rng.uniform(0.2, 1.0)) if partial else 1.0
            if k == self.age:
                goal = float(rng.choice(self.faces.anchors)) + float(rng.uniform(-4, 4))
                start = 100.0 * float(labels[k])
                low, high = self.faces.anchors[0], self.faces.anchors[-1]
                wanted["age"] = min(max(start + share * (goal - start), low), high) / 100.0
            else:
                wanted[self.names[k]] = -share if float(labels[k]) > 0.5 else share
        return wanted

    def _decoder_step(
        self, edit: Mapping[str, Tensor], maps: list[Tensor], shown: Tensor, before: Tensor,
        hold: Tensor, kept: Tensor,
    ) -> dict[str, float]:  # fmt: skip
        recipe = self.recipe
        for critic in (self.realism, self.reader):
            critic.requires_grad_(False)
        with self._autocast():
            realism = hinge_generator(self.realism(maps))  # (B,)
            logits = self.reader(maps)
        photo, ramp = edit["photo"], min(1.0, self.steps / max(1, recipe.ramp))
        condition = self._condition_loss(logits, edit["target"], edit["weight"]).mean()
        decoded = (before - photo).square().mean()
        change = (kept * (shown - photo).abs()).mean()
        let_go = (kept * (1.0 - hold)).mean()
        loss = (
            ramp * recipe.realism * realism.mean() + condition + recipe.decoded * decoded
            + recipe.kept * change + recipe.held * let_go
        )  # fmt: skip
        self.decoder_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.decoder.parameters(), 10.0)
        self.decoder_optimizer.step()
        for critic in (self.realism, self.reader):
            critic.requires_grad_(True)
        names = ("realism", "condition", "decoded", "change", "let_go")
        values = torch.stack([realism.mean(), condition, decoded, change, let_go]).detach()
        return dict(zip(names, values.tolist(), strict=True))

    def _critic_step(self, edit: Mapping[str, Tensor], shown: list[Tensor]) -> dict[str, float]:
        recipe = self.recipe
        drawn = [self.faces.draw(self.rng, True, recipe.age_share) for _ in range(recipe.batch)]
        rows = np.array([row for row, _ in drawn])
        labels = self.faces.labels[rows].to(self.device)
        weight = torch.full_like(labels, recipe.others)
        for i, (_, column) in enumerate(drawn):
            weight[i, column] = 1.0
        weight[labels.isnan()] = 0.0
        asked = (edit["weight"] >= recipe.condition).float()
        whole = torch.from_numpy(self.faces.whole[rows]).to(self.device)
        with self._autocast():
            with torch.no_grad():
                real = self.backbone(self._photos(rows))
            hinge = hinge_critic(self.realism([m[whole] for m in real]), self.realism(shown))
            logits, old = self.reader(real), self.reader(shown)
        read = self._condition_loss(logits, labels.nan_to_num(), weight).mean()
        fooled = self._condition_loss(old, edit["labels"], asked).mean()
        loss = hinge + recipe.real_condition * read + recipe.old_condition * fooled
        self.critic_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.critic_optimizer.step()
        values = torch.stack([hinge, read, fooled]).detach()
        return dict(zip(("hinge", "real", "old"), values.tolist(), strict=True))

    def _condition_loss(
        self, logits: tuple[Tensor, Tensor], target: Tensor, weight: Tensor
    ) -> Tensor:
        """Weighted cross entropy of attributes and of the age's anchors, (N,)."""
        columns = self.attributes
        loss = F.binary_cross_entropy_with_logits(
            logits[0], target[:, columns].clamp(0, 1), reduction="none"
        )
        total = (loss * weight[:, columns]).sum(dim=1)
        if self.age is not None:
            wanted = age_weights(100.0 * target[:, self.age], self.faces.anchors)  # (N, anchors)
            ages = F.cross_entropy(logits[1], wanted, reduction="none")
            total = total + weight[:, self.age] * ages
        return total

    def _photos(self, rows: np.ndarray) -> Tensor:
        """Rows as photos, half of them mirrored, (M, 3, H, W)."""
        images = self.faces.images(rows)
        mirrored = torch.from_numpy(self.rng.random(len(rows)) < 0.5)
        images[mirrored] = images[mirrored].flip(3)
        return images.to(self.device).contiguous(memory_format=torch.channels_last)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16)

    def edited_model(self) -> FaceVAE:
        """The model with the averaged decoder, as it is validated and shipped."""
        copy = FaceVAE(self.model.config)
        copy.load_state_dict(self.model.state_dict())
        copy.decoder.load_state_dict(self.average.module.state_dict())
        return copy.eval().requires_grad_(False)

    def state(self) -> dict:
        """All that a checkpoint holds: training goes on from it to the step."""
        parts = ("model", "realism", "reader", "average", "decoder_optimizer", "critic_optimizer")
        state = {name: getattr(self, name).state_dict() for name in parts}
        return state | {"steps": self.steps, "rng": repr(self.rng.bit_generator.state)}

    def restore(self, state: dict) -> None:
        """Take up what `state` gave."""
        import ast

        for name, value in state.items():
            if name == "rng":
                self.rng.bit_generator.state = ast.literal_eval(value)
            elif name == "steps":
                self.steps = value
            else:
                getattr(self, name).load_state_dict(value)
