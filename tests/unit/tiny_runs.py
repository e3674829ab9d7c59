"""Recipes and faces of the smallest runs, for the tests of training."""

from facevae import FaceSet, ModelConfig, Recipe

TINY = Recipe("tiny", "a test", ModelConfig(latents=4, channels=(4, 8), dropout=0.1),
              epochs=3, batch=16, flip=True, keep_every=2, schedule="constant")  # fmt: skip
EVERYTHING = TINY.with_settings(
    ["balance=age", "weigh=age", "warmup=2", "augment=true", "tcvae=true", "beta=3",
     "bf16=true", "schedule=plateau"]
)  # fmt: skip


def failing(faces, reads, fail):
    """The faces, which cannot be read more than so many times: then `fail` is called."""
    left = iter(range(reads))

    class Failing(FaceSet):
        def tensor(self, rows):
            return fail(rows) if next(left, None) is None else super().tensor(rows)

    return Failing(faces.folder)
