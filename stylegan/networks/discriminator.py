"""The discriminator, with minibatch standard deviation and projection of labels.

N batch, C image channels, I in-channels, O out-channels, H W image, F features.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stylegan.config.pyramid import Resolution, plain, pyramid
from stylegan.config.sections import DiscriminatorConfig
from stylegan.networks.growing import at_level, shrink
from stylegan.networks.layers import (
    RESAMPLE_TAPS,
    Conv2dLayer,
    FullyConnected,
    MappingNetwork,
    at_least_fp32,
    channels_at,
    dtype_at,
)
from stylegan.ops import downsample2d, fork_downsample2d, setup_filter


def minibatch_std(x: Tensor, group_size: int, num_channels: int) -> Tensor:
    """Append maps of the standard deviation over groups of images (Karras et al. 2018, Sec. 3).

    x [N, I, H, W] -> [N, I + num_channels, H, W]; image n belongs to group n mod (N / group_size).
    Raises ValueError if N is not a multiple of the group size.
    """
    n, channels, h, w = x.shape
    group = min(group_size, n)
    if n % group:
        raise ValueError(
            f"{n} images cannot be split into groups of {group} for the minibatch standard deviation. "
            "Make train.batch_gpu a multiple of discriminator.mbstd_group_size."
        )
    y = x.reshape(group, -1, num_channels, channels // num_channels, h, w)
    y = y - y.mean(dim=0)
    y = (y.square().mean(dim=0) + 1e-8).sqrt().mean(dim=(2, 3, 4))  # [N / group, num_channels]
    y = y.repeat(group, 1)[:, :, None, None].expand(-1, -1, h, w)
    return torch.cat([x, y], dim=1)


class DiscriminatorBlock(nn.Module):
    """Two convolutions and downsampling by 2.  x [N, I, H, W], img [N, C, H, W] -> x [N, O, H/2, W/2], img

    In the architecture msg, img is concatenated to x (Karnewar and Wang 2020, phi_simple), which only the highest
    resolution lacks.
    """

    resample_filter: Tensor

    def __init__(
        self, config: DiscriminatorConfig, in_channels: int, mid_channels: int, out_channels: int, img_channels: int,
        dtype: torch.dtype, *, has_fromrgb: bool
    ) -> None:  # fmt: skip
        super().__init__()
        self.architecture, self.dtype = config.architecture, dtype
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_TAPS))
        if has_fromrgb:
            self.fromrgb = Conv2dLayer(img_channels, mid_channels, 1, "lrelu", clamp=config.conv_clamp)
        joined = img_channels if in_channels and config.architecture == "msg" else 0
        self.conv0 = Conv2dLayer(mid_channels + joined, mid_channels, 3, "lrelu", clamp=config.conv_clamp)
        self.conv1 = Conv2dLayer(mid_channels, out_channels, 3, "lrelu", down=2, clamp=config.conv_clamp)
        if config.architecture == "resnet":
            self.skip = Conv2dLayer(mid_channels, out_channels, 1, "linear", bias=False)

    def forward(self, x: Tensor | None, img: Tensor | None) -> tuple[Tensor, Tensor | None]:
        x = None if x is None else x.to(self.dtype)
        if img is not None and x is not None and self.architecture == "msg":
            x = torch.cat([x, img.to(self.dtype)], dim=1)
        elif img is not None:
            rgb = self.colours(img)
            x = rgb if x is None else x + rgb
        img = downsample2d(img, self.resample_filter) if img is not None and self.architecture == "skip" else None
        assert x is not None
        if self.architecture != "resnet":
            return self.conv1(self.conv0(x)), img
        x, small = fork_downsample2d(x, self.resample_filter)
        shortcut = self.skip(small, gain=math.sqrt(0.5))
        return shortcut + self.conv1(self.conv0(x), gain=math.sqrt(0.5)), img

    def colours(self, img: Tensor) -> Tensor:
        """Features of an image of this resolution"""
        rgb: Tensor = self.fromrgb(img.to(self.dtype))
        return rgb


class DiscriminatorEpilogue(nn.Module):
    """Features at the base size, H x W, to one logit, or to cmap_dim features projected on the label's map."""

    def __init__(
        self, config: DiscriminatorConfig, in_channels: int, size: tuple[int, int], cmap_dim: int, img_channels: int,
        *, has_fromrgb: bool
    ) -> None:  # fmt: skip
        super().__init__()
        self.cmap_dim = cmap_dim
        self.mbstd_group_size, self.mbstd_num_channels = config.mbstd_group_size, config.mbstd_num_channels
        self.is_msg = config.architecture == "msg"
        if has_fromrgb:
            self.fromrgb = Conv2dLayer(img_channels, in_channels, 1, "lrelu")
        features = in_channels + (img_channels if self.is_msg else 0) + config.mbstd_num_channels
        self.conv = Conv2dLayer(features, in_channels, 3, "lrelu", clamp=config.conv_clamp)
        self.fc = FullyConnected(in_channels * size[0] * size[1], in_channels, "lrelu")
        self.out = FullyConnected(in_channels, cmap_dim or 1, "linear")

    def forward(self, x: Tensor | None, img: Tensor | None, cmap: Tensor | None) -> Tensor:
        """x [N, I, H, W], img [N, C, H, W], cmap [N, cmap_dim] -> logits [N, 1]"""
        x = None if x is None else at_least_fp32(x)
        if img is not None and not self.is_msg:
            rgb = self.colours(img)
            x = rgb if x is None else x + rgb
        assert x is not None
        if self.mbstd_num_channels > 0:
            x = minibatch_std(x, self.mbstd_group_size, self.mbstd_num_channels)
        if img is not None and self.is_msg:
            x = torch.cat([x, img], dim=1)
        logits: Tensor = self.out(self.fc(self.conv(x).flatten(1)))
        if cmap is not None:
            logits = (logits * cmap).sum(dim=1, keepdim=True) / math.sqrt(self.cmap_dim)
        return logits

    def colours(self, img: Tensor) -> Tensor:
        """Features of an image of the base size"""
        rgb: Tensor = self.fromrgb(img)
        return rgb


class Discriminator(nn.Module):
    """Image and label to logit (Karras et al. 2020, Fig. 7; Miyato and Koyama 2018 for labels).

    img [N, C, H, W], c [N, c_dim] -> logits [N, 1].  Blocks are named as the generator's.
    In the architecture msg, img may also be images of all resolutions from the lowest; of one image it makes them.
    level: how far a growing network has come, as in the generator.
    """

    def __init__(
        self, config: DiscriminatorConfig, *, img_resolution: Resolution, img_channels: int, c_dim: int,
        dtype: torch.dtype = torch.float32, level: float | None = None
    ) -> None:  # fmt: skip
        super().__init__()
        self.config, self.level = config, level
        self.c_dim, self.img_resolution, self.img_channels = c_dim, plain(img_resolution), img_channels
        levels = pyramid(img_resolution)
        channels = [
            channels_at(levels.longer_side(index), config.channel_base, config.channel_max)
            for index in range(levels.num_doublings + 1)
        ]
        self.block_resolutions = levels.nominal[:0:-1]
        everywhere = config.architecture == "skip" or level is not None
        in_channels = 0
        for index, res in zip(range(levels.num_doublings, 0, -1), self.block_resolutions, strict=True):
            block = DiscriminatorBlock(
                config, in_channels, channels[index], channels[index - 1], img_channels,
                dtype_at(res, levels.nominal[-1], dtype), has_fromrgb=in_channels == 0 or everywhere,
            )  # fmt: skip
            setattr(self, f"b{res}", block)
            in_channels = channels[index - 1]
        cmap_dim = channels[0] if c_dim > 0 else 0
        if c_dim > 0:
            self.mapping = MappingNetwork(
                0, c_dim, cmap_dim, 0, config.mapping_layers, config.mapping_lr_multiplier, average=False
            )
        self.b4 = DiscriminatorEpilogue(
            config, channels[0], levels.size(0), cmap_dim, img_channels, has_fromrgb=everywhere
        )

    def forward(self, img: Tensor | Sequence[Tensor], c: Tensor | None = None) -> Tensor:
        images = self._images(img)
        highest = max(images)
        x: Tensor | None = None
        rgb: Tensor | None = images[highest]
        for index in range(highest, 0, -1):
            x, rgb = self._block(index)(x, rgb)
            assert x is not None
            if index == highest and self.level is not None and self.level % 1:
                below = self._block(index - 1).colours(shrink(images[highest], 1))
                x = below.lerp(x.to(below.dtype), self.level % 1)
            rgb = images.get(index - 1, rgb)
        logits: Tensor = self.b4(x, rgb, self.mapping(None, c) if self.c_dim > 0 else None)
        return logits

    def reduced(self, img: Tensor) -> Tensor:
        """Real images as a generator of this level would draw them  [N, C, H, W] -> the same"""
        return img if self.level is None else at_level(img, self.level, len(self.block_resolutions))

    def _images(self, img: Tensor | Sequence[Tensor]) -> dict[int, Tensor]:
        """What enters at which level of the pyramid"""
        highest = len(self.block_resolutions)
        if not isinstance(img, Tensor):
            return dict(enumerate(img))
        img = img.contiguous(memory_format=torch.channels_last)
        if self.config.architecture == "msg":
            return {index: shrink(img, highest - index) for index in range(highest + 1)}
        if self.level is not None:
            reached = math.ceil(self.level)
            return {reached: shrink(img, highest - reached)}
        return {highest: img}

    def _block(self, index: int) -> DiscriminatorBlock:
        """Of a level of the pyramid; the epilogue, which has colours too, at the base"""
        block: DiscriminatorBlock = getattr(self, f"b{4 * 2**index}")
        return block
