"""Tensor operations of the networks and the augmentation pipe: stock torch, and on a GPU kernels with equal results."""

from stylegan.ops.bias_act import bias_act
from stylegan.ops.conv2d_resample import conv2d_resample
from stylegan.ops.grid_sample import grid_sample
from stylegan.ops.modulated_conv2d import mix_maps, modulated_conv2d, style_layer
from stylegan.ops.upfirdn2d import (
    downsample2d,
    fork_downsample2d,
    setup_filter,
    upfirdn2d,
    upsample2d,
    upsample2d_add,
)

__all__ = [
    "bias_act",
    "conv2d_resample",
    "downsample2d",
    "fork_downsample2d",
    "grid_sample",
    "mix_maps",
    "modulated_conv2d",
    "setup_filter",
    "style_layer",
    "upfirdn2d",
    "upsample2d",
    "upsample2d_add",
]
