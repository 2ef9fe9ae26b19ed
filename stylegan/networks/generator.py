"""The generator: mapping network and synthesis network, and the truncation trick.

N batch, C image channels, I in-channels, O out-channels, H W image, L = num_ws.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from stylegan.config.pyramid import Pyramid, Resolution, plain, pyramid
from stylegan.config.sections import GeneratorConfig
from stylegan.networks.adain import AdaInLayer
from stylegan.networks.growing import enlarge, faded
from stylegan.networks.layers import (
    RESAMPLE_TAPS,
    Conv2dLayer,
    FullyConnected,
    MappingNetwork,
    NoiseMode,
    apply_each,
    at_least_fp32,
    channels_at,
    dtype_at,
    noise_image,
)
from stylegan.ops import bias_act, kernels, mix_maps, modulated_conv2d, setup_filter, style_layer, upsample2d_add
from stylegan.ops.bias_act import GAIN


def truncate(ws: Tensor, w_avg: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
    """Pull styles towards their mean: w_avg + psi (w - w_avg) (Karras et al. 2019, App. B).

    ws [N, L, w_dim], w_avg [w_dim] -> [N, L, w_dim]; only the first `cutoff` layers unless it is None.
    """
    if psi == 1:
        return ws
    if cutoff is None:
        return w_avg.lerp(ws, psi)
    return torch.cat([w_avg.lerp(ws[:, :cutoff], psi), ws[:, cutoff:]], dim=1)


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU.  x [N, I, H, W], styles [N, I] -> [N, O, H * up, W * up]

    styles: what `affine` makes of w.
    """

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(
        self, config: GeneratorConfig, in_channels: int, out_channels: int, size: tuple[int, int], *, up: int
    ) -> None:
        super().__init__()
        self.up, self.clamp, self.use_noise = up, config.conv_clamp, config.use_noise
        self.affine = FullyConnected(config.w_dim, in_channels, "linear", bias_init=1)
        # No 1/sqrt(fan_in): demodulation removes the scale (Karras et al. 2020, Sec. 2.2).
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        if config.use_noise:
            self.noise_strength = nn.Parameter(torch.zeros([]))
            self.register_buffer("noise_const", torch.randn(size))
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_TAPS))

    def forward(self, x: Tensor, styles: Tensor, noise_mode: NoiseMode, gain: float = 1.0) -> Tensor:
        noise = noise_image(x, self.noise_const if self.use_noise else None, noise_mode)
        return style_layer(
            x, self.weight, styles, self.resample_filter, noise, self.noise_strength if self.use_noise else None,
            self.bias, "lrelu", up=self.up, gain=GAIN["lrelu"] * gain,
            clamp=None if self.clamp is None else self.clamp * gain,
        )  # fmt: skip


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to image channels, without demodulation.  x [N, I, H, W] -> [N, C, H, W]"""

    def __init__(self, in_channels: int, img_channels: int, w_dim: int, clamp: float | None) -> None:
        super().__init__()
        self.clamp = clamp
        self.affine = FullyConnected(w_dim, in_channels, "linear", bias_init=1)
        self.weight = nn.Parameter(torch.randn(img_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(img_channels))
        self.weight_gain = 1 / math.sqrt(in_channels)

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        if kernels.handles("scale_bias_act", x):
            x = mix_maps(x, self.weight * self.weight_gain, styles)
        else:
            x = modulated_conv2d(x, self.weight, styles * self.weight_gain, demodulate=False)
        return bias_act(x, self.bias, "linear", clamp=self.clamp)


class SynthesisBlock(nn.Module):
    """One resolution: two style layers, or one and the constant, and with torgb also colours (Fig. 7).

    Of StyleGAN's style blocks, the constant has a style of its own and torgb has none.
    """

    resample_filter: Tensor

    def __init__(
        self, config: GeneratorConfig, in_channels: int, out_channels: int, size: tuple[int, int], img_channels: int,
        dtype: torch.dtype, *, has_torgb: bool
    ) -> None:  # fmt: skip
        super().__init__()
        self.dtype = dtype
        self.in_channels = in_channels
        self.is_resnet = in_channels > 0 and config.architecture == "resnet"
        self.is_adain = config.style_block == "adain"
        layer = AdaInLayer if self.is_adain else SynthesisLayer
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_TAPS))
        if in_channels == 0:
            # Ones in StyleGAN: noise makes a map's pixels differ, and styles the maps (Karras et al. 2019, App. C).
            self.const = nn.Parameter((torch.ones if self.is_adain else torch.randn)(out_channels, *size))
            if self.is_adain:
                self.style = AdaInLayer(config, 0, out_channels, size, up=1)
        else:
            self.conv0 = layer(config, in_channels, out_channels, size, up=2)
        self.conv1 = layer(config, out_channels, out_channels, size, up=1)
        self.num_conv = 2 if in_channels or self.is_adain else 1
        self.num_torgb = int(has_torgb)
        if has_torgb and self.is_adain:
            self.torgb: nn.Module = Conv2dLayer(out_channels, img_channels, 1, "linear", clamp=config.conv_clamp)
        elif has_torgb:
            self.torgb = ToRGB(out_channels, img_channels, config.w_dim, config.conv_clamp)
        if self.is_resnet:
            self.skip = Conv2dLayer(in_channels, out_channels, 1, "linear", bias=False, up=2)

    @property
    def affines(self) -> list[FullyConnected]:
        """What makes the styles of the layers that take some, in the order of their w"""
        first = ["conv0"] if self.in_channels else ["style"] if self.is_adain else []
        last = ["torgb"] if self.num_torgb and not self.is_adain else []
        return [getattr(self, name).affine for name in (*first, "conv1", *last)]

    def forward(
        self, x: Tensor | None, img: Tensor | None, styles: Sequence[Tensor], mode: NoiseMode
    ) -> tuple[Tensor, Tensor | None]:
        """x [N, I, H/2, W/2], img [N, C, H/2, W/2], styles that `affines` made -> x [N, O, H, W], img"""
        if x is None:
            n = styles[0].shape[0]  # len() would write the number of images into exported files
            x = self.const.to(self.dtype).expand(n, -1, -1, -1).contiguous(memory_format=torch.channels_last)
            x = self.style(x, styles[0], mode) if self.is_adain else x
            x = self.conv1(x, styles[self.num_conv - 1], mode)
        else:
            x = x.to(self.dtype)
            shortcut = self.skip(x, gain=math.sqrt(0.5)) if self.is_resnet else None
            x = self.conv0(x, styles[0], mode)
            x = self.conv1(x, styles[1], mode, gain=math.sqrt(0.5) if self.is_resnet else 1.0)
            x = x if shortcut is None else shortcut + x
        if self.num_torgb:
            rgb = at_least_fp32(self.torgb(x) if self.is_adain else self.torgb(x, styles[self.num_conv]))
            img = rgb if img is None else upsample2d_add(img, self.resample_filter, rgb)
        return x, img


class SynthesisNetwork(nn.Module):
    """Styles to image.  ws [N, L, w_dim] -> img [N, C, H, W] float32

    level: how far a growing network has come (growing.py), which training moves; None: it does not grow.
    """

    def __init__(
        self, config: GeneratorConfig, levels: Pyramid, img_channels: int, dtype: torch.dtype, level: float | None
    ) -> None:
        super().__init__()
        self.block_resolutions = levels.nominal
        self.num_ws = levels.num_ws
        self.architecture, self.level = config.architecture, level
        in_channels = 0
        for index, res in enumerate(self.block_resolutions):
            out_channels = channels_at(levels.longer_side(index), config.channel_base, config.channel_max)
            is_last = index == levels.num_doublings
            block = SynthesisBlock(
                config, in_channels, out_channels, levels.size(index), img_channels,
                dtype_at(res, self.block_resolutions[-1], dtype),
                has_torgb=is_last or config.architecture in ("skip", "msg") or level is not None,
            )  # fmt: skip
            setattr(self, f"b{res}", block)
            in_channels = out_channels

    def forward(self, ws: Tensor, noise_mode: NoiseMode = "random") -> Tensor:
        if self.level is not None:
            images = self.layers(ws, noise_mode)
            return enlarge(faded(images, self.level), len(self.block_resolutions) - len(images))
        if self.architecture == "msg":
            return self.layers(ws, noise_mode)[-1]
        x: Tensor | None = None
        img: Tensor | None = None
        for block, styles in self._blocks(ws):
            x, img = block(x, img, styles, noise_mode)
        assert img is not None
        return img

    @property
    def num_ws_used(self) -> int:
        """Styles that the image of this level depends on"""
        return self.num_ws if self.level is None else 2 * (math.ceil(self.level) + 1)

    def shown(self, ws: Tensor) -> Tensor | list[Tensor]:
        """What the discriminator sees: the image, in the architecture msg those of all resolutions from the lowest"""
        if self.architecture == "msg":
            return self.layers(ws)
        img: Tensor = self(ws)
        return img

    def layers(self, ws: Tensor, noise_mode: NoiseMode = "random") -> list[Tensor]:
        """What each torgb draws by itself, from the lowest resolution  ->  tensors [N, C, h, w] float32"""
        x: Tensor | None = None
        images: list[Tensor | None] = []
        for block, styles in self._blocks(ws):
            # Given no image from below, a block returns what it adds.
            x, rgb = block(x, None, styles, noise_mode)
            images.append(rgb)
        return [img for img in images if img is not None]

    def _blocks(self, ws: Tensor) -> Iterator[tuple[SynthesisBlock, Sequence[Tensor]]]:
        """Blocks from the lowest resolution to that reached, each with the styles of its layers"""
        count = len(self.block_resolutions) if self.level is None else math.ceil(self.level) + 1
        blocks: list[SynthesisBlock] = [getattr(self, f"b{res}") for res in self.block_resolutions[:count]]
        rows = ws.unbind(dim=1)  # at once, for one backward pass that joins their gradients
        inputs: list[Tensor] = []
        first = 0
        for block in blocks:
            # torgb shares the w of the next block's first layer, so blocks overlap by one.
            inputs += rows[first : first + len(block.affines)]
            first += block.num_conv
        styles = iter(apply_each([affine for block in blocks for affine in block.affines], inputs))
        for block in blocks:
            yield block, list(itertools.islice(styles, len(block.affines)))


class Generator(nn.Module):
    """Latent and label to image (Karras et al. 2020, Fig. 2).  z [N, z_dim], c [N, c_dim] -> img [N, C, H, W]

    Blocks are called b4, b8, ... as in the official files, by level: the first has the size of the base (pyramid.py).
    """

    def __init__(
        self, config: GeneratorConfig, *, img_resolution: Resolution, img_channels: int, c_dim: int,
        dtype: torch.dtype = torch.float32, level: float | None = None
    ) -> None:  # fmt: skip
        super().__init__()
        self.config = config
        self.z_dim, self.c_dim, self.w_dim = config.z_dim, c_dim, config.w_dim
        self.img_resolution, self.img_channels = plain(img_resolution), img_channels
        self.synthesis = SynthesisNetwork(config, pyramid(img_resolution), img_channels, dtype, level)
        self.num_ws = self.synthesis.num_ws
        self.mapping = MappingNetwork(
            config.z_dim, c_dim, config.w_dim, self.num_ws, config.mapping_layers, config.mapping_lr_multiplier,
            average=True,
        )  # fmt: skip

    @property
    def level(self) -> float | None:
        """How far a growing generator has come"""
        return self.synthesis.level

    def forward(
        self, z: Tensor, c: Tensor | None = None, psi: float = 1, cutoff: int | None = None,
        noise_mode: NoiseMode = "random"
    ) -> Tensor:  # fmt: skip
        ws = truncate(self.mapping(z, c), self.mapping.w_avg, psi, cutoff)
        img: Tensor = self.synthesis(ws, noise_mode)
        return img
