"""The sections refuse what cannot be used, and say where, why and what to do."""

import subprocess
import sys
from collections.abc import Callable

import pytest
from pydantic import ValidationError

from pipelines.params import Params
from stylegan.config import ConfigError, parse
from stylegan.config.sections import PrepareConfig, TrainConfig

Make = Callable[..., Params]


def message(make_params: Make, *overrides: str) -> str:
    """What is said about these overrides, without the name of the file."""
    with pytest.raises(ConfigError) as caught:
        make_params(*overrides)
    return "\n".join(line.split("params.yaml: ", 1)[1] for line in str(caught.value).splitlines())


def test_unknown_key_suggests_the_nearest(make_params: Make) -> None:
    assert message(make_params, "train.totl_kimg=1") == "train.totl_kimg is not a parameter; did you mean total_kimg?"
    assert message(make_params, "trian.seed=1") == "trian is not a parameter; did you mean train?"
    assert message(make_params, "augment.multipliers.rotat90=1") == (
        "augment.multipliers.rotat90 is not a parameter; did you mean rotate90?"
    )


def test_unknown_key_without_a_neighbour_lists_the_known_ones(make_params: Make) -> None:
    assert (
        message(make_params, "data.zzz=1") == "data.zzz is not a parameter; known keys: max_images, use_labels, xflip"
    )


def test_missing_key_is_named(tiny_params: Params) -> None:
    values = tiny_params.train.model_dump()
    del values["ema_kimg"]
    with pytest.raises(ConfigError) as caught:
        parse(TrainConfig, values, "a.yaml")
    assert str(caught.value) == "a.yaml: ema_kimg is missing; every parameter has its value in this file"


def test_nothing_has_a_default(tiny_params: Params) -> None:
    for name, section in tiny_params:
        required = type(section).model_fields.values()
        assert all(field.is_required() for field in required), name


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.batch_size=4.5", "train.batch_size is 4.5: input should be a valid integer"),
        ("train.batch_size='4'", "train.batch_size is '4': input should be a valid integer"),
        ("train.batch_size=true", "train.batch_size is True: input should be a valid integer"),
        ("train.batch_size=0", "train.batch_size is 0: input should be greater than or equal to 1"),
        ("data.xflip=1", "data.xflip is 1: input should be a valid boolean"),
        ("train.seed=-1", "train.seed is -1: input should be greater than or equal to 0"),
        ("prepare.seed=-1", "prepare.seed is -1: input should be greater than or equal to 0"),
        ("train.g_lr=.nan", "train.g_lr is nan: input should be a finite number"),
        ("augment.p=1.5", "augment.p is 1.5: input should be less than or equal to 1"),
        (
            "augment.mode=adda",
            "augment.mode is 'adda': input should be 'none', 'fixed', 'ada', 'ada_rv' or 'diffaugment'",
        ),
        (
            "render.psi_strip=[1.0]",
            "render.psi_strip is [1.0]: tuple should have at least 2 items after validation, not 1",
        ),
        ("train.adam_eps='1e-8'", "train.adam_eps is '1e-8': input should be a valid number"),
    ],
)
def test_wrong_value_is_quoted_with_what_is_expected(make_params: Make, override: str, expected: str) -> None:
    assert message(make_params, override) == expected


def test_resolution_must_be_a_small_base_doubled(make_params: Make) -> None:
    assert message(make_params, "prepare.resolution=100") == (
        "resolution is 100; the networks double a base of 4 to 16 pixels a side, and this one comes to 25 x 25. "
        "Set prepare.resolution to 96 or 104."
    )


@pytest.mark.parametrize("value", ["[16]", "[16, 32, 3]", "16.0", "true", "big", "[16, -16]", "null"])
def test_resolution_is_a_number_or_a_pair(make_params: Make, value: str) -> None:
    assert message(make_params, f"prepare.resolution={value}").endswith(
        "; expected the side of a square in pixels, or [height, width]. "
        "Set prepare.resolution to a number such as 64, or a pair such as [48, 80]."
    )


def test_a_pair_of_equal_sides_is_the_square(make_params: Make) -> None:
    assert make_params("prepare.resolution=[16, 16]") == make_params("prepare.resolution=16")
    assert make_params("prepare.resolution=[16, 24]").prepare.resolution == (16, 24)


def test_layers_are_counted_from_the_base(make_params: Make) -> None:
    """36 x 60 is 9 x 15 doubled twice, so there are 6 styles and 15 pixels at the base."""
    problems = message(
        make_params, "prepare.resolution=[36, 60]", "evaluate.truncation_cutoff=7",
        "discriminator.channel_base=90", "discriminator.channel_max=64", "discriminator.mbstd_num_channels=4",
    )  # fmt: skip
    assert problems.splitlines() == [
        "discriminator.mbstd_num_channels is 4, which does not divide the 6 channels at the base. Set it to 3, "
        "or to 0 for none.",
        "evaluate.truncation_cutoff is 7, but the generator has 6 style layers at [36, 60] pixels. "
        "Set it to null for all, or to at most 6.",
    ]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["train.tick_kimg=0.0004"],
            "train.tick_kimg is 0.0004, less than one image (1 kimg is 1000 images). Set it to at least 0.001.",
        ),
        (
            ["train.total_kimg=0.0001"],
            "train.total_kimg is 0.0001, less than one image (1 kimg is 1000 images). Set it to at least 0.001.",
        ),
        (
            ["train.batch_size=10", "train.batch_gpu=4"],
            "train.batch_size is 10, not a multiple of train.batch_gpu 4. "
            "Set train.batch_size to 8, or change train.batch_gpu.",
        ),
        (
            ["train.batch_size=8", "train.batch_gpu=4", "cluster.num_workers=3"],
            "cluster.num_workers is 3, but a batch of 8 has 2 micro-batch(es) of train.batch_gpu 4. "
            "Set cluster.num_workers to at most 2, or train.batch_gpu to at most 2.",
        ),
        (
            ["train.batch_size=12", "train.batch_gpu=6", "cluster.num_workers=[1, 7]"],
            "cluster.num_workers is 7, but a batch of 12 has 2 micro-batch(es) of train.batch_gpu 6. "
            "Set cluster.num_workers to at most 2, or train.batch_gpu to at most 1.",
        ),
        (
            ["train.batch_size=6", "train.batch_gpu=6", "discriminator.mbstd_group_size=4"],
            "train.batch_gpu is 6, not a multiple of discriminator.mbstd_group_size 4. "
            "Set train.batch_gpu to 4, or lower the group size.",
        ),
        (
            ["train.batch_gpu=2", "loss.pl_batch_shrink=4"],
            "train.batch_gpu is 2, below loss.pl_batch_shrink 4: path length would see no image. "
            "Set loss.pl_batch_shrink to at most 2, or loss.pl_weight to 0.",
        ),
        (
            ["generator.channel_base=8"],
            "generator.channel_base is 8, which leaves no channel at 16 pixels. "
            "Set it to at least 16; 32 x as much is usual.",
        ),
        (
            ["train.precision=fp16", "discriminator.conv_clamp=256"],
            "train.precision is fp16, but generator.conv_clamp is null: half precision ends at 65504, and the clamp "
            "keeps activations below. Set generator.conv_clamp to 256, or train.precision to bf16.",
        ),
        (
            ["train.precision=fp16", "generator.conv_clamp=256"],
            "train.precision is fp16, but discriminator.conv_clamp is null: half precision ends at 65504, and the "
            "clamp keeps activations below. Set discriminator.conv_clamp to 256, or train.precision to bf16.",
        ),
        (
            ["augment.p=0.9", "augment.p_max=0.8"],
            "augment.p starts at 0.9, above its cap augment.p_max = 0.8. Lower augment.p or raise augment.p_max.",
        ),
        (
            ["augment.multipliers.imgfilter=1"],
            "augment.multipliers.imgfilter is 1, but its filters reach 21 pixels and images have 16. "
            "Set it to 0, or prepare.resolution to 32 or more.",
        ),
        (
            ["generator.mapping_layers=0", "data.use_labels=true", "prepare.labels=folders"],
            "generator.mapping_layers is 0, so w is z itself, which takes no labels and a z_dim equal to w_dim "
            "(8 and 8 here). Set generator.mapping_layers to at least 1.",
        ),
        (
            ["prepare.resolution=[16, 24]", "prepare.transform=center-crop-wide"],
            "transform is center-crop-wide, which pads to a square, but resolution is [16, 24]. "
            "Set prepare.transform to center-crop, which cuts out that shape.",
        ),
        (
            ["prepare.mode=LA", "augment.multipliers.hue=0", "augment.multipliers.saturation=0"],
            "augment.multipliers brightness, contrast, lumaflip change colours, which L, RGB and RGBA images have, "
            "but images of 2 channels do not. Set them to 0.",
        ),
        (
            ["loss.adversarial=wgan_gp"],
            "augment.mode is ada, which follows the signs of D's scores, but loss.adversarial is wgan_gp, whose scores "
            "have no zero between real and generated images. Set augment.mode to ada_rv or none.",
        ),
        (
            ["augment.mode=ada_rv", "prepare.holdout_fraction=0"],
            "augment.mode is ada_rv, which compares training images with held-out ones, but prepare.holdout_fraction "
            "is 0. Set prepare.holdout_fraction to 0.1, or augment.mode to ada.",
        ),
        (
            ["augment.diffaugment=[cutout, color, cutout]"],
            "augment.diffaugment is ['cutout', 'color', 'cutout']; expected each operation once, and color before "
            "translation before cutout. Set it to [color, cutout].",
        ),
        (
            ["augment.diffaugment=[]"],
            "augment.diffaugment is []: tuple should have at least 1 item after validation, not 0",
        ),
        (
            ["prepare.mode=LA", "augment.mode=diffaugment", "augment.diffaugment=[color, cutout]"],
            "augment.diffaugment has color, which changes the colours of L, RGB and RGBA images, but images of 2 "
            "channels have others. Set augment.diffaugment to [cutout].",
        ),
        (
            ["prepare.mode=LA", "augment.mode=diffaugment", "augment.diffaugment=[color]"],
            "augment.diffaugment has color, which changes the colours of L, RGB and RGBA images, but images of 2 "
            "channels have others. Set augment.diffaugment to [translation, cutout].",
        ),
        (
            ["prepare.resolution=[16, 32]", "augment.multipliers.imgfilter=1"],
            "augment.multipliers.imgfilter is 1, but its filters reach 21 pixels and images have [16, 32]. "
            "Set it to 0, or prepare.resolution to 32 or more.",
        ),
        (
            ["data.use_labels=true", "prepare.labels=none"],
            "data.use_labels is true, but prepare.labels is none, so the archive has no labels. "
            "Set prepare.labels to folders or file, or data.use_labels to false.",
        ),
        (
            ["evaluate.kid_subset_size=9"],
            "evaluate.kid_subset_size is 9 but only 8 images are generated. "
            "Lower evaluate.kid_subset_size or raise evaluate.num_images.",
        ),
        (
            ["evaluate.pr_neighbors=8"],
            "evaluate.pr_neighbors is 8, but each of evaluate.num_images = 8 has fewer others. "
            "Lower evaluate.pr_neighbors or raise evaluate.num_images.",
        ),
        (
            ["evaluate.truncation_cutoff=7"],
            "evaluate.truncation_cutoff is 7, but the generator has 6 style layers at 16 pixels. "
            "Set it to null for all, or to at most 6.",
        ),
        (
            ["evaluate.truncation_psi=[0.5]"],
            "truncation_psi is [0.5] and lacks 1.0, the untruncated generator that the headline numbers describe. "
            "Add 1.0 to evaluate.truncation_psi.",
        ),
    ],
)
def test_values_that_do_not_fit_together_come_with_a_remedy(
    make_params: Make, overrides: list[str], expected: str
) -> None:
    assert message(make_params, *overrides) == expected


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.batch_size=12", "train.batch_gpu=2", "cluster.num_workers=3"],
        ["train.batch_size=12", "train.batch_gpu=2", "cluster.num_workers=5"],  # one worker has two pieces, four one
        ["train.batch_size=8", "train.batch_gpu=2", "cluster.num_workers=[1, 4]"],
        ["train.batch_size=3", "train.batch_gpu=3", "discriminator.mbstd_group_size=4"],  # the group is the whole batch
        ["train.batch_gpu=1", "loss.pl_batch_shrink=2", "loss.pl_weight=0"],
        ["augment.mode=none", "augment.multipliers.imgfilter=1"],
        ["augment.mode=diffaugment", "augment.multipliers.imgfilter=1"],
        ["prepare.mode=LA", "augment.mode=diffaugment", "augment.diffaugment=[translation]"],
        ["augment.mode=ada", "prepare.holdout_fraction=0"],
        ["prepare.resolution=32", "augment.multipliers.imgfilter=1"],
        ["data.use_labels=true", "prepare.labels=folders"],
        ["evaluate.truncation_cutoff=6"],
        ["generator.mapping_layers=0"],
        ["discriminator.mbstd_num_channels=4"],
        ["prepare.resolution=[24, 40]", "augment.multipliers.imgfilter=1"],
        ["train.precision=fp16", "generator.conv_clamp=256", "discriminator.conv_clamp=256"],
        ["train.precision=bf16"],
    ],
)
def test_values_just_inside_the_limits_are_accepted(make_params: Make, overrides: list[str]) -> None:
    make_params(*overrides)


def test_every_problem_is_listed_at_once(make_params: Make) -> None:
    wrong_types = message(make_params, "train.seed=a", "data.xflip=2", "loss.r1_gama=1").splitlines()
    assert [line.split()[0] for line in wrong_types] == ["data.xflip", "loss.r1_gama", "train.seed"]
    misfits = message(make_params, "train.batch_size=7", "evaluate.truncation_cutoff=99", "augment.p=1").splitlines()
    assert [line.split()[0] for line in misfits] == ["train.batch_size", "augment.p", "evaluate.truncation_cutoff"]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["evaluate.extractor=inceptoin"],
            "evaluate.extractor is 'inceptoin'; did you mean inception? It may also be a .pt or .onnx file in "
            "weights/.",
        ),
        (
            ["evaluate.extractor=clip"],
            "evaluate.extractor is 'clip'; expected inception, vgg16, efficientnet_lite0, random, or a .pt or .onnx "
            "file in weights/.",
        ),
        (
            ["evaluate.extractor=/data/net.onnx"],
            "evaluate.extractor is '/data/net.onnx', outside weights/, where DVC would not notice that it changed. "
            "Copy it to weights/net.onnx and set evaluate.extractor to that.",
        ),
        (
            ["evaluate.extractor=inception"],
            "evaluate.extractor_input_size is 16, but inception sees 299 pixels. Set evaluate.extractor_input_size to "
            "299.",
        ),
    ],
)
def test_an_extractor_is_a_known_network_or_a_file_that_dvc_watches(
    make_params: Make, overrides: list[str], expected: str
) -> None:
    assert message(make_params, *overrides) == expected


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["monitor.extractor=inception"],
            "monitor.extractor is 'inception': input should be 'efficientnet_lite0' or 'random'",
        ),
        (
            ["monitor.num_images=0"],
            "monitor.export is best, but monitor.num_images is 0, so no snapshot is measured. Set monitor.export to "
            "last, or monitor.num_images to 500.",
        ),
        (
            ["monitor.num_images=3", "monitor.pr_neighbors=3"],
            "monitor.pr_neighbors is 3, but each of monitor.num_images = 3 has fewer others. Lower "
            "monitor.pr_neighbors or raise monitor.num_images.",
        ),
    ],
)
def test_the_monitor_names_its_own_parameters(make_params: Make, overrides: list[str], expected: str) -> None:
    assert message(make_params, *overrides) == expected


@pytest.mark.parametrize(
    "overrides",
    [
        ["evaluate.extractor=inception", "evaluate.extractor_input_size=299"],
        ["evaluate.extractor=vgg16", "evaluate.extractor_input_size=224"],
        ["evaluate.extractor=weights/clip.onnx"],
        ["evaluate.extractor=weights/nets/clip.pt"],
    ],
)
def test_every_kind_of_extractor_is_accepted(make_params: Make, overrides: list[str]) -> None:
    make_params(*overrides)


def test_sections_cannot_be_changed(tiny_params: Params) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        tiny_params.train.seed = 1  # type: ignore[misc]


def test_the_path_of_a_problem_starts_at_the_section_that_is_parsed(tiny_params: Params) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(PrepareConfig, tiny_params.prepare.model_dump() | {"mode": "CMYK"}, "here")
    assert str(caught.value) == "here: mode is 'CMYK': input should be 'keep', 'L', 'LA', 'RGB' or 'RGBA'"


def test_a_typo_is_reported_without_importing_torch() -> None:
    code = "import sys, stylegan.config, pipelines.params; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
