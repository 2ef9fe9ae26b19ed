"""Readers of files of networks: our own, official ones, extractors, and styles."""

import contextlib
import io
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ray.train import Checkpoint
from safetensors.torch import save
from torch import Tensor, nn

from benchmarks.hostile.guard import own_doing
from benchmarks.hostile.reader import Reader
from pipelines.artifacts import ticks
from pipelines.artifacts.ticks import TickRow
from pipelines.params import Params, load
from pipelines.train import integrity, snapshots
from stylegan.checkpoint import load_checkpoint, load_networks, save_checkpoint, save_generator, save_networks
from stylegan.drawing.generate import generate_images, render_styles
from stylegan.drawing.style_files import load_styles, save_styles
from stylegan.files import write_json
from stylegan.generators import class_of, load_any_generator
from stylegan.metrics.extractors import lpips, model_files, trial
from stylegan.metrics.extractors.efficientnet import STAGES
from stylegan.metrics.extractors.loading import EFFICIENTNET_FILE, EfficientNetExtractor
from stylegan.networks import Generator
from stylegan.official import load_official
from stylegan.state import TrainState
from stylegan.step import Trainer
from stylegan.transfer import transfer
from tests.conftest import REPOSITORY, TINY
from tests.official_files import Style, official, small_discriminator, small_generator
from tests.official_tensorflow import tensorflow_file

CLASSES = ["circle", "square"]


def fresh(params: Params, c_dim: int = 2) -> TrainState:
    return TrainState.create(params, img_resolution=16, img_channels=3, c_dim=c_dim, device=torch.device("cpu"))


def step(state: TrainState) -> None:
    """One step on random images"""

    def draw_c(n: int) -> Tensor:
        return torch.eye(state.G.c_dim)[torch.arange(n) % max(state.G.c_dim, 1)] if state.G.c_dim else torch.zeros(n, 0)

    trainer = Trainer(state, draw_c)
    trainer.step(torch.rand(4, 3, 16, 16) * 2 - 1, draw_c(4))
    trainer.check_finite()


def draw(G: Generator) -> None:
    """One image"""
    c = torch.eye(G.c_dim)[:1] if G.c_dim else None
    generate_images(G, [0], psi=0.7, cutoff=None, noise_mode="const", c=c, batch_size=1)


def trained(params: Params) -> TrainState:
    """A state with moments of both optimisers"""
    state = fresh(params)
    step(state)
    step(state)
    return state


def contents(make: Callable[[Path], object]) -> dict[str, bytes]:
    """What a function writes into a folder"""
    with tempfile.TemporaryDirectory() as name:
        make(Path(name))
        return {path.name: path.read_bytes() for path in Path(name).iterdir()}


def own_readers(params: Params) -> list[Reader]:
    state = trained(params)

    def write_checkpoint(folder: Path) -> None:
        save_checkpoint(state, folder / "state.safetensors")
        row = TickRow.of({"nimg": 8.0, "kimg": 0.008, "loss/G": 0.5, "monitor/kid": 0.1})
        ticks.write_one(folder / snapshots.ROW, row)
        write_json(folder / snapshots.MEASURED_BY, "0123abcd")
        write_json(folder / snapshots.SUMS, {"loss/G": [1.0, 2.0]})

    def write_sealed(folder: Path) -> None:
        write_checkpoint(folder)
        integrity.seal(folder)

    def read_checkpoint(folder: Path) -> tuple[TrainState, dict[str, Any]]:
        found = fresh(params)
        _, sums, _ = snapshots._load(found, Checkpoint.from_directory(str(folder)))
        return found, dict(sums)

    def go_on(found: tuple[TrainState, dict[str, Any]]) -> None:
        step(found[0])
        trainer = Trainer(found[0], lambda n: torch.zeros(n, 2))
        trainer.stats.include(found[1])
        trainer.stats.pop_sums()

    def read_state(folder: Path) -> TrainState:
        found = fresh(params)
        load_checkpoint(found, folder / "state.safetensors")
        return found

    def start_from(folder: Path) -> TrainState:
        found = fresh(params, c_dim=3)
        list(transfer(found, load_networks(folder / "networks.safetensors"), "average").lines())
        return found

    state_file = contents(lambda folder: save_checkpoint(state, folder / "state.safetensors"))
    generator = contents(lambda folder: save_generator(state.G_ema, folder / "generator.safetensors", CLASSES))
    networks = contents(
        lambda folder: save_networks(
            folder / "networks.safetensors", G=state.G, D=state.D, G_ema=state.G_ema, augment_p=0.1, source="a test"
        )
    )
    return [
        Reader("checkpoint folder with checksums", "training state", contents(write_sealed), read_checkpoint, go_on),
        Reader("checkpoint folder", "training state", contents(write_checkpoint), read_checkpoint, go_on),
        Reader("training state", "training state", state_file, read_state, step),
        Reader("networks to start from", "training state", networks, start_from, step),
        Reader("generator file", "generator files", generator, lambda f: drawable(f / "generator.safetensors"),
        draw_named),
        Reader("generator of a state", "generator files", state_file, lambda f: drawable(f / "state.safetensors"),
        draw_named),
    ]  # fmt: skip


def drawable(path: Path) -> tuple[Generator, list[str] | None]:
    return load_any_generator(path)


def draw_named(found: tuple[Generator, list[str] | None]) -> None:
    """An image of a class by its name"""
    G, names = found
    draw(G)
    if names:
        class_of(names[-1], G, names)


def official_readers() -> list[Reader]:
    tiny = {"resolution": 8, "channel_max": 2, "mapping_layers": 1, "z_dim": 2, "w_dim": 2}
    tiny_D = {"resolution": 8, "channel_max": 2, "mapping_layers": 0}

    def read(folder: Path) -> Any:
        return load_official(folder / "official.pkl")

    def use(found: Any) -> None:
        draw(found.G_ema)
        with tempfile.TemporaryDirectory(dir=".") as name:
            path = Path(name) / "networks.safetensors"
            nets = {"G": found.G, "D": found.D, "G_ema": found.G_ema}
            save_networks(path, augment_p=found.augment_p, source="a test", **nets)
            load_networks(path)

    files = {
        "official pickle": official(small_generator(**tiny), small_discriminator(**tiny_D), Style(protocol=4)),
        "official pickle, protocol 2": official(small_generator(c_dim=2, **tiny), small_discriminator(c_dim=2,
        **tiny_D), Style(protocol=2)),
        "official pickle, StyleGAN3 code": official(small_generator(**tiny), small_discriminator(**tiny_D),
        Style(is_flat=True)),
        "official pickle, TensorFlow": tensorflow_file(small_generator(**tiny), small_discriminator(**tiny_D)),
    }  # fmt: skip
    return [Reader(name, "official pickles", {"official.pkl": content}, read, use) for name, content in files.items()]


class Features(nn.Module):
    """An extractor as users write them"""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)

    def forward(self, img: Tensor) -> Tensor:
        return self.conv(img.float() / 255).mean(dim=[2, 3])


def efficientnet_weights() -> dict[str, Tensor]:
    """A network of the same graph, four channels wide"""
    tensors: dict[str, Tensor] = {}

    def conv(prefix: str, name: str, norm: str, *shape: int) -> None:
        tensors[f"{prefix}{name}.weight"] = torch.randn(shape) * 0.1
        for term in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"{prefix}{norm}.{term}"] = torch.rand(shape[0]) + 0.5

    conv("", "_conv_stem", "_bn0", 4, 3, 3, 3)
    number = 0
    for num_blocks, _, expansion in STAGES:
        for _ in range(num_blocks):
            prefix = f"_blocks.{number}."
            if expansion > 1:
                conv(prefix, "_expand_conv", "_bn0", 4, 4, 1, 1)
            conv(prefix, "_depthwise_conv", "_bn1", 4, 1, 3, 3)
            conv(prefix, "_project_conv", "_bn2", 4, 4, 1, 1)
            number += 1
    conv("", "_conv_head", "_bn1", 1280, 4, 1, 1)
    return tensors | {"_fc.weight": torch.zeros(10, 1280), "_fc.bias": torch.zeros(10)}


def try_in_fork(path: Path, input_size: int) -> tuple[int, bytes]:
    """As trial.execute, by a copy of this process, which has imported what another one would"""
    source, target = os.pipe()
    token = own_doing.set(True)
    pid = os.fork()
    own_doing.reset(token)
    if pid == 0:
        status = 1
        with contextlib.suppress(BaseException):
            limits = trial.max_sec(path), trial.max_bytes(path)
            os.write(target, trial.answer(model_files.examine, path, input_size, *limits))
            status = 0
        os._exit(status)
    os.close(target)
    with os.fdopen(source, "rb") as pipe:
        answer = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), answer


def extractor_readers() -> list[Reader]:
    trial.execute = try_in_fork
    network = Features().eval()
    img = torch.zeros(2, 3, 32, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network, img), script := io.BytesIO())
        with contextlib.redirect_stdout(io.StringIO()):
            torch.onnx.export(
                network, (img,), onnx := io.BytesIO(), dynamic_axes={"img": {0: "n"}}, input_names=["img"], dynamo=False
            )

    def use(extractor: Any) -> None:
        features = extractor(torch.zeros(3, 3, 20, 20, dtype=torch.uint8))
        assert features.shape == (3, extractor.num_features), "features of another shape"

    def compare(distance: Any) -> None:
        distance(torch.zeros(2, 3, 16, 16), torch.ones(2, 3, 16, 16))

    def from_file(name: str) -> Callable[[Path], Any]:
        return lambda folder: model_files.FileExtractor(folder / name, 32)

    heads = {name: tensor.contiguous() for name, tensor in lpips._random_weights().items()}
    group = "extractor files"
    return [
        Reader("TorchScript extractor", group, {"e.pt": script.getvalue()}, from_file("e.pt"), use),
        Reader("ONNX extractor", group, {"e.onnx": onnx.getvalue()}, from_file("e.onnx"), use),
        Reader(
            "EfficientNet weights", group, {EFFICIENTNET_FILE: save(efficientnet_weights())},
            lambda folder: EfficientNetExtractor(folder / EFFICIENTNET_FILE, 32), use,
        ),
        Reader(
            "LPIPS weights", group, {lpips.LPIPS_FILE: save(heads)},
            lambda folder: lpips.load_lpips("lpips_vgg16", folder), compare,
        ),
    ]  # fmt: skip


def style_readers(G: Generator) -> list[Reader]:
    ws = torch.randn(2, G.num_ws, G.w_dim)

    def reader(suffix: str) -> Reader:
        files = contents(lambda folder: save_styles(ws, folder / f"w{suffix}"))
        return Reader(
            f"styles ({suffix})", "generator files", files,
            lambda folder: load_styles(folder / f"w{suffix}", G.num_ws, G.w_dim),
            lambda found: render_styles(G, found[:2], batch_size=2),
        )  # fmt: skip

    return [reader(".npz"), reader(".safetensors")]


def model_readers() -> tuple[list[Reader], Generator]:
    """All of them, and a generator of 16 x 16 RGB"""
    torch.manual_seed(0)
    params = load(REPOSITORY / "params.yaml", TINY)
    G = fresh(params, c_dim=0).G_ema.eval().requires_grad_(False)
    readers = [*own_readers(params), *official_readers(), *extractor_readers(), *style_readers(G)]
    return readers, G
