"""Recipes and faces of the smallest runs, for the tests of training."""

from facevae.config import ModelConfig, Recipe
from facevae.data.face_set import FaceSet

TINY = Recipe("tiny", "a test", ModelConfig(latents=4, channels=(4, 8), dropout=0.1),
              epochs=3, batch=16, flip=True, keep_every=2, schedule="constant")  # fmt: skip
EVERYTHING = TINY.with_settings(
    ["ema=0.9", "balance=age", "weigh=age", "warmup=2", "augment=true", "tcvae=true", "beta=3",
     "bf16=true", "keep_best=2", "schedule=plateau"]
)  # fmt: skip
RECIPES = {"tiny": TINY, "everything": EVERYTHING}
SHARED = TINY.with_settings(
    ["ema=0.9", "balance=age", "augment=true", "epochs=6", "batch=15", "lr=0.003"]
)


class Failing(FaceSet):
    """Faces that cannot be read more than so many times: then `fail` is called."""

    def tensor(self, rows):
        object.__setattr__(self, "left", getattr(self, "left", 0) - 1)
        return super().tensor(rows) if self.left >= 0 else self.fail(rows)


def failing(faces, reads, fail):
    made = Failing(faces.folder)
    object.__setattr__(made, "left", reads)
    object.__setattr__(made, "fail", fail)
    return made
