"""facevae: learn face VAEs by building them, then play with one on your own photo."""

import lazy_loader

__version__ = "0.2.0"
# the public names, listed in __init__.pyi, are imported when first used: `facevae` alone is quick
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ = sorted(["CannotDo", *__all__])


class CannotDo(ValueError):
    """What was asked of a studio cannot be done: why, in one sentence that a visitor may see."""
