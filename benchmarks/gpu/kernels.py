"""Operations of the networks and of the augmentation, alone, next to one pass over their tensors.

A pass reads every input and writes every output once, at the bandwidth of a copy on the device; forward and backward
together are two. A row is a name and a function that makes its tensors; new kernels are new rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu.job import Job
from benchmarks.gpu.timing import milliseconds
from benchmarks.settings import TINY, config
from benchmarks.workload import prepare
from stylegan.augment import AugmentPipe
from stylegan.augment.warp import SYM6
from stylegan.config.sections import Kernels
from stylegan.networks.generator import SynthesisLayer
from stylegan.networks.layers import Conv2dLayer
from stylegan.ops import bias_act, downsample2d, setup_filter, upfirdn2d, upsample2d

REPEATS = 10
COPY_BYTES = 2**28
LEAST_SEC = 3.0  # to begin another row
RESAMPLE = (1.0, 3.0, 3.0, 1.0)


@dataclass(frozen=True)
class Sizes:
    """Of the highest resolution of paper256 at batch 32, which is what gpu time goes to."""

    batch: int
    channels: int
    pixels: int
    dtype: torch.dtype
    device: torch.device

    def maps(self, add: int = 0, halve: int = 1) -> Tensor:
        """Feature maps, channels last, that want a gradient  [N, C, H + add, W + add]"""
        size = self.pixels // halve + add
        x = torch.randn(self.batch, self.channels, size, size, device=self.device).to(self.dtype)
        return x.contiguous(memory_format=torch.channels_last).requires_grad_()

    def images(self, scale: int = 1) -> Tensor:
        """float32 [N, 3, H * scale, W * scale], that want a gradient"""
        return torch.randn(
            self.batch, 3, self.pixels * scale, self.pixels * scale, device=self.device, requires_grad=True
        )

    def filter(self, taps: tuple[float, ...]) -> Tensor:
        return setup_filter(taps).to(self.device)

    def vector(self) -> Tensor:
        return torch.randn(self.channels, device=self.device, requires_grad=True)

    def each(self) -> Tensor:
        """A number for each image and channel  [N, C]"""
        return torch.randn(self.batch, self.channels, device=self.device, requires_grad=True)


Operation = tuple[Callable[..., Tensor], tuple[Tensor, ...]]  # a function and the tensors it is called with
Make = Callable[[Sizes], Operation]


def fir_up(s: Sizes) -> Operation:
    """Behind the transposed convolution of an upsampling layer"""
    f = s.filter(RESAMPLE)
    return lambda x: upfirdn2d(x, f, padding=(1, 1, 1, 1), gain=4), (s.maps(add=1),)


def fir_before_down(s: Sizes) -> Operation:
    """In front of the convolution of stride 2"""
    f = s.filter(RESAMPLE)
    return lambda x: upfirdn2d(x, f, padding=(2, 2, 2, 2)), (s.maps(),)


def fir_down(s: Sizes) -> Operation:
    """In front of D's shortcut"""
    f = s.filter(RESAMPLE)
    return lambda x: downsample2d(x, f), (s.maps(),)


def image_up(s: Sizes) -> Operation:
    """Colours of a block, for the next one"""
    f = s.filter(RESAMPLE).sum(dim=0)
    return lambda x: upsample2d(x, f), (s.images(),)


def warp_up(s: Sizes) -> Operation:
    """12 taps, of the augmentation, on images with their margins"""
    f = s.filter(SYM6)
    return lambda x: upsample2d(x, f), (s.images(scale=3),)


def warp_down(s: Sizes) -> Operation:
    f = s.filter(SYM6)
    return lambda x: downsample2d(x, f, flip_filter=True), (s.images(scale=2),)


def warp(s: Sizes) -> Operation:
    """The whole resampling, each image turned by the same angle"""
    pipe = AugmentPipe.from_multipliers(rotate=1).to(s.device)
    return lambda x: pipe(x, p=1.0, percentile=0.7), (s.images(),)


def grid_sample(s: Sizes) -> Operation:
    """Of the augmentation's doubled grid"""
    theta = torch.tensor([[0.9, -0.3, 0.1], [0.3, 0.9, -0.1]], device=s.device).repeat(s.batch, 1, 1)
    grid = F.affine_grid(theta, [s.batch, 3, 2 * s.pixels, 2 * s.pixels], align_corners=False)
    return lambda x: F.grid_sample(x, grid, align_corners=False), (s.images(scale=2),)


def modulation(s: Sizes) -> Operation:
    """Styles on the input of a convolution"""
    return lambda x, styles: x * styles.to(x.dtype)[:, :, None, None], (s.maps(), s.each())


def epilogue_d(s: Sizes) -> Operation:
    """Bias, leaky ReLU, gain, clamp"""
    return lambda x, bias: bias_act(x, bias, "lrelu", gain=2**0.5, clamp=256), (s.maps(), s.vector())


def layer_g(s: Sizes) -> Operation:
    """A whole synthesis layer: modulation, convolution, demodulation, noise, bias, leaky ReLU, gain, clamp"""
    return _synthesis_layer(s, up=1), (s.maps(), s.each())


def layer_g_up(s: Sizes) -> Operation:
    """The same, doubling the resolution"""
    return _synthesis_layer(s, up=2), (s.maps(halve=2), s.each())


def _synthesis_layer(s: Sizes, up: int) -> Callable[..., Tensor]:
    # As many numbers in w as in styles, because versions differ in which of them a layer is given.
    settings = config(TINY, 4, "fp16").generator.model_copy(update={"w_dim": s.channels})
    layer = SynthesisLayer(settings, s.channels, s.channels, (s.pixels, s.pixels), up=up).to(s.device)
    return lambda x, styles: layer(x, styles, "random")


def layer_d_down(s: Sizes) -> Operation:
    """D's layer that halves the resolution"""
    layer = Conv2dLayer(s.channels, s.channels, 3, "lrelu", down=2, clamp=256).to(s.device)
    return layer, (s.maps(),)


MAPS: tuple[Make, ...] = (
    fir_up, fir_before_down, fir_down, modulation, epilogue_d, layer_g, layer_g_up, layer_d_down,
)  # fmt: skip
IMAGES: tuple[Make, ...] = (image_up, warp_up, warp_down, warp, grid_sample)  # float32 in every precision


def run(job: Job) -> None:
    """Time every row with every choice of kernels."""
    bandwidth = copy_bandwidth(job.device, COPY_BYTES if job.device.type == "cuda" else 2**22)
    job.record(bandwidth / 1e9, "copy_gb_per_sec")
    job.say(f"copy {bandwidth / 1e9:.0f} GB/s; ms (times one pass): forward, forward and backward")
    dtypes = (torch.float16,) if job.options.tiny else (torch.bfloat16, torch.float16, torch.float32)
    for dtype in dtypes:
        is_first = dtype == dtypes[0]
        sizes = Sizes(*((2, 4, 16) if job.options.tiny else (32, 64, 256)), dtype, job.device)
        for make in (*MAPS, *IMAGES) if is_first else MAPS:
            if job.left_sec < LEAST_SEC:
                job.say(f"{make.__name__} and what follows: no time left")
                return
            cells = {choice: row(make, sizes, bandwidth, choice) for choice in get_args(Kernels)}
            precision = str(dtype).removeprefix("torch.")
            job.record(cells, precision, make.__name__)
            if is_first:  # the others are in the JSON
                job.say(f"{precision} {make.__name__}: {'; '.join(text(*cell) for cell in cells.items())}")


def row(make: Make, sizes: Sizes, bandwidth: float, choice: Kernels) -> dict[str, float | str]:
    """Times of one operation with one choice of kernels, and what they are of one pass; or the error"""
    try:
        prepare(sizes.device, choice)
        function, tensors = make(sizes)
        with torch.no_grad():
            out = function(*tensors)
            forward = milliseconds(lambda: function(*tensors), sizes.device, repeats=REPEATS)
        grad = torch.ones_like(out)
        both = milliseconds(
            lambda: torch.autograd.grad(function(*tensors), tensors, grad), sizes.device, repeats=REPEATS
        )
    except Exception as error:  # one row must not cost the others
        return {"error": str(error).splitlines()[0][:200]}
    one_pass = 1000 * sum(each.numel() * each.element_size() for each in (*tensors, out)) / bandwidth
    return {"forward_ms": forward, "both_ms": both, "forward": forward / one_pass, "both": both / (2 * one_pass)}


def text(choice: str, cell: dict[str, float | str]) -> str:
    """ "stock 8.67 (48.0x), 11.20 (31.0x)" """
    if "error" in cell:
        return f"{choice} failed: {cell['error']}"
    return f"{choice} {cell['forward_ms']:.2f} ({cell['forward']:.1f}x), {cell['both_ms']:.2f} ({cell['both']:.1f}x)"


def copy_bandwidth(device: torch.device, size: int) -> float:
    """Bytes a second, read and written, of a copy on the device"""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / (milliseconds(lambda: target.copy_(source), device, repeats=REPEATS, warm_up=3) / 1000)
