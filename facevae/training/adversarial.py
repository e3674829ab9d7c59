"""Stage 2 of the studio model: a decoder of edits, trained on what they show.

Stage 1 stays as it is. Pictures of a second decoder, edit(z, y), and a mask that it draws make
shown = edit(z, y′) + hold · (photo − edit(z, y)), which meets two critics: of realism (Sauer et
al., arXiv 2111.01007) and of the condition (Choi et al., arXiv 1711.09020), which goes on learning
from real faces and from shown ones with the labels *before* the edit: a fixed one is fooled within
minutes. What was not asked for stays (He et al., arXiv 1711.10678)."""

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from facevae.data.face_set import FaceSet
from facevae.io import claim
from facevae.latents.diagnostics import LatentStatistics
from facevae.models import classifier as critics
from facevae.models.classifier import AttributeClassifier
from facevae.models.conditions import HAIR, changed
from facevae.models.vae import FaceVAE, age_weights, soften
from facevae.training.batches import EditFaces, face_masks, sunglasses
from facevae.training.classifier import labelled, readings
from facevae.training.runs import read_checkpoint, write_checkpoint

CHECKPOINT_EVERY = 250  # steps; a kill loses no more
ADULT = 18.0  # years
OF_HAIR = (*HAIR, "Bangs", "Bald")  # edits that leave the face as it is
TIED = {  # an edit of the one may take along the others: they change together by nature
    "age": ("Gray_Hair", "Bald"), "Smiling": ("Mouth_Slightly_Open",),
    "Mouth_Slightly_Open": ("Smiling",), "Mustache": ("Beard",), "Male": ("Heavy_Makeup",),
}  # fmt: skip


@dataclass(frozen=True)
class EditRecipe:
    """Weights and rates of stage 2; the weights as the shipped model's run ended, but for
    edits that weighed more there (`assets/studio/experiments.md`, its last rows)."""

    batch: int = 16
    decoder_rate: float = 3e-4
    film_rate: float = 1e-3
    critic_rate: float = 5e-4
    ema: float = 0.998
    ramp: int = 500  # steps over which the weight of realism rises to its own
    realism: float = 1.3
    condition: float = 2.2  # of the attribute asked for
    others: float = 0.33  # of each attribute that was not asked for
    decoded: float = 20.0  # squared error of the edit decoder's own picture of the photo
    kept: float = 3.0  # absolute difference between what is shown and the photo
    held: float = 0.3  # share of the photo that is let go
    real_condition: float = 3.0  # of the condition critic on real faces
    old_condition: float = 0.3  # of the condition critic on shown faces, with their old labels
    partial: float = 0.2  # share of edits whose strength is drawn between 0 and 1
    second: float = 0.1  # share of edits that ask for a second attribute, too
    age_share: float = 0.3  # share of edits that ask for an age
    age_condition: float = 1.35  # of the age asked for, and beside it
    eyes: float = 4.0  # how much more likeness and detail weigh on the eyes
    face: float = 10.0  # and, of edits of the hair, on the whole face
    aged: float = 0.45  # times the photo's weights, and 1 / aged times realism's and the others'
    tint: float = 190.0  # of another age: how far the skin's colour strays, whatever its brightness
    harder: float = 3.0  # at most so much more often the edits that the critic sees through come


class EditTrainer:
    """The networks, optimizers and random numbers of stage 2, and one step of it."""

    PARTS = ("model", "critics", "average", "decoder_optimizer", "critic_optimizer")

    def __init__(
        self, model: FaceVAE, faces: EditFaces, recipe: EditRecipe, seed: int = 0,
        device: str = "cpu", backbone: nn.Module | None = None,
    ) -> None:  # fmt: skip
        torch.manual_seed(seed)
        self.recipe, self.faces, self.device = recipe, faces, torch.device(device)
        self.rng, self.steps = np.random.default_rng(seed), 0
        self.autocast = torch.autocast(self.device.type, torch.bfloat16)
        model = model if model.config.hold else model.with_edit_decoder()
        self.model = model.to(self.device).to(memory_format=torch.channels_last).eval()
        self.model.requires_grad_(False)  # and BatchNorm keeps its statistics: eval()
        self.decoder = self.model.edit_decoder.requires_grad_(True)
        self.backbone = (backbone or critics.Backbone()).to(self.device)
        self.realism = critics.RealismCritic()
        self.condition = critics.ConditionCritic(len(faces.attributes), len(faces.anchors))
        self.critics = nn.ModuleList([self.realism, self.condition]).to(self.device)
        named, rates = [*self.decoder.named_parameters()], (recipe.decoder_rate, recipe.film_rate)
        groups = [{"params": [p for name, p in named if (".film." in name) == film], "lr": rate}
                  for film, rate in enumerate(rates)]  # fmt: skip
        self.decoder_optimizer = Adam(groups, betas=(0.0, 0.99))
        self.critic_optimizer = Adam(self.critics.parameters(), recipe.critic_rate, (0.0, 0.99))
        masks = face_masks(faces.framing, model.config.image_shape[1:])
        self.eyes, self.face = masks.to(self.device)  # (H, W) each
        self.other = torch.tensor([name not in OF_HAIR for name in faces.names], device=self.device)
        self.difficulty = torch.ones(len(faces.attributes), 2)  # of putting on, of taking off
        rule = get_ema_multi_avg_fn(recipe.ema)
        self.average = AveragedModel(self.decoder, multi_avg_fn=rule, use_buffers=True)

    def step(self) -> dict[str, float]:
        """One update of the decoder and one of the critics; the weighted parts of their losses."""
        recipe, edit = self.recipe, self._edit()
        photo, y, changed_y = edit["photo"], edit["before"], edit["after"]
        self.critics.requires_grad_(False)
        with self.autocast:
            z = self.model.encode(photo).mean.float()
            both = self.model.decode_edit(z.repeat(2, 1), torch.cat([y, changed_y]))
        (before, after), hold = both[0].float().chunk(2), both[1].float().chunk(2)[1]
        soft = soften(hold, self.model.distance(y, changed_y))  # (B, 1, H, W)
        shown = (after + soft * (photo - before)).clamp(0, 1)  # (B, 3, H, W)
        with self.autocast:
            maps = self.backbone(shown)
            realism, read = critics.hinge_generator(self.realism(maps)), self.condition(maps)
        self._remember(read[0].detach(), edit)
        ramp = min(1.0, self.steps / max(1, recipe.ramp))
        # an age changes the whole face: how real that looks counts more, likeness less
        of_age = edit["asked"][:, self.faces.age]  # (B,)
        much = torch.where(of_age, recipe.aged, 1.0)  # (B,)
        hair = ~(edit["asked"] & self.other).any(dim=1)  # (B,)
        keep = 1.0 + recipe.eyes * self.eyes + recipe.face * hair[:, None, None] * self.face
        keep = (much[:, None, None] * keep)[:, None]  # (B, 1, H, W)
        losses = {
            "realism": ramp * recipe.realism * (realism / much).mean(),
            "condition": self._cross_entropy(read, edit["target"], edit["weight"]),
            "decoded": recipe.decoded * (before - photo).square().mean(),
            "change": recipe.kept * (keep * (shown - photo).abs()).mean(),
            "let_go": recipe.held * (keep * (1.0 - hold)).mean(),
            "tint": recipe.tint * (of_age * self._tint(shown - photo)).mean(),
        }
        self.decoder_optimizer.zero_grad(set_to_none=True)
        torch.stack([*losses.values()]).sum().backward()
        nn.utils.clip_grad_norm_(self.decoder.parameters(), 10.0)
        self.decoder_optimizer.step()
        self.critics.requires_grad_(True)
        critical = self._critic_losses(edit, [one.detach() for one in maps])
        self.critic_optimizer.zero_grad(set_to_none=True)
        torch.stack([*critical.values()]).sum().backward()
        self.critic_optimizer.step()
        self.average.update_parameters(self.decoder)
        self.steps += 1
        return {name: loss.item() for name, loss in (losses | critical).items()}

    def _edit(self) -> dict[str, Tensor]:
        """A batch of photos, y and y′, and what the critic of the condition should see."""
        recipe, faces, names = self.recipe, self.faces, self.faces.names
        odds = (self.difficulty / self.difficulty.mean()).clamp(1 / recipe.harder, recipe.harder)
        rows, columns = faces.draw(self.rng, recipe.batch, False, recipe.age_share, odds.numpy())
        photo, before = self._photos(rows), faces.condition[rows]
        labels = torch.where(faces.labels[rows].isnan(), before, faces.labels[rows])
        wanted = [self._wanted(k, face) for k, face in zip(columns, labels, strict=True)]
        after, target = (
            torch.cat([changed(names, y[None], one) for y, one in zip(start, wanted, strict=True)])
            for start in (before, labels)
        )
        asked = torch.tensor([[name in one for name in names] for one in wanted])  # (B, K)
        weight = torch.full_like(before, recipe.others)  # (B, K)
        weight[asked[:, faces.age]] /= recipe.aged
        weight[(target - labels).abs() > 0.05] = 0.5 * recipe.condition
        for row, one in zip(weight, wanted, strict=True):
            tied = {other for name in one for other in TIED.get(name, ())}
            row[[k for k, name in enumerate(names) if name in tied]] = 0.0
        weight[asked] = recipe.condition
        weight[:, faces.age][asked[:, faces.age]] = recipe.age_condition
        batch = {"photo": photo, "before": before, "after": after, "labels": labels,
                 "target": target, "weight": weight, "asked": asked}  # fmt: skip
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def _wanted(self, column: int, labels: Tensor) -> dict[str, float]:
        """The edit of a face drawn for a column: its state turned round, or another age."""
        rng, recipe, anchors = self.rng, self.recipe, self.faces.anchors
        columns, wanted = [column], {}
        if rng.random() < recipe.second:
            columns.append(int(rng.choice([k for k in range(len(labels)) if k != column])))
        for k in columns:
            share = float(rng.uniform(0.2, 1.0)) if rng.random() < recipe.partial else 1.0
            if k == self.faces.age:
                start, goal = 100.0 * float(labels[k]), rng.choice(anchors) + rng.uniform(-4, 4)
                years = np.clip(start + share * (goal - start), anchors[0], anchors[-1])
                wanted["age"] = float(years) / 100.0
            else:
                wanted[self.faces.names[k]] = -share if float(labels[k]) > 0.5 else share
        return wanted

    def _tint(self, change: Tensor) -> Tensor:
        """How far the colour of each face moves, whatever its brightness, in 8 × 8 cells, (B,)."""
        cells = F.adaptive_avg_pool2d(self.face * change, 8)  # (B, 3, H, W) -> (B, 3, 8, 8)
        return (cells - cells.mean(dim=1, keepdim=True)).abs().mean(dim=(1, 2, 3))

    def _remember(self, logits: Tensor, edit: dict[str, Tensor]) -> None:
        """Running means of the critic's losses (B, attributes) on edits at their full strength."""
        goal, asked = (edit[name][:, self.faces.attributes] for name in ("target", "asked"))
        loss = F.binary_cross_entropy_with_logits(logits, goal.clamp(0, 1), reduction="none")
        for face, k in (asked & ((goal - 0.5).abs() > 0.45)).nonzero().tolist():
            off = int(goal[face, k] < 0.5)
            self.difficulty[k, off] += 0.03 * (loss[face, k].item() - self.difficulty[k, off])

    def _critic_losses(self, edit: dict[str, Tensor], shown: list[Tensor]) -> dict[str, Tensor]:
        """Of real faces, drawn anew, against maps of shown ones, which have their old labels."""
        recipe, faces = self.recipe, self.faces
        rows, columns = faces.draw(self.rng, recipe.batch, True, recipe.age_share)
        labels, whole = faces.labels[rows].to(self.device), torch.from_numpy(faces.whole[rows])
        weight = torch.full_like(labels, recipe.others)
        weight[range(len(rows)), columns] = 1.0
        weight[labels.isnan()] = 0.0
        with self.autocast:
            real = self.backbone(self._photos(rows))
            scores = self.realism([one[whole] for one in real]), self.realism(shown)
            read, old = self.condition(real), self.condition(shown)
        known = self._cross_entropy(read, labels.nan_to_num(), weight)
        fooled = self._cross_entropy(old, edit["labels"], edit["asked"].float())
        return {"hinge": critics.hinge_critic(*scores), "real": recipe.real_condition * known,
                "old": recipe.old_condition * fooled}  # fmt: skip

    def _cross_entropy(
        self, logits: tuple[Tensor, Tensor], target: Tensor, weight: Tensor
    ) -> Tensor:
        """Of attributes and of the age's anchors: weighted sums (N,), and their mean."""
        columns, age = self.faces.attributes, self.faces.age
        goal = target[:, columns].clamp(0, 1)
        loss = F.binary_cross_entropy_with_logits(logits[0], goal, reduction="none")
        near = age_weights(100.0 * target[:, age], self.faces.anchors)  # (N, anchors)
        ages = weight[:, age] * F.cross_entropy(logits[1], near, reduction="none")
        return ((loss * weight[:, columns]).sum(dim=1) + ages).mean()

    def _photos(self, rows: np.ndarray) -> Tensor:
        """Rows as photos, half of them mirrored, (M, 3, H, W)."""
        images = self.faces.images(rows)
        mirrored = torch.from_numpy(self.rng.random(len(rows)) < 0.5)
        images[mirrored] = images[mirrored].flip(3)
        return images.to(self.device).contiguous(memory_format=torch.channels_last)

    def edited_model(self) -> FaceVAE:
        """The model with the averaged edit decoder, as it is validated and shipped."""
        edited = copy.deepcopy(self.model).cpu()
        edited.edit_decoder.load_state_dict(self.average.module.state_dict())
        return edited.eval().requires_grad_(False)

    def state(self) -> dict:
        """All that a checkpoint holds: training goes on from it to the step."""
        state = {name: getattr(self, name).state_dict() for name in self.PARTS}
        numbers = {"steps": self.steps, "rng": self.rng.bit_generator.state}
        return state | numbers | {"difficulty": self.difficulty}

    def restore(self, state: dict) -> None:
        """Take up what `state` gave."""
        for name in self.PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.steps, self.difficulty = state["steps"], state["difficulty"].clone()
        self.rng.bit_generator.state = state["rng"]


def train_edits(
    folder: str | Path, faces: FaceSet, out: str | Path, steps: int = 100_000,
    resume: bool = False, seed: int = 0, device: str = "cpu", recipe: EditRecipe = EditRecipe(),
) -> FaceVAE:  # fmt: skip
    """Train the decoder of a conditional model on what its edits show.

    `folder` holds the model of stage 1 and the editing classifier, in whose framing the faces are.
    `out` gets `checkpoint.pt` every 250 steps, from which `resume` goes on to the step, and
    `best/`, which a studio opens. Raises ValueError: one of them does not suit, and why."""
    model, classifier = FaceVAE.from_pretrained(folder), AttributeClassifier.load(folder)
    names, anchors, out = model.config.conditions, model.config.age_anchors, Path(out)
    if not anchors or model.config.condition_encoder:
        raise ValueError(f"{folder} is no first stage of a studio: train one by the recipe studio")
    identity, split = f"edits of {model.config}", faces.split(seed)
    state = read_checkpoint(out, resume, identity)
    claim(out)
    read, known = readings(faces, classifier, names), faces.known_labels(names)
    is_age = np.array(names) == "age"
    grown = is_age & (read >= ADULT)  # few faces are labelled with one; children are misread
    known = np.where(np.isnan(known) & grown, read, known)
    if "Eyeglasses" in names and faces.framing != "none":
        glasses = known[:, names.index("Eyeglasses")]  # (N,), a view
        worn = np.flatnonzero(glasses == 1)
        glasses[worn[sunglasses(faces, worn)]] = np.nan  # an edit is to put on clear ones
    parts = faces.manifest.get("parts", [faces.manifest])
    sources = np.repeat([one["source"] for one in parts], [one["faces"] for one in parts])
    rows = np.concatenate([split["train"], split["val"]])
    units = np.where(is_age, np.float32(100), np.float32(1))  # centuries
    y, labels = (torch.from_numpy(table[rows] / units) for table in (read, known))
    images, framing = lambda i: faces.tensor(rows[i]), faces.framing
    edited = EditFaces(names, images, y, labels, sources[rows], anchors, framing)
    trainer = EditTrainer(model, edited, recipe, seed, device)
    if state:
        trainer.restore(state)
    done = trainer.steps
    bar = tqdm(range(done + 1, steps + 1), "edits", steps, unit="step", initial=done)
    for step in bar:
        bar.set_postfix(trainer.step())
        if step % CHECKPOINT_EVERY == 0 or step == steps:
            write_checkpoint(out, trainer.state(), identity)
    made, filled = trainer.edited_model(), labelled(faces, names, read)
    made.save_pretrained(out / "best")
    classifier.save(out / "best")
    LatentStatistics.fit(made, filled, split["train"], seed=seed).save(out / "best")
    return made
