"""StyleGAN2-ADA: mathematics and state, independent of how it is launched, stored and tracked.

`stylegan.load(path)` gives a generator to draw with; see docs/python.md.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stylegan.model import Model, Projection, load, to_pil

__all__ = ["Model", "Projection", "load", "to_pil"]


def __getattr__(name: str) -> object:
    # Deferred: the command line and the configuration do not wait for torch.
    if name in __all__:
        return getattr(importlib.import_module("stylegan.model"), name)
    raise AttributeError(f"module 'stylegan' has no attribute {name!r}")
