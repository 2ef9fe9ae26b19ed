"""Zero-insert, pad, filter and decimate images: the resampling under every up- and downsampling layer.

N batch, C channels, H W image, f filter taps.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.ops import kernels
from stylegan.ops.kernels import differentiable

SEPARABLE_TAPS = 8  # from this length on two 1-D passes cost less than one 2-D pass


def setup_filter(f: Sequence[float] | Tensor) -> Tensor:
    """Taps -> float32 filter of sum 1: [f] stays separable from 8 taps on, else [f, f]; a 2-D filter stays 2-D.

    Raises ValueError for an empty filter or one of more than two dimensions.
    """
    taps = torch.as_tensor(f, dtype=torch.float32)
    if taps.ndim not in (1, 2) or taps.numel() == 0:
        raise ValueError(f"filter has shape {list(taps.shape)}; expected 1 or 2 dimensions with at least one tap each")
    if taps.ndim == 1 and taps.numel() < SEPARABLE_TAPS:
        taps = torch.outer(taps, taps)
    return taps / taps.sum()


def upfirdn2d(
    x: Tensor,
    f: Tensor,
    up: int | Sequence[int] = 1,
    down: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    gain: float = 1,
    flip_filter: bool = False,
) -> Tensor:
    """Insert up - 1 zeros after each pixel, pad (or crop), convolve with f, keep every down-th pixel, times gain.

    x [N, C, H, W], f [f] (separable) or [fh, fw]; up and down are one factor or (x, y); padding of the upsampled image
    is one number, (x, y) or (x0, x1, y0, y1), negative values crop. flip_filter correlates instead of convolving.
    Differentiable any number of times with respect to x. Raises ValueError for a filter of another shape.
    """
    up_x, up_y = _pair(up)
    down_x, down_y = _pair(down)
    x0, x1, y0, y1 = _quad(padding)
    if f.ndim == 1:
        x = _resample(x, f[None, :], (up_x, 1), (down_x, 1), (x0, x1, 0, 0), gain, flip_filter)
        return _resample(x, f[:, None], (1, up_y), (1, down_y), (0, 0, y0, y1), 1, flip_filter)
    if f.ndim != 2:
        raise ValueError(f"filter has shape {list(f.shape)}; expected [f] or [fh, fw], see setup_filter")
    return _resample(x, f, (up_x, up_y), (down_x, down_y), (x0, x1, y0, y1), gain, flip_filter)


def upsample2d(x: Tensor, f: Tensor, up: int = 2, flip_filter: bool = False) -> Tensor:
    """[N, C, H, W] -> [N, C, H * up, W * up], at unit DC gain and centred"""
    taps = f.shape[-1]
    pad = ((taps + up - 1) // 2, (taps - up) // 2)
    return upfirdn2d(x, f, up=up, padding=(*pad, *pad), gain=up**2, flip_filter=flip_filter)


def upsample2d_add(x: Tensor, f: Tensor, other: Tensor) -> Tensor:
    """upsample2d(x) + other  x [N, C, H, W], f [f, f] an outer product, other [N, C, 2 H, 2 W]"""
    if not kernels.handles("upfirdn2d", x):
        return upsample2d(x, f.sum(dim=0)) + other  # one factor filters the few channels of an image faster
    taps = f.shape[-1]
    pad = ((taps + 1) // 2, (taps - 2) // 2)
    return _resample(x, f, (2, 2), (1, 1), (*pad, *pad), 4, False, other)


def fork_downsample2d(x: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
    """x itself, and x at half the size; joins the gradients of both in one pass  [N, C, H, W] -> x, [N, C, H/2, W/2]"""
    if not kernels.handles("upfirdn2d", x):
        return x, downsample2d(x, f)
    taps = f.shape[-1]
    pad = ((taps - 1) // 2, (taps - 2) // 2)
    found: tuple[Tensor, Tensor] = _Fork.apply(x, f, (*pad, *pad))  # type: ignore[no-untyped-call]
    return found


def downsample2d(x: Tensor, f: Tensor, down: int = 2, flip_filter: bool = False) -> Tensor:
    """[N, C, H, W] -> [N, C, H / down, W / down], centred"""
    taps = f.shape[-1]
    pad = ((taps - down + 1) // 2, (taps - down) // 2)
    return upfirdn2d(x, f, down=down, padding=(*pad, *pad), flip_filter=flip_filter)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    x, y = (value, value) if isinstance(value, int) else value
    return int(x), int(y)


def _quad(value: int | Sequence[int]) -> tuple[int, int, int, int]:
    if isinstance(value, int):
        return value, value, value, value
    if len(value) == 2:
        return value[0], value[0], value[1], value[1]
    x0, x1, y0, y1 = value
    return int(x0), int(x1), int(y0), int(y1)


Pair = tuple[int, int]
Quad = tuple[int, int, int, int]


def _resample(
    x: Tensor, f: Tensor, up: Pair, down: Pair, pad: Quad, gain: float, flip: bool, other: Tensor | None = None
) -> Tensor:
    """upfirdn2d of one 2-D filter, plus `other`"""
    if up == down == (1, 1) and pad == (0, 0, 0, 0) and f.shape == (1, 1):
        out = x * (f[0, 0] * gain)
        return out if other is None else out + other
    filtered: Tensor = _Upfirdn2d.apply(x, f, other, up, down, pad, gain, flip)  # type: ignore[no-untyped-call]
    return filtered


class _Upfirdn2d(torch.autograd.Function):
    """The operation is linear and its adjoint is itself with up and down exchanged and the filter flipped.

    Saying so keeps every derivative as cheap as the forward pass: autograd's own double backward of a depthwise
    convolution is several times slower.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, f: Tensor, other: Tensor | None, up: Pair, down: Pair, pad: Quad, gain: float, flip: bool
    ) -> Tensor:
        ctx.save_for_backward(f)
        ctx.args = (up, down, pad, gain, flip)
        ctx.in_size = x.shape[2:]
        out = _filter(x, f, up, down, pad, gain, flip, other)
        ctx.out_size = out.shape[2:]
        ctx.set_materialize_grads(False)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        if grads[0] is None:
            return (None,) * 8
        (f,) = ctx.saved_tensors
        up, down, pad, gain, flip = ctx.args
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = adjoint(grads[0], f, up, down, pad, gain, flip, ctx.in_size, ctx.out_size)
        return grad_x, None, grads[0] if ctx.needs_input_grad[2] else None, None, None, None, None, None


def adjoint(
    grad: Tensor, f: Tensor, up: Pair, down: Pair, pad: Quad, gain: float, flip: bool, in_size: Sequence[int],
    out_size: Sequence[int], other: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Gradient of upfirdn2d's input of in_size from that of its result of out_size, both (H, W), plus `other`"""
    (in_h, in_w), (out_h, out_w), (fh, fw) = in_size, out_size, f.shape
    adjoint_pad = (
        fw - 1 - pad[0],
        in_w * up[0] - out_w * down[0] + pad[0] - up[0] + 1,
        fh - 1 - pad[2],
        in_h * up[1] - out_h * down[1] + pad[2] - up[1] + 1,
    )
    return _resample(grad, f, down, up, adjoint_pad, gain, not flip, other)


class _Fork(torch.autograd.Function):
    """Of a tensor that is used as it is and at half the size."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, f: Tensor, pad: Quad) -> tuple[Tensor, Tensor]:
        out = _filter(x, f, (1, 1), (2, 2), pad, 1, False, None)
        ctx.save_for_backward(f)
        ctx.args = (pad, x.shape[2:], out.shape[2:])
        ctx.set_materialize_grads(False)
        return x.view_as(x), out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None, None]:
        same, small = grads
        if small is None:
            return same, None, None
        (f,), (pad, in_size, out_size) = ctx.saved_tensors, ctx.args
        return adjoint(small, f, (1, 1), (2, 2), pad, 1, False, in_size, out_size, same), None, None


def _filter(
    x: Tensor, f: Tensor, up: Pair, down: Pair, pad: Quad, gain: float, flip: bool, other: Tensor | None
) -> Tensor:
    if kernels.handles("upfirdn2d", x) and 1 in (up[0], down[0]) and 1 in (up[1], down[1]):
        return differentiable.upfirdn2d(x, f, other, up, down, pad, gain, flip)
    out = filter_stock(x, f, up, down, pad, gain, flip)
    return out if other is None else out + other


def filter_stock(x: Tensor, f: Tensor, up: Pair, down: Pair, pad: Quad, gain: float, flip: bool) -> Tensor:
    """upfirdn2d of one 2-D filter f in operations of torch, not differentiable a second time at a like cost"""
    along_x = f.shape[0] == up[1] == down[1] == 1 and 1 in (up[0], down[0]) and not any(pad[2:])
    along_y = f.shape[1] == up[0] == down[0] == 1 and 1 in (up[1], down[1]) and not any(pad[:2])
    in_rows = x.device.type == "cpu" and not torch.compiler.is_exporting()  # files should not depend on this device
    if in_rows and along_x:
        return _filter_rows(x, (f[0] if flip else f[0].flip(0)) * gain, up[0], down[0], pad[:2])
    if in_rows and along_y:
        taps = (f[:, 0] if flip else f[:, 0].flip(0)) * gain
        return _filter_rows(x.transpose(2, 3), taps, up[1], down[1], pad[2:]).transpose(2, 3)
    n, c, h, w = x.shape
    if up != (1, 1):
        stretched = x.new_zeros(n, c, h * up[1], w * up[0]).contiguous(memory_format=_layout(x))
        stretched[:, :, :: up[1], :: up[0]] = x
        x = stretched
    padding = (pad[2], pad[0])
    if pad[0] != pad[1] or pad[2] != pad[3] or min(pad) < 0:
        x, padding = _pad(x, pad), (0, 0)
    kernel = (f if flip else f.flip((0, 1))) * gain
    kernel = kernel.to(x.dtype)[None, None].expand(c, 1, *f.shape)
    return F.conv2d(x, kernel, padding=padding, stride=(down[1], down[0]), groups=c)


def _filter_rows(x: Tensor, taps: Tensor, up: int, down: int, pad: Pair) -> Tensor:
    """Correlate along the last dimension by adding shifted copies, one polyphase component at a time.

    On a CPU some ten times faster than a depthwise convolution of the three channels of an image (docs/log.md).
    """
    width, k = x.shape[-1], taps.shape[0]
    num_out = (width * up + pad[0] + pad[1] - k) // down + 1
    weights: list[float] = taps.tolist()
    first = -((pad[0] + up - 1) // up)  # leftmost and rightmost input pixel that any output reads, perhaps outside
    last = ((num_out - 1) * down + k - 1 - pad[0]) // up
    x = _pad(x, (-first, max(last + 1 - width, 0)))
    out = x.new_zeros(*x.shape[:-1], num_out)
    for phase in range(up):
        component = out[..., phase::up]
        for tap in range((pad[0] - phase) % up, k, up) if down == 1 else range(k):
            start = (phase + tap - pad[0]) // up - first
            stop = start + (component.shape[-1] - 1) * down + 1
            component.add_(x[..., start:stop:down], alpha=weights[tap])
    return out


def _pad(x: Tensor, pad: Sequence[int]) -> Tensor:
    """Zeros, or negative to crop; also where one side crops the whole image, which F.pad refuses"""
    if min(pad) <= -min(x.shape[-2:]):
        x, pad = F.pad(x, [max(side, 0) for side in pad]), [min(side, 0) for side in pad]
    return F.pad(x, list(pad))


def _layout(x: Tensor) -> torch.memory_format:
    return torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
