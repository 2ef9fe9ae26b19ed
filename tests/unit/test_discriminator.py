"""stylegan.networks.discriminator: minibatch standard deviation, sizes, labels."""

from collections.abc import Callable

import pytest
import torch

from pipelines.params import Params
from stylegan.config.pyramid import Resolution, sides
from stylegan.networks import Discriminator
from stylegan.networks.discriminator import minibatch_std

Make = Callable[..., Params]


def discriminator(
    params: Params, img_resolution: Resolution = 16, c_dim: int = 0, **kwargs: torch.dtype
) -> Discriminator:
    torch.manual_seed(0)
    D = Discriminator(params.discriminator, img_resolution=img_resolution, img_channels=3, c_dim=c_dim, **kwargs)
    return D.requires_grad_(False)


def test_groups_are_every_n_over_g_th_image() -> None:
    """Of 6 images in groups of 3, image n belongs to group n mod 2."""
    x = torch.zeros(6, 2, 2, 2)
    x[[0, 2, 4]] = torch.tensor([0.0, 3.0, 6.0])[:, None, None, None]
    x[[1, 3, 5]] = 7.0  # equal images deviate by nothing
    out = minibatch_std(x, group_size=3, num_channels=1)
    assert out.shape == (6, 3, 2, 2)
    assert torch.equal(out[:, :2], x)
    expected = torch.tensor([6.0**0.5, 1e-4] * 3)[:, None, None].expand(-1, 2, 2)  # the root of 1e-8
    torch.testing.assert_close(out[:, 2], expected)


def test_a_batch_smaller_than_a_group_is_one_group() -> None:
    x = torch.randn(3, 2, 4, 4)
    assert torch.equal(minibatch_std(x, 8, 1), minibatch_std(x, 3, 1))


def test_each_added_channel_averages_its_share_of_the_channels() -> None:
    x = torch.randn(2, 4, 3, 3)
    out = minibatch_std(x, group_size=2, num_channels=2)
    halves = [minibatch_std(half, 2, 1)[:, 2] for half in x.split(2, dim=1)]
    torch.testing.assert_close(out[:, 4:], torch.stack(halves, dim=1))


def test_unequal_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="groups") as caught:
        minibatch_std(torch.zeros(6, 2, 4, 4), group_size=4, num_channels=1)
    assert str(caught.value) == (
        "6 images cannot be split into groups of 4 for the minibatch standard deviation. "
        "Make train.batch_gpu a multiple of discriminator.mbstd_group_size."
    )


@pytest.mark.parametrize("architecture", ["orig", "skip", "resnet"])
@pytest.mark.parametrize(("img_resolution", "c_dim"), [(8, 0), (16, 3), (32, 0), (36, 1), ((24, 40), 3)])
def test_one_logit_an_image(img_resolution: Resolution, c_dim: int, architecture: str, make_params: Make) -> None:
    D = discriminator(make_params(f"discriminator.architecture={architecture}"), img_resolution, c_dim)
    logits = D(torch.randn(4, 3, *sides(img_resolution)), torch.eye(4)[:, :c_dim])
    assert logits.shape == (4, 1)
    assert logits.dtype == torch.float32


def test_logit_depends_on_the_image_and_its_group_only(tiny_params: Params) -> None:
    D = discriminator(tiny_params)
    img, c = torch.randn(4, 3, 16, 16), torch.zeros(4, 0)
    changed = img.clone()
    changed[1] += 1
    before, after = D(img, c)[:, 0], D(changed, c)[:, 0]
    torch.testing.assert_close(before[[0, 2]], after[[0, 2]], rtol=1e-5, atol=1e-6)  # other blocking of fp32 sums
    assert (before[[1, 3]] != after[[1, 3]]).all()


def test_without_minibatch_std_images_are_judged_alone(make_params: Make) -> None:
    D = discriminator(make_params("discriminator.mbstd_num_channels=0"))
    img, c = torch.randn(3, 3, 16, 16), torch.zeros(3, 0)
    torch.testing.assert_close(D(img[:1], c[:1]), D(img, c)[:1], rtol=1e-5, atol=1e-6)  # other blocking of fp32 sums


def test_label_changes_the_logit(tiny_params: Params) -> None:
    D = discriminator(tiny_params, c_dim=2)
    img = torch.randn(1, 3, 16, 16).expand(2, -1, -1, -1)
    logits = D(img, torch.eye(2))
    assert logits[0] != logits[1]


def test_reduced_precision_ends_before_the_logits(tiny_params: Params) -> None:
    img, c = torch.randn(4, 3, 16, 16), torch.zeros(4, 0)
    exact, rounded = discriminator(tiny_params)(img, c), discriminator(tiny_params, dtype=torch.bfloat16)(img, c)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    # Two blocks of bf16, which keeps 8 bits of every value.
    assert (rounded - exact).abs().max() < 0.05 * exact.abs().max()
