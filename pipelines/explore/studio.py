"""What the page can do with a generator: draw, surround, walk, search, save. Knows no HTTP.

N images, C channels, H W image, L = num_ws.
"""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from pipelines.explore.recipe import (
    NUM_DIRECTIONS,
    Download,
    Recipe,
    RecipeError,
    Search,
    Surroundings,
    Walk,
    decode_styles,
    encode_styles,
)
from stylegan.analysis.directions import factorize_affine, move, principal_components, spreads, vary
from stylegan.analysis.projection import Step, project, published_search
from stylegan.analysis.targets import read_image
from stylegan.config.modes import MODES
from stylegan.config.pyramid import sides
from stylegan.drawing.generate import class_labels, mix_styles, render_each, render_styles, styles, styles_between
from stylegan.drawing.sheets import scale_to
from stylegan.drawing.style_files import save_styles
from stylegan.drawing.video import SIDE, save_video
from stylegan.images import encode_png
from stylegan.metrics.extractors.lpips import Lpips, load_lpips
from stylegan.networks import Generator, truncate
from stylegan.wording import counted

NUM_SAMPLES = 10_000  # of w, whose components and spread are measured
NUM_NEAR = 8  # images of a grid
FPS = 30
BATCH_SIZE = 8
LEARNING_RATE = 0.1  # of the projection (Karras et al. 2020, App. D)
MAX_GIF_PIXELS = 500_000_000  # which Pillow holds all at once
SEARCH_PREVIEWS = 40  # images of a search that are shown

Report = Callable[[dict[str, object]], None]


class Studio:
    """One generator, used by one request at a time; long work lets others in between its steps."""

    def __init__(self, G: Generator, class_names: Sequence[str] | None, *, distance: str, weights: Path) -> None:
        self.G, self.distance, self.weights = G, distance, weights
        self.class_names = list(class_names or map(str, range(G.c_dim)))
        self.turn, self.lock = threading.Lock(), threading.Lock()
        self.lpips: Lpips | None = None  # loaded for the first search
        self.samples = lru_cache(8)(self._samples)
        self.axes = lru_cache(32)(self._axes)

    @property
    def device(self) -> torch.device:
        """Where it computes"""
        return self.G.mapping.w_avg.device

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the generator. Who waits for it is next: work that lets go comes back after others."""
        with self.turn:
            self.lock.acquire()
        try:
            yield
        finally:
            self.lock.release()

    def facts(self) -> dict[str, object]:
        """What the page has to know"""
        height, width = sides(self.G.img_resolution)
        return {
            "height": height, "width": width, "classes": self.class_names,
            "layers": self.G.synthesis.num_ws_used, "directions": min(NUM_DIRECTIONS, self.G.w_dim),
            "near": NUM_NEAR, "projects": self.G.img_channels in MODES,
        }  # fmt: skip

    def draw(self, recipe: Recipe) -> dict[str, object]:
        """The image of a recipe, and the strengths of directions"""
        with self.alone():
            ws = self.compose(recipe)
            return {"image": encode_png(self._render(recipe, ws)[0]), "w": encode_styles(ws)}

    def surround(self, asked: Surroundings) -> list[dict[str, object]]:
        """Images near one, each with its styles before truncation"""
        recipe = asked.recipe
        with self.alone():
            ws = self.compose(recipe)
            seeds = [(asked.round * NUM_NEAR + place) % 2**32 for place in range(NUM_NEAR)]
            others = styles(self.G, seeds, self._label(recipe.class_index))
            near = vary(ws, others, self.samples(recipe.class_index).mean(dim=0), asked.distance)
            images = self._render(recipe, near)
        return [{"image": encode_png(img), "w": encode_styles(w[None])} for img, w in zip(images, near, strict=True)]

    def walk(self, asked: Walk, report: Report) -> None:
        """Record a video, reporting frames, and report it at the end."""
        with self.alone():
            keys = torch.cat([self._truncated(stop, self.compose(stop)) for stop in asked.stops])
            frames = styles_between(self.G, keys, asked.frames, curve="linear", loop=asked.loop)
        scale = scale_to(min(sides(self.G.img_resolution)), SIDE)
        pixels = len(frames) * math.prod(sides(self.G.img_resolution)) * scale**2
        if asked.kind == "gif" and pixels > MAX_GIF_PIXELS:
            raise RecipeError(
                f"a GIF of {counted(len(frames), 'frame')} of this size would fill the memory. Record an MP4."
            )
        with TemporaryDirectory() as folder:
            path = Path(folder) / f"walk.{asked.kind}"
            save_video(self._counted(frames, report), path, fps=FPS, scale=scale)
            report({"file": path.read_bytes(), "kind": asked.kind})

    def search(self, content: bytes, name: str, asked: Search, report: Report) -> None:
        """Project an image, reporting steps, and report what was found."""
        target, note = read_image(content, name, self.G)
        report({"target": encode_png(target), "note": note.strip()})
        config = published_search(
            space=asked.space, optimize_noise=False, num_steps=asked.num_steps, learning_rate=LEARNING_RATE, seed=0
        )
        label = class_labels(1, self.G.c_dim, asked.class_index)
        with self.alone():
            self.lpips = self.lpips or self._load_lpips()
            steps = project(self.G, target[None], label, self.lpips, config)
        while True:
            with self.alone():
                if (step := next(steps, None)) is None:
                    return
                found = self._found(step, config.num_steps)
            report(found)

    def _found(self, step: Step, num_steps: int) -> dict[str, object]:
        """What a step of a search is to the page: now and then with its image, at the end with its styles"""
        found: dict[str, object] = {"step": step.index, "distance": float(step.distance)}
        if step.index == num_steps or step.index % -(-num_steps // SEARCH_PREVIEWS) == 0:
            found["image"] = encode_png(render_styles(self.G, step.ws, batch_size=1)[0])
        return found | ({"w": encode_styles(step.ws)} if step.index == num_steps else {})

    def _load_lpips(self) -> Lpips:
        try:
            return load_lpips(self.distance, self.weights).to(self.device)
        except FileNotFoundError:
            raise RecipeError(
                f"{self.weights}: LPIPS is not there, which compares images. Run `stylegan assets` and drop the image "
                "again, or start the explorer with --distance random."
            ) from None

    def save(self, asked: Download) -> bytes:
        """The content of a file with the styles that draw the image, truncated"""
        with self.alone(), TemporaryDirectory() as folder:
            path = Path(folder) / f"w.{asked.kind}"
            save_styles(self._truncated(asked.recipe, self.compose(asked.recipe)), path)
            return path.read_bytes()

    def strengths(self, class_index: int | None, layers: Sequence[int]) -> dict[str, list[float]]:
        """What share each direction has, for its slider"""
        with self.alone():
            known = self._used(layers)
            return {kind: self.axes(kind, class_index, known)[2] for kind in ("pca", "affine")}

    def compose(self, recipe: Recipe) -> Tensor:
        """Styles of a recipe before truncation  ->  [1, L, w_dim]. Raises RecipeError, ValueError."""
        label = self._label(recipe.class_index)
        if recipe.w is None:
            ws = styles(self.G, [recipe.seed], label)
        else:
            ws = decode_styles(recipe.w, self.G.num_ws, self.G.w_dim).to(self.device)
        if recipe.mix_layers:
            ws = mix_styles(ws, styles(self.G, [recipe.mix_seed], label), recipe.mix_layers)[0]
        for kind, steps in (("pca", recipe.pca), ("affine", recipe.affine)):
            if any(steps) and recipe.layers:
                axes, units, _ = self.axes(kind, recipe.class_index, self._used(recipe.layers))
                moves = torch.tensor(steps, device=self.device) * units[: len(steps)]
                ws = move(ws, axes[: len(steps)], moves, recipe.layers)
        return ws

    def _axes(self, kind: str, class_index: int | None, layers: tuple[int, ...]) -> tuple[Tensor, Tensor, list[float]]:
        """Axes [K, w_dim], the length [K] of a step of one standard deviation, and shares of each"""
        w = self.samples(class_index)
        if kind == "pca":
            found = principal_components(w, NUM_DIRECTIONS)
        else:
            found = factorize_affine(self.G, NUM_DIRECTIONS, layers)
        return found.axes, spreads(w, found.axes), found.shares.tolist()

    def _samples(self, class_index: int | None) -> Tensor:
        """Draws of w [N, w_dim] under a label"""
        z = np.random.default_rng(0).standard_normal((NUM_SAMPLES, self.G.z_dim), dtype=np.float32)
        label = self._label(class_index).to(self.device).expand(NUM_SAMPLES, -1)
        with torch.no_grad():
            ws: Tensor = self.G.mapping(torch.from_numpy(z).to(self.device), label)
        return ws[:, 0]

    def _label(self, class_index: int | None) -> Tensor:
        return class_labels(1, self.G.c_dim, class_index)

    def _used(self, layers: Sequence[int]) -> tuple[int, ...]:
        most = self.G.synthesis.num_ws_used
        if wrong := [layer for layer in layers if layer >= most]:
            raise RecipeError(f"layer {wrong[0]} does not exist; this generator has 0 to {most - 1}.")
        return tuple(sorted(set(layers))) or tuple(range(most))

    def _truncated(self, recipe: Recipe, ws: Tensor) -> Tensor:
        return truncate(ws, self.G.mapping.w_avg, recipe.psi)

    def _render(self, recipe: Recipe, ws: Tensor) -> Tensor:
        return render_styles(self.G, self._truncated(recipe, ws), batch_size=BATCH_SIZE)

    def _counted(self, frames: Tensor, report: Report) -> Iterator[Tensor]:
        images = render_each(self.G, frames, batch_size=BATCH_SIZE)
        for place in range(len(frames)):
            with self.alone():
                image = next(images)
            if place % BATCH_SIZE == 0:
                report({"frame": place, "of": len(frames)})
            yield image
