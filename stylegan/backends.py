"""What torch's CUDA libraries may do to a sum of float32 products, and which kernels run; the same in every process.

None of it matters on other devices, so no caller asks which device it has.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stylegan.config.sections import Kernels
from stylegan.ops import kernels


def configure_backends(*, allow_tf32: bool) -> None:
    """Set torch's process-wide flags of cuDNN and cuBLAS, whatever they were.

    allow_tf32: round the factors of float32 convolutions and matrix products to 10 bits, which Ampere and newer
    multiply faster. Torch's default does so in convolutions alone.
    """
    _allow_tf32(allow_tf32, allow_tf32)
    torch.backends.cudnn.benchmark = True  # the networks see one size: the fastest algorithm is looked for once
    # Partial sums of 16-bit products stay float32.
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


@contextmanager
def exact_float32() -> Iterator[None]:
    """Multiply float32 as float32 within the block or, as a decorator, the function."""
    with _unannounced():
        before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    _allow_tf32(False, False)
    try:
        yield
    finally:
        _allow_tf32(*before)


def prepare_device(device: torch.device, mode: Kernels, *, allow_tf32: bool) -> str | None:
    """Configure this process for what it computes on the device, and choose its kernels.

    Returns one line to show that says which kernels are used, or why not; None for a device that has none.
    """
    configure_backends(allow_tf32=allow_tf32)
    with exact_float32():  # kernels are compared with torch's operations, which TF32 would round
        return kernels.prepare(mode, device)


def _allow_tf32(convolutions: bool, products: bool) -> None:
    # Torch has two interfaces. This one keeps both readable; after the other, torch's own readers of this one raise.
    with _unannounced():
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.backends.cuda.matmul.allow_tf32 = products


@contextmanager
def _unannounced() -> Iterator[None]:
    with warnings.catch_warnings():
        # Torch 2.9 announced the end of this interface, and 2.13 does so no more.
        warnings.filterwarnings("ignore", "Please use the new API settings to control TF32", UserWarning)
        yield
