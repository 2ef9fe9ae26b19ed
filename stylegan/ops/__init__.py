"""Tensor operations of the networks and of the augmentation pipe, from stock torch only."""

from stylegan.ops.bias_act import bias_act
from stylegan.ops.conv2d_resample import conv2d_resample
from stylegan.ops.grid_sample import grid_sample
from stylegan.ops.modulated_conv2d import modulated_conv2d
from stylegan.ops.upfirdn2d import downsample2d, setup_filter, upfirdn2d, upsample2d

__all__ = [
    "bias_act",
    "conv2d_resample",
    "downsample2d",
    "grid_sample",
    "modulated_conv2d",
    "setup_filter",
    "upfirdn2d",
    "upsample2d",
]
