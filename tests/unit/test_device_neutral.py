"""Networks, losses and augmentation compute where their tensors are: nothing in a forward or backward pass is made on
the default device. The device here is `meta`, which holds shapes only and refuses to mix with any other."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipelines.params import Params
from stylegan import loss
from stylegan.augment import AugmentPipe, diffaugment
from stylegan.augment.one_copy import copy_together
from stylegan.config.sections import MultipliersConfig
from stylegan.data.loader import sent
from stylegan.networks import Discriminator, Generator, truncate
from stylegan.state import TrainState
from stylegan.step import Trainer

Make = Callable[..., Params]
ARCHITECTURES = ["orig", "skip", "resnet"]
DTYPES = [torch.float32, torch.bfloat16]


class Births(TorchDispatchMode):
    """Names of the operations that bring a tensor onto the CPU, whose inputs were elsewhere or nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if _on_cpu(out) and not _on_cpu((args, kwargs)):
            self.names.append(str(func))
        return out


def _on_cpu(values: Any) -> bool:
    return any(isinstance(leaf, Tensor) and leaf.device.type == "cpu" for leaf in tree_leaves(values))


@pytest.fixture
def births() -> Iterator[list[str]]:
    """Grows while the test runs"""
    with Births() as mode:
        yield mode.names


def on_meta(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta", requires_grad=True)


def all_transforms() -> AugmentPipe:
    return AugmentPipe.from_multipliers(**dict.fromkeys(MultipliersConfig.model_fields, 1.0))


def test_the_check_sees_what_is_made_on_the_cpu(births: list[str]) -> None:
    torch.zeros(3, device="meta") + 1
    assert births == []
    torch.zeros(3)
    assert births == ["aten.zeros.default"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_generator_and_path_length(architecture: str, dtype: torch.dtype, make_params: Make, births: list[str]) -> None:
    params = make_params(f"generator.architecture={architecture}", "generator.conv_clamp=256.0")
    G = Generator(params.generator, img_resolution=32, img_channels=3, c_dim=2, dtype=dtype).to("meta")
    births.clear()
    ws = truncate(G.mapping(on_meta(4, 8), on_meta(4, 2)), G.mapping.w_avg, psi=0.5, cutoff=3)
    img = G.synthesis(ws, noise_mode="random")
    G.mapping.track_w_avg(ws[:, 0].mean(dim=0), 0.9)
    penalty, mean = loss.path_length_penalty(img, ws, torch.zeros([], device="meta"), 0.01)
    penalty.mean().backward()
    assert (img.shape, img.device.type, mean.device.type) == ((4, 3, 32, 32), "meta", "meta")
    assert G.synthesis.b4.const.grad is not None
    assert births == []


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_discriminator_and_losses(architecture: str, dtype: torch.dtype, make_params: Make, births: list[str]) -> None:
    params = make_params(f"discriminator.architecture={architecture}", "discriminator.conv_clamp=256.0")
    D = Discriminator(params.discriminator, img_resolution=32, img_channels=3, c_dim=2, dtype=dtype).to("meta")
    births.clear()
    img = on_meta(4, 3, 32, 32)
    logits = D(img, on_meta(4, 2))
    total = loss.r1_penalty(logits, img) + loss.generator_loss(logits)
    (total + loss.discriminator_real_loss(logits) + loss.discriminator_gen_loss(logits)).mean().backward()
    assert (logits.shape, logits.device.type) == ((4, 1), "meta")
    assert D.b4.out.weight.grad is not None
    assert births == []


class Work(TorchDispatchMode):
    """Operations on the CPU, and those that take numbers from it to the device or back"""

    def __init__(self) -> None:
        super().__init__()
        self.cpu: list[str] = []
        self.crossings: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        devices = {leaf.device.type for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)}
        if "meta" not in devices:
            self.cpu.append(str(func))
        elif "cpu" in devices:
            self.crossings.append(str(func))
        return out


# Above and below the size up to which images are resampled by matrices; the first is not square.
SIZES = [(136, 144), (32, 32)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("p", [0.3, 1.0])
def test_augmentation_draws_small_numbers_on_the_cpu_and_brings_them_in_one_copy(
    p: float, channels: int, size: tuple[int, int]
) -> None:
    """What needs the device's numbers on the CPU, or an index of unknown size, raises on meta tensors."""
    img, pipe = on_meta(8, channels, *size), all_transforms().to("meta")
    pipe(img, p=1.0)  # what depends on the device alone is made once
    with Work() as work:
        out = pipe(img, p=p)
        (grad,) = torch.autograd.grad(out.square().sum(), img, create_graph=True)
        grad.square().sum().backward()
    assert img.grad is not None
    assert (out.shape, out.device.type, img.grad.device.type) == ((8, channels, *size), "meta", "meta")
    assert work.crossings == ["aten._to_copy.default"]


@pytest.mark.parametrize("transforms", ["those of the default run", "all"])
def test_the_small_numbers_of_a_call_take_few_operations(transforms: str) -> None:
    """However many images there are; before strengths were drawn together there were 536 and 635, views included."""
    off = {"imgfilter": 0.0, "noise": 0.0, "cutout": 0.0} if transforms != "all" else {}
    pipe = AugmentPipe.from_multipliers(**(dict.fromkeys(MultipliersConfig.model_fields, 1.0) | off)).to("meta")
    for num_images in (2, 64):
        with Work() as work:
            pipe(on_meta(num_images, 3, 32, 32), p=0.6)
        assert len(work.cpu) <= (280 if transforms == "all" else 190)


def test_a_step_waits_for_the_device_only_when_p_moves(make_params: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """All four phases, the averages and the checks: what asks for a number of the device raises on meta tensors."""
    params = make_params("augment.p=0.6", "augment.ada_interval=4", "loss.g_reg_interval=2", "loss.d_reg_interval=2")
    state = TrainState.create(params, img_resolution=16, img_channels=3, c_dim=0, device=torch.device("meta"))
    for optimizer in (state.opt_g, state.opt_d):  # fused Adam knows no meta tensors
        monkeypatch.setattr(optimizer, "step", lambda: None)
    asked_at: list[int] = []
    monkeypatch.setattr(TrainState, "_overfitting", lambda self: asked_at.append(self.batch_idx) or 1.0)
    trainer = Trainer(state, lambda n: torch.empty(n, 0, device="meta"))
    img, c = torch.empty(4, 3, 16, 16, device="meta"), torch.empty(4, 0, device="meta")
    trainer.step(img, c)  # what depends on the device alone is made once
    for _ in range(8):
        with Work() as work:
            trainer.step(img, c)
        augmented = 3 + (state.batch_idx % 2)  # generated images twice and real ones, which Dreg sees again
        assert work.crossings == ["aten._to_copy.default"] * augmented
    assert asked_at == [4, 8]


def test_diffaugment_brings_its_numbers_in_one_copy() -> None:
    img = on_meta(4, 3, 32, 32)
    with Work() as work:
        out = diffaugment(img, ["color", "translation", "cutout"])
        out.square().sum().backward()
    assert (out.shape, work.crossings) == (img.shape, ["aten._to_copy.default"])
    assert len(work.cpu) <= 20


class OnGpu(Tensor):
    """What is copied onto a GPU, where there is none to copy to"""

    is_cuda = True  # type: ignore[assignment]


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Of each copy, whether it is from pinned memory and whether anything waits for it; it stays on the CPU"""
    found: list[tuple[str, ...]] = []
    pinned: list[Tensor] = []

    def pin_memory(x: Tensor) -> Tensor:
        pinned.append(x)
        return x

    def to(x: Tensor, *_: Any, non_blocking: bool = False) -> Tensor:
        where = "pinned" if any(x is each for each in pinned) else "pageable"
        found.append((where, "waits not" if non_blocking else "waits"))
        return x

    monkeypatch.setattr(Tensor, "pin_memory", pin_memory)
    monkeypatch.setattr(Tensor, "to", to)
    return found


def test_small_numbers_reach_a_gpu_in_one_copy_from_pinned_memory_that_nothing_waits_for(
    copies: list[tuple[str, ...]],
) -> None:
    parts = {"one": torch.arange(3.0), "other": torch.ones(2, 2)}
    got = copy_together(parts, torch.zeros(1).as_subclass(OnGpu))
    assert copies == [("pinned", "waits not")]
    assert all(torch.equal(got[name], part) for name, part in parts.items())


def test_indices_and_images_reach_a_gpu_from_pinned_memory(copies: list[tuple[str, ...]]) -> None:
    sent(torch.arange(3), torch.device("cuda"))
    sent(torch.arange(3), torch.device("cpu"))
    assert copies == [("pinned", "waits not"), ("pageable", "waits")]


CUDA = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU"),
]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
def test_everything_together_under_second_derivatives(device: str, tiny_params: Params) -> None:
    """R1 through the whole pipe, and path length, on a device that computes."""
    G = Generator(tiny_params.generator, img_resolution=32, img_channels=3, c_dim=0).to(device)
    D = Discriminator(tiny_params.discriminator, img_resolution=32, img_channels=3, c_dim=0).to(device)
    pipe = all_transforms().to(device)
    ws = G.mapping(torch.randn(4, 8, device=device), torch.zeros(4, 0, device=device))
    img = G.synthesis(ws)
    penalty, _ = loss.path_length_penalty(img, ws, torch.zeros([], device=device), 0.01)
    real_img = img.detach().requires_grad_()
    r1 = loss.r1_penalty(D(pipe(real_img, p=1.0), torch.zeros(4, 0, device=device)), real_img)
    (penalty + r1).mean().backward()
    for parameter in (G.synthesis.b4.const, D.b32.conv0.weight):
        assert parameter.grad is not None
        assert parameter.grad.device.type == device
        assert parameter.grad.isfinite().all()
        assert parameter.grad.any()
