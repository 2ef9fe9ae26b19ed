"""Images that others ask for, by a server or by MLflow: what they ask is checked, and an image is a PNG file in bytes.

Each is drawn alone unless told otherwise, because the sums of a batch round in another order. So an image does not
depend on what else is asked for, and has the bytes that `stylegan generate` gives a single seed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from stylegan.drawing.generate import class_labels, class_number, render_styles, styles
from stylegan.images import encode_png
from stylegan.networks import Generator, truncate
from stylegan.text import OneLineError, listed

MAX_SEED, MAX_PSI = 2**32 - 1, 10.0  # beyond this psi images are noise, and at some point not finite
PSI = 1.0  # unless asked for another


class RequestError(OneLineError):
    """Nobody can draw what is asked for; the message says what can be asked."""


@dataclass(frozen=True)
class Request:
    """One image, as `check_request` allows it."""

    seed: int
    psi: float
    class_index: int | None


def check_request(
    G: Generator, class_names: Sequence[str] | None, *, seed: int, psi: float = PSI, class_name: str | None = None
) -> Request:
    """What is asked for, class_name being a name or a number. Raises RequestError."""
    if not 0 <= seed <= MAX_SEED:
        raise RequestError(f"seed {seed}: expected a whole number from 0 to {MAX_SEED}")
    if not (math.isfinite(psi) and abs(psi) <= MAX_PSI):
        raise RequestError(f"psi {psi:g}: expected a number from -{MAX_PSI:g} to {MAX_PSI:g}, such as 0.7")
    if class_name is None and G.c_dim > 0 and class_names:
        raise RequestError(f"this generator is conditional. Choose a class: {listed(class_names)}.")
    try:
        index = None if class_name is None else class_number(class_name, G.c_dim, class_names)
        class_labels(1, G.c_dim, index)
    except ValueError as error:
        raise RequestError(error) from None
    return Request(seed, psi, index)


@torch.no_grad()
def draw(G: Generator, requests: Sequence[Request], *, batch_size: int = 1) -> list[bytes]:
    """A PNG file for each; with a batch_size above 1 so many are computed at once, and may differ in the last bit."""
    files: list[bytes] = []
    for start in range(0, len(requests), batch_size):
        part = requests[start : start + batch_size]
        c = torch.cat([class_labels(1, G.c_dim, each.class_index) for each in part])
        ws = styles(G, [each.seed for each in part], c)
        pulled = [truncate(ws[row : row + 1], G.mapping.w_avg, each.psi) for row, each in enumerate(part)]
        files += map(encode_png, render_styles(G, torch.cat(pulled), batch_size=batch_size))
    return files
