"""A stand-in for the ImageNet features: the mean colours of the cells of a picture."""

from torch import Tensor
from torch.nn import functional as F

CELLS = 4  # a side


def colour_features(images: Tensor, batch: int = 64) -> Tensor:
    """(N, 3, H, W) → (N, 48)."""
    return F.adaptive_avg_pool2d(images, CELLS).flatten(1)
