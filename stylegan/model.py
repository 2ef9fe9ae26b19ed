"""The public Python interface: a generator that draws, mixes, interpolates and projects.

`import stylegan` offers these names. Images are NumPy arrays of uint8, channels last. A generator draws the same bits
here as in the commands `generate`, `mix`, `interpolate` and `project`, if the options and the device are the same.

N seeds, P rows, Q columns, T frames, H W C image, L style layers.
"""

from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from stylegan import images
from stylegan.analysis.projection import Step, published_search
from stylegan.analysis.projection import project as search
from stylegan.analysis.targets import fit_image, load_target
from stylegan.backends import exact_float32
from stylegan.command_line import usable_device
from stylegan.config.pyramid import sides
from stylegan.drawing.curves import Curve
from stylegan.drawing.generate import class_labels, label_vector, mix_styles, render_styles, styles, styles_between
from stylegan.generators import class_of, load_any_generator
from stylegan.metrics.evaluation.sampling import synthesize_ws
from stylegan.metrics.extractors.lpips import load_lpips
from stylegan.networks import Generator, truncate
from stylegan.networks.layers import NoiseMode
from stylegan.text import listed

Images: TypeAlias = NDArray[np.uint8]
Styles: TypeAlias = NDArray[np.float32]
Label: TypeAlias = str | int | Sequence[float]  # name or number of a class, or a label vector [c_dim]
ImageSource: TypeAlias = str | PathLike[str] | Image.Image | NDArray[np.uint8]


@dataclass(frozen=True)
class Projection:
    """The image of a generator that comes closest to a given one."""

    image: Images  # [H, W, C]
    target: Images  # [H, W, C], the given image as it was compared
    w: Styles  # [L, w_dim]
    noise: Mapping[str, NDArray[np.float32]]  # name of a noise map -> [1, h, w]; empty without optimize_noise
    distance: float  # LPIPS between image and target; 0 is equal
    note: str  # what was done to the given image to make it fit; empty if nothing


def load(path: str | PathLike[str], *, device: str = "cpu") -> "Model":
    """Read a generator file, a training checkpoint or an official .pkl; nothing in the file is executed.

    device: "cpu", "cuda", "cuda:1" or "mps".
    Raises FileNotFoundError, and ValueError if the file holds no generator or the device cannot be used.
    """
    try:
        found = usable_device(device)
    except ArgumentTypeError as error:
        raise ValueError(str(error)) from None
    G, class_names = load_any_generator(Path(path))
    return Model(G.to(found), class_names)


def to_pil(img: Images) -> list[Image.Image]:
    """Images uint8 [..., H, W, C] -> Pillow images, in order; of more than four channels, the first three are shown.

    Raises ValueError if the array has another type or fewer dimensions.
    """
    if img.dtype != np.uint8 or img.ndim < 3:
        raise ValueError(f"images are uint8 [..., H, W, C], but this array is {img.dtype} {list(img.shape)}.")
    return [images.to_pil(torch.tensor(one).permute(2, 0, 1)) for one in img.reshape(-1, *img.shape[-3:])]


class Model:
    """A trained generator. Nothing in it changes, so calls do not depend on earlier ones.

    Every method raises ValueError, in one line with the remedy, for a seed, label, layer or shape that does not fit.
    A label is the name or the number of a class, or a vector [c_dim]. Conditional generators need one.
    """

    def __init__(self, G: Generator, class_names: Sequence[str] | None) -> None:
        self.G = G
        self.class_names = None if class_names is None else list(class_names)

    def __repr__(self) -> str:
        height, width, channels = self.shape
        classes = f", {self.G.c_dim} classes" if self.G.c_dim else ""
        return f"<stylegan.Model {width}x{height}, {channels} channels{classes}, {self.G.num_ws} style layers>"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of its images"""
        return (*sides(self.G.img_resolution), self.G.img_channels)

    def generate(
        self,
        seeds: Sequence[int],
        *,
        psi: float = 1.0,
        label: Label | None = None,
        cutoff: int | None = None,
        noise_mode: NoiseMode = "const",
        batch_size: int = 16,
    ) -> Images:
        """Draw one image for each seed  ->  uint8 [N, H, W, C]

        psi truncates: 1 does nothing, 0 gives the average image. cutoff truncates only the first style layers.
        """
        w = self.styles(seeds, psi=psi, label=label, cutoff=cutoff)
        return self.render(w, noise_mode=noise_mode, batch_size=batch_size)

    @exact_float32()
    def styles(
        self, seeds: Sequence[int], *, psi: float = 1.0, label: Label | None = None, cutoff: int | None = None
    ) -> Styles:
        """Styles of seeds, truncated  ->  float32 [N, L, w_dim]"""
        return _array(self._truncated(seeds, psi, label, cutoff))

    @exact_float32()
    @torch.no_grad()
    def render(
        self,
        w: Styles,
        *,
        noise: Mapping[str, NDArray[np.float32]] | None = None,
        noise_mode: NoiseMode = "const",
        batch_size: int = 16,
    ) -> Images:
        """Draw one image for each style float32 [N, L, w_dim]  ->  uint8 [N, H, W, C]

        noise: maps of a projection, which replace the generator's own, so noise_mode must then be "const".
        """
        if w.ndim != 3 or w.shape[1:] != (self.G.num_ws, self.G.w_dim):
            wanted = f"[N, {self.G.num_ws}, {self.G.w_dim}]"
            raise ValueError(f"w is {list(w.shape)}, but this generator takes {wanted}. A single style is w[None].")
        ws = torch.from_numpy(np.ascontiguousarray(w, np.float32)).to(self._device)
        if not noise:
            return _last(render_styles(self.G, ws, batch_size=batch_size, noise_mode=noise_mode))
        if noise_mode != "const":
            problem = f"noise_mode is {noise_mode!r}, but the noise maps replace the generator's own"
            raise ValueError(f"{problem}. Leave out noise or noise_mode.")
        maps = {name: torch.from_numpy(values)[None].to(self._device) for name, values in noise.items()}
        parts = [synthesize_ws(self.G, part, _repeated(maps, len(part))) for part in torch.split(ws, batch_size)]
        return _last(torch.cat([images.to_uint8(part).cpu() for part in parts]))

    @exact_float32()
    def mix(
        self,
        rows: Sequence[int],
        cols: Sequence[int],
        layers: Sequence[int],
        *,
        psi: float = 1.0,
        label: Label | None = None,
        cutoff: int | None = None,
        batch_size: int = 16,
    ) -> Images:
        """Draw each row's seed with the style layers `layers` of each column's seed  ->  uint8 [P, Q, H, W, C]"""
        w_rows, w_cols = (self._truncated(seeds, psi, label, cutoff) for seeds in (rows, cols))
        mixed = mix_styles(w_rows, w_cols, layers).flatten(0, 1)
        img = _last(render_styles(self.G, mixed, batch_size=batch_size))
        return img.reshape(len(rows), len(cols), *self.shape)

    @exact_float32()
    def interpolate(
        self,
        seeds: Sequence[int],
        frames: int,
        *,
        psi: float = 1.0,
        label: Label | None = None,
        cutoff: int | None = None,
        curve: Curve = "linear",
        loop: bool = True,
        batch_size: int = 16,
    ) -> Images:
        """Walk through the styles of seeds, `frames` steps from one to the next  ->  uint8 [T, H, W, C]

        A loop returns to the first seed, T = N * frames; without it T = (N - 1) * frames + 1.
        """
        keys = self._truncated(seeds, psi, label, cutoff)
        ws = styles_between(self.G, keys, frames, curve=curve, loop=loop)
        return _last(render_styles(self.G, ws, batch_size=batch_size))

    @exact_float32()
    def project(
        self,
        target: ImageSource,
        *,
        steps: int = 1000,
        label: Label | None = None,
        space: Literal["w", "w+"] = "w",
        optimize_noise: bool = True,
        learning_rate: float = 0.1,
        seed: int = 0,
        distance: Literal["lpips_vgg16", "random"] = "lpips_vgg16",
        weights: str | PathLike[str] = "assets",
        progress: Callable[[int, int, float], None] | None = None,
    ) -> Projection:
        """Find the style and the noise that draw a given image: a file, a Pillow image, or uint8 [H, W, C].

        An image of another size is cut to its centre and resized. weights: the folder with lpips_vgg16.safetensors,
        which `make repro` fetches. progress is called with the step, the number of steps, and the distance.
        Raises FileNotFoundError if the image or the weights are missing.
        """
        config = published_search(
            space=space, optimize_noise=optimize_noise, num_steps=steps, learning_rate=learning_rate, seed=seed
        )  # fmt: skip
        lpips = load_lpips(distance, Path(weights)).to(self._device)
        wanted, note = self._target(target)
        c = class_labels(1, self.G.c_dim, None) if (c := self._label(label)) is None else c
        for step in search(self.G, wanted[None], c, lpips, config):
            if progress is not None:
                progress(step.index, config.num_steps, float(step.distance))
        return self._projection(step, wanted, note)

    @property
    def _device(self) -> torch.device:
        return self.G.mapping.w_avg.device

    def _truncated(self, seeds: Sequence[int], psi: float, label: Label | None, cutoff: int | None) -> Tensor:
        """[N, L, w_dim]"""
        return truncate(styles(self.G, seeds, self._label(label)), self.G.mapping.w_avg, psi, cutoff)

    def _label(self, label: Label | None) -> Tensor | None:
        """[1, c_dim], None for an unconditional generator. Raises ValueError if a conditional one got none."""
        if label is None:
            if self.class_names:
                raise ValueError(f"this generator is conditional. Choose a label: {listed(self.class_names)}.")
            return None
        if isinstance(label, str):
            return class_labels(1, self.G.c_dim, class_of(label, self.G, self.class_names))
        if isinstance(label, int | Integral):  # NumPy's whole numbers are no int
            return class_labels(1, self.G.c_dim, int(label))
        return label_vector(label, self.G.c_dim)

    def _target(self, target: ImageSource) -> tuple[Tensor, str]:
        """uint8 [C, H, W], and what was done to it"""
        if isinstance(target, str | PathLike):
            found = load_target(Path(target), self.G)
            return found.img, found.note
        image = target if isinstance(target, Image.Image) else to_pil(target)[0]
        return fit_image(image, "the given image", self.G)

    @torch.no_grad()
    def _projection(self, step: Step, wanted: Tensor, note: str) -> Projection:
        img = images.to_uint8(synthesize_ws(self.G, step.ws, step.noise))
        return Projection(
            image=_last(img.cpu())[0],
            target=_last(wanted[None])[0],
            w=_array(step.ws)[0],
            noise={name: _array(maps)[0] for name, maps in step.noise.items()},
            distance=float(step.distance),
            note=note,
        )


def _last(img: Tensor) -> Images:
    """uint8 [N, C, H, W] -> [N, H, W, C]"""
    return np.ascontiguousarray(img.permute(0, 2, 3, 1).numpy())


def _array(values: Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = values.detach().cpu().numpy()
    return found


def _repeated(maps: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    return {name: values.expand(count, -1, -1, -1) for name, values in maps.items()}
