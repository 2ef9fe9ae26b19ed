"""Seeds to pictures: latents, truncation, mixing, interpolation."""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.params import Params
from stylegan.data.labels import Labels
from stylegan.drawing.curves import Curve
from stylegan.drawing.generate import (
    class_labels,
    class_number,
    generate_images,
    label_vector,
    labels_in_turn,
    latents,
    mix_styles,
    styles,
    styles_along,
    styles_between,
    truncation_strip,
)
from stylegan.images import to_uint8
from stylegan.networks import Generator


@pytest.fixture(scope="module")
def build(tiny_params: Params) -> Callable[[int], Generator]:
    def make(c_dim: int) -> Generator:
        torch.manual_seed(0)
        G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=c_dim)
        # A fresh network has no mean style and no noise; give it both so that truncation and noise show.
        G.mapping.w_avg.normal_()
        for name, parameter in G.named_parameters():
            if name.endswith("noise_strength"):
                parameter.data.fill_(0.5)
        return G.requires_grad_(False).eval()

    return make


@pytest.fixture(scope="module", name="G")
def unconditional(build: Callable[[int], Generator]) -> Generator:
    return build(0)


def test_a_latent_is_that_of_numpys_random_state() -> None:
    expected = np.random.RandomState(7).randn(8).astype(np.float32)
    assert np.array_equal(latents([7], 8)[0].numpy(), expected)


def test_a_latent_does_not_depend_on_the_other_seeds() -> None:
    assert torch.equal(latents([3, 5, 8], 16)[1], latents([5], 16)[0])


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=f"^seed {seed}: seeds are whole numbers from 0 to 4294967295$"):
        latents([seed], 8)


def test_psi_one_is_the_untruncated_generator(G: Generator) -> None:
    ws = G.mapping(latents([0, 1], G.z_dim), torch.zeros(2, 0))
    assert torch.equal(generate_images(G, [0, 1], psi=1, batch_size=2), to_uint8(G.synthesis(ws, noise_mode="const")))


def test_psi_zero_gives_every_seed_the_average_picture(G: Generator) -> None:
    images = generate_images(G, [0, 1, 2], psi=0, batch_size=3)
    assert torch.equal(images, images[:1].expand_as(images))


def test_a_cutoff_leaves_the_later_layers_alone(G: Generator) -> None:
    cut = generate_images(G, [0, 1], psi=0, cutoff=2, batch_size=2)
    assert not torch.equal(cut[0], cut[1])
    assert torch.equal(
        generate_images(G, [0], psi=0, cutoff=G.num_ws, batch_size=1), generate_images(G, [0], psi=0, batch_size=1)
    )


def test_pictures_do_not_depend_on_the_batch_size(G: Generator) -> None:
    together = generate_images(G, [0, 1, 2], psi=0.7, batch_size=3).int()
    apart = generate_images(G, [0, 1, 2], psi=0.7, batch_size=1).int()
    # Convolutions of other batch sizes sum in another order, which may tip a value over a rounding edge.
    assert (together - apart).abs().max() <= 1


def test_constant_noise_repeats_and_random_noise_does_not(G: Generator) -> None:
    def pair(mode: str) -> list[torch.Tensor]:
        return [generate_images(G, [0], psi=1, noise_mode=mode, batch_size=1) for _ in range(2)]  # type: ignore[arg-type]

    torch.manual_seed(0)
    assert torch.equal(*pair("const"))
    assert not torch.equal(*pair("random"))
    assert torch.equal(*pair("none"))
    assert not torch.equal(pair("none")[0], pair("const")[0])


def test_a_class_changes_the_picture(build: Callable[[int], Generator]) -> None:
    G = build(3)
    zero, two = (generate_images(G, [0], psi=1, c=class_labels(1, 3, k), batch_size=1) for k in (0, 2))
    assert not torch.equal(zero, two)


def test_one_label_serves_every_seed(build: Callable[[int], Generator]) -> None:
    G = build(3)
    one = generate_images(G, [0, 1], psi=1, c=class_labels(1, 3, 1), batch_size=2)
    assert torch.equal(one, generate_images(G, [0, 1], psi=1, c=class_labels(2, 3, 1), batch_size=2))


@pytest.mark.parametrize(
    ("c_dim", "class_index", "message"),
    [
        (0, 2, "class 2 was requested, but this generator is unconditional. Leave the class out."),
        (3, None, "this generator is conditional. Choose a class from 0 to 2."),
        (3, 3, "class 3 does not exist; this generator knows 0 to 2."),
        (3, -1, "class -1 does not exist; this generator knows 0 to 2."),
    ],
)
def test_a_class_that_does_not_fit_is_refused(c_dim: int, class_index: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        class_labels(1, c_dim, class_index)


def test_the_strip_holds_each_seed_at_each_psi_row_by_row(G: Generator) -> None:
    strip = truncation_strip(G, [4, 5], [0.0, 0.5, 1.0], batch_size=6)
    assert strip.shape == (6, 3, 16, 16)
    assert torch.equal(strip[0], strip[3])  # psi = 0 is the same picture in both rows
    assert torch.equal(strip[[2, 5]], generate_images(G, [4, 5], psi=1, batch_size=2))


def test_mixing_no_layer_gives_the_rows_and_all_layers_the_columns(G: Generator) -> None:
    rows, cols = styles(G, [0, 1]), styles(G, [2, 3, 4])
    assert torch.equal(mix_styles(rows, cols, []), rows[:, None].expand(-1, 3, -1, -1))
    assert torch.equal(mix_styles(rows, cols, range(G.num_ws)), cols[None].expand(2, -1, -1, -1))


def test_a_mixture_takes_the_named_layers_from_its_column(G: Generator) -> None:
    rows, cols = styles(G, [0, 1]), styles(G, [2, 3])
    expected = rows[1].clone()
    expected[[1, 4]] = cols[0, [1, 4]]
    assert torch.equal(mix_styles(rows, cols, [1, 4])[1, 0], expected)


@pytest.mark.parametrize("layer", [-1, 6])
def test_a_layer_that_does_not_exist_is_refused(G: Generator, layer: int) -> None:
    with pytest.raises(ValueError, match=f"^layer {layer} does not exist; this generator has 0 to 5$"):
        mix_styles(styles(G, [0]), styles(G, [1]), [layer])


def test_an_interpolation_passes_through_its_seeds_and_loops(G: Generator) -> None:
    keys = styles(G, [0, 1, 2])
    walk = styles_between(G, keys, 4, curve="linear", loop=True)
    assert len(walk) == 12
    assert torch.equal(walk[::4], keys)


def test_an_interpolation_is_straight_in_w_from_each_seed_to_the_next(G: Generator) -> None:
    keys = styles(G, [0, 1, 2])
    walk = styles_between(G, keys, 2, curve="linear", loop=True)
    torch.testing.assert_close(walk[1::2], (keys + keys[[1, 2, 0]]) / 2)


def test_an_interpolation_of_one_seed_is_refused(G: Generator) -> None:
    with pytest.raises(ValueError, match=r"^an interpolation needs at least two points, got 1$"):
        styles_between(G, styles(G, [3]), 4, curve="linear", loop=True)


@pytest.mark.parametrize(("text", "number"), [("circle", 0), ("square", 1), ("2", 2), ("0", 3), ("7", 7)])
def test_a_class_is_known_by_name_or_number_and_the_name_goes_first(text: str, number: int) -> None:
    assert class_number(text, 4, ["circle", "square", "star", "0"]) == number


@pytest.mark.parametrize(
    ("text", "c_dim", "names", "message"),
    [
        ("sqare", 2, ["circle", "square"], "class 'sqare' does not exist; did you mean square?"),
        ("dog", 2, ["circle", "square"], "class 'dog' does not exist; this generator knows circle, square."),
        ("dog", 2, None, "class 'dog' is not a number, and this file names no classes; choose 0 to 1."),
        ("-1", 2, None, "class '-1' is not a number, and this file names no classes; choose 0 to 1."),
        ("dog", 0, None, "class dog was requested, but this generator is unconditional. Leave the class out."),
    ],
)
def test_a_class_that_nobody_knows_is_explained(text: str, c_dim: int, names: list[str] | None, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        class_number(text, c_dim, names)


def test_a_label_may_be_any_vector(build: Callable[[int], Generator]) -> None:
    c = label_vector([0.25, 0.75, 0], 3)
    assert torch.equal(c, torch.tensor([[0.25, 0.75, 0]]))
    G = build(3)
    mixed, pure = (generate_images(G, [0], psi=1, c=label, batch_size=1) for label in (c, class_labels(1, 3, 1)))
    assert not torch.equal(mixed, pure)


@pytest.mark.parametrize(
    ("c_dim", "message"),
    [
        (3, "a label of 2 numbers was given, but this generator takes 3."),
        (0, "a label of 2 numbers was given, but this generator is unconditional. Leave the label out."),
    ],
)
def test_a_label_of_another_length_is_refused(c_dim: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        label_vector([0.0, 1.0], c_dim)


def test_a_walk_through_z_meets_the_styles_of_its_seeds(G: Generator) -> None:
    ws = styles_along(G, [3, 1, 4], 5, curve="spherical", loop=True)
    assert ws.shape == (15, G.num_ws, 8)
    torch.testing.assert_close(ws[::5], styles(G, [3, 1, 4]))
    assert not torch.allclose(ws, styles_between(G, styles(G, [3, 1, 4]), 5, curve="spherical", loop=True))


def test_a_walk_through_z_goes_from_label_to_label(build: Callable[[int], Generator]) -> None:
    G, c = build(3), torch.eye(3)[:2]
    ws = styles_along(G, [0, 0], 2, curve="linear", loop=False, c=c)
    torch.testing.assert_close(ws, styles(G, [0, 0, 0], torch.stack([c[0], (c[0] + c[1]) / 2, c[1]])))


def test_frames_of_a_spherical_walk_are_as_truncated_as_its_keys(G: Generator) -> None:
    keys = styles(G, [0, 1])
    keys = G.mapping.w_avg + torch.nn.functional.normalize(keys - G.mapping.w_avg, dim=-1)
    ws = styles_between(G, keys, 7, curve="spherical", loop=True)
    torch.testing.assert_close((ws - G.mapping.w_avg).norm(dim=-1), torch.ones(14, G.num_ws))


@pytest.mark.parametrize("space", ["w", "z"])
def test_an_open_film_ends_at_its_last_seed_and_every_curve_passes_it(G: Generator, space: str) -> None:
    stops = styles(G, [0, 1])
    curves: tuple[Curve, ...] = ("linear", "spherical", "cubic")
    for curve in curves:
        if space == "w":
            walk = styles_between(G, stops, 3, curve=curve, loop=False)
        else:
            walk = styles_along(G, [0, 1], 3, curve=curve, loop=False)
        assert len(walk) == 4
        torch.testing.assert_close(walk[[0, 3]], stops)


class Labelled:
    """The part of a data set that has labels."""

    def __init__(self, table: Tensor | None, num_classes: int) -> None:
        self._labels = Labels(table, num_classes, torch.device("cpu"))
        self.num_images = 7 if table is None else len(table)

    def labels_on(self, device: torch.device) -> Labels:
        return self._labels.to(device)


def in_turn(table: Tensor | None, num_classes: int, num: int) -> Tensor:
    return labels_in_turn(Labelled(table, num_classes), num)  # type: ignore[arg-type]


def test_pictures_show_every_class_in_turn_whatever_the_order_and_size_of_classes() -> None:
    sizes = torch.tensor([50, 1, 3, 0, 20])  # class 3 has no image: its pictures would be of an untrained label
    table = torch.arange(5, dtype=torch.int32).repeat_interleave(sizes)
    assert in_turn(table, 5, 8).argmax(dim=1).tolist() == [0, 1, 2, 4, 0, 1, 2, 4]
    many = torch.arange(100, dtype=torch.int32).repeat_interleave(3)
    assert in_turn(many, 100, 4).argmax(dim=1).tolist() == [0, 25, 50, 75]


def test_pictures_of_other_labels_have_those_of_images_all_over_the_archive() -> None:
    table = torch.arange(12.0).reshape(6, 2)
    assert in_turn(table, 0, 3).tolist() == [[0, 1], [4, 5], [8, 9]]
    assert in_turn(table, 0, 12)[:, 0].unique().tolist() == [0, 2, 4, 6, 8, 10]
    assert in_turn(None, 0, 5).shape == (5, 0)
