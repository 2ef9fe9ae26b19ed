"""Triton kernels behind the operations, chosen by device: stock torch serves every other device and is the reference.

Nothing here is compiled by the user: torch's CUDA wheels bring Triton. Each kernel is tried once per device against the
stock operation; one that fails or differs is reported by name and left out.
"""

from stylegan.ops.kernels.choice import handles, prepare, using

__all__ = ["handles", "prepare", "using"]
