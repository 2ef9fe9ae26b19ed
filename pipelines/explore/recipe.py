"""What the page asks for: how an image is made, and how styles travel between page and server."""

import base64
import binascii
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from stylegan.config.strict import Section
from stylegan.text import OneLineError
from stylegan.wording import counted

NUM_DIRECTIONS = 8  # sliders of each kind
MAX_STEP = 5.0  # standard deviations
MAX_STOPS, MAX_STEPS_BETWEEN = 24, 120  # of a walk, which is drawn frame by frame
MAX_W = 2**22  # characters; the w+ of a generator for 1024 pixels has 50,000

Seed = Annotated[int, Field(ge=0, lt=2**32)]
LayerList = Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=64)]
Steps = Annotated[list[Annotated[float, Field(ge=-MAX_STEP, le=MAX_STEP)]], Field(max_length=NUM_DIRECTIONS)]


class RecipeError(OneLineError):
    """The page asks for what this generator cannot do."""


class Recipe(Section):
    """One image: styles of a seed, or given ones; mixed, moved, and truncated, in this order."""

    seed: Seed
    w: Annotated[str, Field(max_length=MAX_W)] | None = None  # styles in place of those of the seed
    class_index: Annotated[int, Field(ge=0)] | None = None
    psi: Annotated[float, Field(ge=-2, le=2)]
    mix_seed: Seed = 0
    mix_layers: LayerList = Field(default_factory=list)  # taken from mix_seed
    pca: Steps = Field(default_factory=list)  # along principal components of w, in standard deviations
    affine: Steps = Field(default_factory=list)  # along the factors of the affine weights of `layers`
    layers: LayerList = Field(default_factory=list)  # that both kinds of steps move


class Surroundings(Section):
    """Images near one image, to choose from."""

    recipe: Recipe
    round: Seed  # another number gives other images
    distance: Annotated[float, Field(ge=0, le=1)]


class Walk(Section):
    """A video from image to image, and back to the first if it is a loop."""

    stops: Annotated[list[Recipe], Field(min_length=2, max_length=MAX_STOPS)]
    frames: Annotated[int, Field(ge=1, le=MAX_STEPS_BETWEEN)]  # from stop to stop
    loop: bool
    kind: Literal["mp4", "gif"]


class Download(Section):
    """The styles of one image as a file."""

    recipe: Recipe
    kind: Literal["npz", "safetensors"]


class Search(Section):
    """How an image is projected."""

    space: Literal["w", "w+"]
    num_steps: Annotated[int, Field(ge=1, le=5000)]
    class_index: Annotated[int, Field(ge=0)] | None = None


def encode_styles(ws: Tensor) -> str:
    """ws [1, L, w_dim] -> base64 of its float32"""
    return base64.b64encode(ws.detach().float().cpu().contiguous().numpy().astype("<f4").tobytes()).decode()


def decode_styles(text: str, num_ws: int, w_dim: int) -> Tensor:
    """What encode_styles wrote  ->  [1, L, w_dim]. Raises RecipeError for another size and for what is not finite."""
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise RecipeError("w is not base64. Reload the page.") from None
    if len(content) != 4 * num_ws * w_dim:
        raise RecipeError(
            f"w has {counted(len(content), 'byte')}; this generator takes float32 [{num_ws}, {w_dim}], "
            f"{counted(4 * num_ws * w_dim, 'byte')}. Reload the page."
        )
    ws = torch.frombuffer(bytearray(content), dtype=torch.float32).reshape(1, num_ws, w_dim)
    if not ws.isfinite().all():
        raise RecipeError("w holds values that are not finite. Reload the page.")
    return ws
