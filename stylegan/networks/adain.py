"""StyleGAN's style block: styles scale and shift normalised activations (Karras et al. 2019; 2020, Fig. 2a and b).

N batch, I in-channels, O out-channels, H W image.
"""

import math

import torch
from torch import Tensor, nn

from stylegan.config.sections import GeneratorConfig
from stylegan.networks.layers import RESAMPLE_TAPS, FullyConnected, NoiseMode, at_least_fp32, noise_image
from stylegan.ops import bias_act, conv2d_resample, setup_filter
from stylegan.ops.bias_act import GAIN

# For maps of equal pixels, such as the first constant. Exporters to ONNX take one of 1e-8 for 0 and drop it.
EPSILON = 1e-5


def adain(x: Tensor, styles: Tensor) -> Tensor:
    """y_s (x - mean) / std + y_b over each map (Huang and Belongie 2017; Karras et al. 2019, Eq. 1)

    x [N, O, H, W], styles [N, 2 O], first all y_s -> [N, O, H, W] in the precision of x, computed in at least fp32
    """
    scale, shift = styles[:, :, None, None].chunk(2, dim=1)
    y = at_least_fp32(x)
    y = y - y.mean(dim=(2, 3), keepdim=True)
    y = y * (y.square().mean(dim=(2, 3), keepdim=True) + EPSILON).rsqrt()
    return (scale * y + shift).to(x.dtype)


class AdaInLayer(nn.Module):
    """3x3 convolution, noise, bias, leaky ReLU, AdaIN.  x [N, I, H, W], styles [N, 2 O] -> [N, O, H * up, W * up]

    styles: what `affine` makes of w.
    Without a convolution where in_channels is 0: what follows the constant, x [N, O, H, W].
    Weights scale noise for each map; all begin as in Karras et al. 2019, App. C: y_s at 1, noise, bias and y_b at 0.
    """

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(
        self, config: GeneratorConfig, in_channels: int, out_channels: int, size: tuple[int, int], *, up: int
    ) -> None:
        super().__init__()
        self.in_channels, self.up, self.clamp, self.use_noise = in_channels, up, config.conv_clamp, config.use_noise
        self.affine = FullyConnected(config.w_dim, 2 * out_channels, "linear")
        with torch.no_grad():
            self.affine.bias[:out_channels] = 1
        if in_channels:
            self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
            self.weight_gain = 1 / math.sqrt(in_channels * 3**2)
            self.register_buffer("resample_filter", setup_filter(RESAMPLE_TAPS))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        if config.use_noise:
            self.noise_strength = nn.Parameter(torch.zeros(out_channels))
            self.register_buffer("noise_const", torch.randn(size))

    def forward(self, x: Tensor, styles: Tensor, noise_mode: NoiseMode, gain: float = 1.0) -> Tensor:
        if self.in_channels:
            weight = (self.weight * self.weight_gain).to(x.dtype)
            x = conv2d_resample(x, weight, self.resample_filter, up=self.up)
        noise = noise_image(x, self.noise_const if self.use_noise else None, noise_mode)
        if noise is not None:
            x = x + (noise * self.noise_strength[:, None, None]).to(x.dtype)
        x = bias_act(x, self.bias, "lrelu", gain=GAIN["lrelu"], clamp=self.clamp)
        x = adain(x, styles)
        return x if gain == 1 else x * gain
