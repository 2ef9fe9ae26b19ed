"""The planner computes the published sizes, fits them to the GPUs, and keeps what it does not decide."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipelines.ladders import ladder
from pipelines.params import Params, load
from pipelines.plan import __main__ as plan
from pipelines.plan import advice, narrow, processor, resolve
from pipelines.plan.cost import memory, speed, summary
from pipelines.plan.cost.arithmetic import flops_per_image
from pipelines.plan.cost.memory import Memory
from pipelines.plan.origins import Choice, transfer_choices
from pipelines.plan.yaml_edit import rewritten
from pipelines.render.pictures import sheet_columns
from pipelines.train import recent
from stylegan.config import ConfigError
from stylegan.console import make_console
from tests.command_lines import run_or_exit
from tests.photos import picture, write_photos

Make = Callable[..., Params]

# batch_size, r1_gamma, ema_kimg by resolution and number of GPUs (1, 2, 4, 8).
AUTO: dict[int, list[tuple[int, float, float]]] = {
    32: [(32, 0.0064, 10), (64, 0.0032, 20), (64, 0.0032, 20), (64, 0.0032, 20)],
    64: [(32, 0.0256, 10), (64, 0.0128, 20), (64, 0.0128, 20), (64, 0.0128, 20)],
    128: [(32, 0.1024, 10), (64, 0.0512, 20), (64, 0.0512, 20), (64, 0.0512, 20)],
    256: [(16, 0.8192, 5), (32, 0.4096, 10), (64, 0.2048, 20), (64, 0.2048, 20)],
    512: [(8, 6.5536, 2.5), (16, 3.2768, 5), (32, 1.6384, 10), (64, 0.8192, 20)],
    1024: [(4, 52.4288, 1.25), (8, 26.2144, 2.5), (16, 13.1072, 5), (32, 6.5536, 10)],
}
CELLS = [(res, 2**i, *cell) for res, row in AUTO.items() for i, cell in enumerate(row)]


def planned(base: Params, preset: str, resolution: int | None = None, gpus: int = 1) -> Params:
    return resolve.checked(resolve.resolve(preset, resolution, gpus, base))


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor and a memory as given, instead of timed and counted in seconds for every plan"""
    monkeypatch.setattr(speed, "convolution_rate", lambda num_threads: 50e9)
    monkeypatch.setattr(memory, "memory", lambda params, channels, n: Memory(20_000_000, 20_000_000, {"Gmain": 2**30}))


@pytest.fixture(scope="module")
def base(repository: Path) -> Params:
    return load(repository / "params.yaml")


@pytest.mark.parametrize(("resolution", "gpus", "batch_size", "r1_gamma", "ema_kimg"), CELLS)
def test_auto_gives_the_published_table(
    base: Params, resolution: int, gpus: int, batch_size: int, r1_gamma: float, ema_kimg: float
) -> None:
    params = planned(base, "auto", resolution, gpus)
    assert (params.train.batch_size, params.loss.r1_gamma, params.train.ema_kimg) == (batch_size, r1_gamma, ema_kimg)
    assert params.train.batch_gpu == batch_size // gpus
    assert params.discriminator.mbstd_group_size == min(batch_size // gpus, 4)
    assert params.train.g_lr == params.train.d_lr == (0.002 if resolution >= 1024 else 0.0025)
    channel_base = 32768 if resolution >= 512 else 16384
    assert params.generator.channel_base == params.discriminator.channel_base == channel_base
    assert params.generator.mapping_layers == 2
    assert params.train.ema_rampup == 0.05
    assert (params.cluster.num_workers, params.cluster.use_gpu) == (gpus, True)


@pytest.mark.parametrize("gpus", [3, 5, 6, 7, 12, 24, 100])
@pytest.mark.parametrize("resolution", [32, 256, 1024, 4096])
def test_auto_fits_any_number_of_gpus(base: Params, resolution: int, gpus: int) -> None:
    params = planned(base, "auto", resolution, gpus)
    assert params.train.batch_size == gpus * params.train.batch_gpu
    assert params.discriminator.mbstd_group_size == min(params.train.batch_gpu, 4)


# GPUs, resolution, batch, mbstd group, channel_base, lr, gamma, ema_kimg, ema_rampup, mapping layers, total_kimg.
PUBLISHED = {
    "stylegan2": (8, 1024, 32, 4, 32768, 0.002, 10, 10, None, 8, 25000),
    "paper256": (8, 256, 64, 8, 16384, 0.0025, 1, 20, None, 8, 25000),
    "paper512": (8, 512, 64, 8, 32768, 0.0025, 0.5, 20, None, 8, 25000),
    "paper1024": (8, 1024, 32, 4, 32768, 0.002, 2, 10, None, 8, 25000),
    "cifar": (2, 32, 64, 32, 32768, 0.0025, 0.01, 500, 0.05, 2, 100000),
}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_preset_gives_the_published_values_on_its_own_number_of_gpus(base: Params, preset: str) -> None:
    gpus, resolution, batch, group, channel_base, lr, gamma, ema_kimg, rampup, layers, kimg = PUBLISHED[preset]
    params = planned(base, preset, gpus=gpus)
    train, G, D = params.train, params.generator, params.discriminator
    assert (params.prepare.resolution, train.batch_size, D.mbstd_group_size) == (resolution, batch, group)
    assert (G.channel_base, D.channel_base, train.g_lr, train.d_lr) == (channel_base, channel_base, lr, lr)
    assert (params.loss.r1_gamma, train.ema_kimg, train.ema_rampup) == (gamma, ema_kimg, rampup)
    assert (G.mapping_layers, train.total_kimg, train.batch_gpu) == (layers, kimg, batch // gpus)


def test_cifar_drops_path_length_and_mixing_and_residual_connections(base: Params) -> None:
    params = planned(base, "cifar", gpus=2)
    assert (params.loss.pl_weight, params.loss.style_mixing_prob, params.discriminator.architecture) == (0, 0, "orig")


def test_every_preset_file_is_a_named_preset_or_part_of_one() -> None:
    parts = {"common", narrow.RECIPE.stem}  # of all presets, and of auto without a GPU
    assert {path.stem for path in resolve.PRESETS.glob("*.yaml")} == {*resolve.NAMES, *parts}


@pytest.mark.parametrize("preset", resolve.NAMES)
@pytest.mark.parametrize("gpus", [0, 1, 2, 4, 8, 16])
def test_every_preset_is_valid_on_usual_numbers_of_gpus(base: Params, preset: str, gpus: int) -> None:
    planned(base, preset, 256 if preset == "auto" else None, gpus)


@pytest.mark.parametrize("preset", resolve.NAMES)
def test_every_preset_decides_everything_that_training_computes(base: Params, preset: str) -> None:
    kept = {path for path, choice in resolve.resolve(preset, 256, 1, base).items() if choice.origin == "kept"}
    sections = {path.split(".")[0] for path in kept}
    assert sections == {"prepare", "data", "train", "monitor", "evaluate", "render", "cluster", "tracking", "sweep",
                        "ablate"}  # fmt: skip
    assert {path for path in kept if path.startswith("train.")} == {"train.seed", "train.kernels", "train.allow_tf32"}


def test_fewer_gpus_accumulate_over_the_same_batch(base: Params) -> None:
    for gpus in (1, 2, 4, 8):
        params = planned(base, "paper256", gpus=gpus)
        assert (params.train.batch_size, params.train.batch_gpu, params.cluster.num_workers) == (64, 8, gpus)
    reason = resolve.resolve("paper256", None, 2, base)["train.batch_gpu"].origin
    assert reason == "batch_size / 8 pieces, 4 forward passes a step"


@pytest.mark.parametrize("preset", ["stylegan2", "paper256", "cifar"])
@pytest.mark.parametrize("gpus", [3, 5, 6, 7, 12, 20])
def test_any_number_of_gpus_shares_a_published_batch(base: Params, preset: str, gpus: int) -> None:
    params = planned(base, preset, gpus=gpus)  # the checks of Params among them
    pieces = params.train.batch_size // params.train.batch_gpu
    assert params.train.batch_size == planned(base, preset, gpus=1).train.batch_size
    assert pieces >= gpus == params.cluster.num_workers


def test_uneven_shares_are_told(base: Params) -> None:
    choice = resolve.resolve("paper256", None, 3, base)["train.batch_gpu"]
    origin = "batch_size / 8 pieces, 3 forward passes a step, 24 images on the busiest of 3 GPUs"
    assert choice == resolve.Choice(8, origin)


def test_more_gpus_take_smaller_shares_and_groups(base: Params) -> None:
    choices = resolve.resolve("paper256", None, 16, base)
    assert choices["train.batch_gpu"].value == 4
    assert choices["discriminator.mbstd_group_size"] == Choice(4, "largest up to 8 that divides batch_gpu")


def precision_of(params: Params) -> tuple[str, float | None, float | None]:
    return params.train.precision, params.generator.conv_clamp, params.discriminator.conv_clamp


@pytest.mark.parametrize("gpus", [1, 8])
@pytest.mark.parametrize(
    ("preset", "resolution", "expected"),
    [
        ("auto", 32, ("fp16", 256, 256)),
        ("auto", 128, ("fp16", 256, 256)),
        ("cifar", None, ("fp16", 256, 256)),
        ("auto", 256, ("bf16", None, None)),
        ("auto", (96, 256), ("bf16", None, None)),
        ("paper256", None, ("bf16", None, None)),
        ("paper1024", None, ("bf16", None, None)),
        ("stylegan2", None, ("bf16", None, None)),
    ],
)
def test_gpus_compute_in_the_half_precision_that_suits_the_size(
    base: Params, preset: str, resolution: int | tuple[int, int] | None, gpus: int, expected: tuple[str, float, float]
) -> None:
    choices = resolve.resolve(preset, resolution, gpus, base)
    assert precision_of(resolve.checked(choices)) == expected
    assert choices["train.precision"].origin == (
        "as published: four highest resolutions in half precision"
        if expected[0] == "fp16"
        else "from 256 pixels: fp16 can lose G's gradient (docs/precision.md)"
    )


@pytest.mark.parametrize("preset", resolve.NAMES)
@pytest.mark.parametrize(
    ("flags", "precision", "reason"),
    [
        ("flags : fpu avx2", "fp32", "this processor has no bf16 instructions: fp32 is the fastest"),
        ("flags : fpu avx512_bf16", "bf16", "this processor has bf16 instructions"),
        ("flags : amx_bf16 amx_tile", "bf16", "this processor has bf16 instructions"),
        ("Features : fp asimd bf16", "bf16", "this processor has bf16 instructions"),
        (None, "fp32", "this processor has no bf16 instructions: fp32 is the fastest"),
    ],
)
def test_a_processor_computes_in_bf16_only_where_it_has_instructions_for_it(
    base: Params, preset: str, flags: str | None, precision: str, reason: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
    found = processor.has_bf16(tmp_path / "cpuinfo")
    monkeypatch.setattr(processor, "has_bf16", lambda: found)
    choices = resolve.resolve(preset, None, 0, base)
    assert precision_of(resolve.checked(choices)) == (precision, None, None)
    assert choices["train.precision"].origin == reason


def test_the_default_run_computes_in_float32(base: Params) -> None:
    assert precision_of(base) == ("fp32", None, None)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["train.precision=fp32"], ("fp32", None, None)),
        (["train.precision=bf16"], ("bf16", None, None)),
        (["train.precision=fp16"], ("fp16", 256, 256)),
        (["train.precision=fp16", "generator.conv_clamp=100.0"], ("fp16", 100, 256)),
        (["train.precision=bf16", "generator.conv_clamp=100.0"], ("bf16", 100, None)),
    ],
)
@pytest.mark.parametrize("gpus", [0, 1])
def test_a_precision_that_is_asked_for_comes_with_its_clamp_and_a_clamp_stays_as_asked_for(
    copy: Path, gpus: int, overrides: list[str], expected: tuple[str, float | None, float | None]
) -> None:
    run(copy, "--preset", "auto", "--resolution", "64", "--gpus", str(gpus), *overrides)
    assert precision_of(load(copy)) == expected


def test_a_clamp_that_is_asked_for_leaves_the_precision_to_the_plan(copy: Path) -> None:
    run(copy, "--preset", "auto", "--resolution", "64", "--gpus", "1", "discriminator.conv_clamp=64.0")
    assert precision_of(load(copy)) == ("fp16", 256, 64)


def test_a_precision_from_a_sweep_comes_with_its_clamp(copy: Path) -> None:
    best = copy.parent / "best.yaml"
    best.write_text("train: {precision: fp16}\n")
    run(copy, "--preset", "paper256", "--gpus", "8", "--from", str(best))
    assert precision_of(load(copy)) == ("fp16", 256, 256)


@pytest.mark.parametrize(
    ("before", "gpus", "share", "cores", "trials"),
    [
        (0.0, 1, 1.0, 1.0, 1),
        (0.5, 2, 0.5, 1.0, 4),
        (0.0, 8, 1.0, 1.0, 8),
        (0.0, 0, 0.0, 0.66, 3),
        (0.5, 0, 0.0, 0.66, 3),
    ],
)
def test_trials_of_a_sweep_run_where_the_plan_does(
    base: Params, before: float, gpus: int, share: float, cores: float, trials: int
) -> None:
    old = {"gpus_per_worker": before, "cpus_per_worker": 0.66, "max_concurrent_trials": 3, "workers_per_trial": 1}
    base = base.model_copy(update={"sweep": base.sweep.model_copy(update=old)})
    sweep = planned(base, "auto", 64, gpus=gpus).sweep
    assert (sweep.gpus_per_worker, sweep.cpus_per_worker, sweep.max_concurrent_trials) == (share, cores, trials)


@pytest.mark.parametrize("resolution", [8, 16, 32, 64, 128, 256, 512, 1024, 2048, (192, 256), (48, 96)])
def test_no_sheet_of_a_plan_is_longer_than_4096_pixels(base: Params, resolution: int | tuple[int, int]) -> None:
    render = resolve.checked(resolve.resolve("auto", resolution, 1, base)).render
    longer = resolution if isinstance(resolution, int) else max(resolution)
    noise = min(4, len(render.mixing_cols)) + 1
    across = [sheet_columns(render.num_seeds), len(render.psi_strip), len(render.mixing_cols) + 1, noise]
    rows = [-(-render.num_seeds // across[0]), render.strip_num_seeds]
    if resolution != 2048:  # whose three bands are too many whatever is planned, and are reduced
        rows.append(3 * len(render.mixing_rows) + 1)
    assert max(across + rows) * longer * render.video_scale <= 4096


@pytest.mark.parametrize(("resolution", "scale"), [(32, 4), (64, 4), (128, 3), (256, 1), (1024, 1)])
def test_small_images_are_enlarged_for_the_eye_and_large_ones_are_not(
    base: Params, resolution: int, scale: int
) -> None:
    assert planned(base, "auto", resolution).render.video_scale == scale


def test_a_plan_for_small_images_after_one_for_large_ones_draws_as_many_as_before(base: Params) -> None:
    large = planned(base, "auto", 1024)
    assert large.render.num_seeds < 60
    assert planned(large, "auto", 64).render == planned(base, "auto", 64).render


def test_only_values_that_change_are_shown_in_80_columns_and_all_on_demand(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    arguments = ["--preset", "auto", "--resolution", "256", "--gpus", "2", "--dry-run"]
    run(copy, *arguments, "evaluate.metrics=[kid, fid]", "train.seed=7")
    short = capsys.readouterr().out
    assert max(map(len, short.splitlines())) <= 80
    assert re.search(r"evaluate.metrics +\[kid, fid\] ", short)  # not taken for markup
    assert "train.seed " in short
    assert "tracking.experiment" not in short
    assert "values stay as they are; --all lists them." in short
    run(copy, *arguments, "--all")
    full = capsys.readouterr().out
    assert "tracking.experiment" in full
    assert "evaluate.metrics" in full
    assert max(map(len, full.splitlines())) <= 80


def test_every_plan_ends_with_what_it_needs_and_from_where_that_is_known(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def last(*arguments: str) -> str:
        run(copy, "--dry-run", *arguments)
        return " ".join(capsys.readouterr().out.split())[-700:]

    gpu = last("--preset", "paper256", "--gpus", "1")
    assert "25000 kimg on 1 GPU (14 sec/kimg, extrapolated from one H100 at 256 pixels without kernels)" in gpu
    assert "good from 5,000 to 25,000 kimg = 20 h to 4.1 days" in gpu
    assert gpu.endswith("GB on each GPU, without libraries (counted); disk 9.3 GB (counted, without the images).")
    assert "(12.5 sec/kimg, published for A100)" in last("--preset", "paper256", "--gpus", "1", "--reference", "a100")
    own = last("--preset", "paper256", "--gpus", "1", "--reference", "h100")
    assert "(14 sec/kimg, measured on one H100 without kernels)" in own
    assert "(3 sec/kimg, given by --sec-per-kimg)" in last("--preset", "cifar", "--gpus", "1", "--sec-per-kimg", "3")
    processor = last("--preset", "cifar", "--gpus", "0")
    assert "extrapolated from convolutions on this machine, 50 GFLOP/s); memory 2.2 GB (counted)" in processor
    assert "Too long? A smaller --resolution or more --gpus." in processor
    without_gpu = last("--preset", "auto", "--resolution", "32", "--gpus", "0")
    assert re.search(r"Needs: (5\d min|60 min|1 h) for", without_gpu)
    assert "Too long?" not in without_gpu


def test_the_disk_of_a_plan_holds_every_checkpoint_that_a_run_keeps(make_params: Make) -> None:
    g_params, d_params = 10**7, 2 * 10**7
    with_between, without = (
        summary.run_bytes(make_params(f"cluster.checkpoint_minutes={minutes}"), g_params, d_params, 3)
        for minutes in (5, 0)
    )
    state = 4 * (3 * (g_params + d_params) + g_params)  # weights, two moments of each, and the averaged generator
    assert with_between - without == (recent.NUM_TO_KEEP + 1) * state  # and one that is being written
    images = summary.run_bytes(make_params(), 0, 0, 3)
    assert without - images == (recent.NUM_SNAPSHOTS + 1) * (state + 4 * g_params)  # with the generator's file


@pytest.mark.parametrize("overrides", [(), ("train.kernels=stock", "train.allow_tf32=true")])
def test_how_a_gpu_computes_beside_its_precision_stays_as_it_is(repository: Path, overrides: tuple[str, ...]) -> None:
    before = load(repository / "params.yaml", overrides)
    train = planned(before, "paper256", gpus=8).train
    assert (train.kernels, train.allow_tf32) == (before.train.kernels, before.train.allow_tf32)


@pytest.mark.parametrize("name", ladder.names())
@pytest.mark.parametrize(("preset", "resolution"), [("auto", 64), ("paper256", None)])
def test_every_row_of_a_ladder_fits_a_plan_for_gpus(
    base: Params, preset: str, resolution: int | None, name: str
) -> None:
    rows = ladder.load(name)
    for row in rows.rows:
        ladder.of_row(planned(base, preset, resolution, gpus=2), rows, row.name, lambda: 1000)


def test_no_gpu_means_one_process_on_the_processor_for_published_networks(base: Params) -> None:
    params = planned(base, "paper256", gpus=0)
    assert (params.cluster.num_workers, params.cluster.use_gpu) == (1, False)
    assert (params.generator.channel_base, params.generator.z_dim) == (16384, 512)


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 2), (3, 2), (4, 4), (64, 4)])
def test_auto_without_a_gpu_is_the_recipe_of_the_default_run_with_a_process_on_each_core(
    base: Params, monkeypatch: pytest.MonkeyPatch, cores: int, workers: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    params = planned(base, "auto", 32, gpus=0)
    assert (params.cluster.num_workers, params.cluster.use_gpu) == (workers, False)
    assert params.train.batch_size == workers * params.train.batch_gpu
    sections = ("generator", "discriminator", "augment", "loss")
    assert [getattr(params, name) for name in sections] == [getattr(base, name) for name in sections]
    assert (params.train.g_lr, params.train.ema_kimg) == (base.train.g_lr, base.train.ema_kimg)


# A doubling costs about four times as much while the width at the highest resolution stays (16 up to 64 pixels, 4 from
# 256 on), and less than twice where it halves.
@pytest.mark.parametrize(("size", "growth"), [(64, 4.2), (128, 2), (256, 2), (512, 4.2)])
def test_auto_without_a_gpu_stays_narrow_at_every_resolution(base: Params, size: int, growth: float) -> None:
    small, large = (flops_per_image(planned(base, "auto", side, gpus=0)) for side in (size // 2, size))
    assert small < large < growth * small


def test_a_source_and_no_gpu_are_a_whole_plan_of_about_an_hour(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # one process, whose speed is given
    write_photos(tmp_path / "set", 40, {})
    run(copy, "--source", str(tmp_path / "set"), "--gpus", "0", "--sec-per-kimg", "9")
    params = load(copy)
    assert (params.train.total_kimg, params.prepare.resolution, params.data.use_labels) == (400, 32, True)
    run(copy, "--source", str(tmp_path / "set"), "--gpus", "0", "train.total_kimg=3")
    assert load(copy).train.total_kimg == 3


@pytest.mark.parametrize(("cores", "side", "size"), [(2, 200, 32), (4, 200, 64), (4, 60, 32)])
def test_the_resolution_without_a_gpu_suits_cores_and_images(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, side: int, size: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    (tmp_path / "set").mkdir()
    for number in range(12):
        picture(number, side, side).save(tmp_path / "set" / f"{number}.png")
    run(copy, "--source", str(tmp_path / "set"), "--gpus", "0")
    assert load(copy).prepare.resolution == size
    run(copy, "--source", str(tmp_path / "set"), "--gpus", "0", "--resolution", "16")
    assert load(copy).prepare.resolution == 16


# Trainable parameters of G and D without labels, as measured on the official networks.
@pytest.mark.parametrize(
    ("preset", "resolution", "overrides", "G_count", "D_count"),
    [
        ("stylegan2", None, (), 30_370_060, 29_012_513),
        ("paper1024", None, (), 30_370_060, 29_012_513),
        ("auto", 1024, (), 28_794_124, 29_012_513),
        ("paper512", None, (), 30_276_583, 28_982_849),
        ("paper256", None, (), 24_767_458, 24_001_089),
        ("auto", 256, (), 23_191_522, 24_001_089),
        ("auto", 128, (), 22_949_277, 23_882_369),
        ("cifar", None, (), 19_947_539, 20_720_641),
    ],
)
def test_parameter_counts_are_the_official_ones(
    base: Params, preset: str, resolution: int | None, overrides: tuple[str, ...], G_count: int, D_count: int
) -> None:
    assert advice.parameter_counts(planned(base, preset, resolution)) == (G_count, D_count)


def test_starting_from_networks_follows_p_faster_and_averages_from_the_start(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy.parent)
    (copy.parent / "pretrained").mkdir()
    (copy.parent / "pretrained" / "face.safetensors").touch()
    plain = ["--preset", "auto", "--resolution", "256", "--gpus", "1"]
    run(copy, *plain)
    fresh = load(copy)
    assert (fresh.train.resume_from, fresh.augment.ada_kimg, fresh.train.ema_rampup) == (None, 500, 0.05)
    run(copy, *plain, "--resume-from", "pretrained/face.safetensors", "augment.p=0.25")
    params = load(copy)
    assert (params.train.resume_from, params.augment.p) == ("pretrained/face.safetensors", 0.25)
    assert (params.augment.ada_kimg, params.train.ema_rampup) == (100, None)
    shown = " ".join(capsys.readouterr().out.split())
    assert "--resume-from: p has to follow faster, 100 kimg instead of 500" in shown
    assert "--resume-from: the average is good from the start" in shown


def paced(written: Params) -> dict[str, float]:
    """What goes by the speed of the machine: tests/unit/test_pace.py"""
    return {"tick_kimg": written.train.tick_kimg, "snapshot_ticks": written.train.snapshot_ticks}


def run(base: Path, *arguments: str) -> None:
    run_or_exit(plan.main, "--base", str(base), *arguments)


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_bytes((repository / "params.yaml").read_bytes())
    return path


def test_written_file_says_what_was_resolved_and_keeps_its_comments(
    base: Params, copy: Path, write_pictures: Callable[..., list[str]]
) -> None:
    before = copy.read_text()
    write_pictures(copy.parent / "set", 12)
    source = str(copy.parent / "set")
    run(copy, "--preset", "auto", "--resolution", "256", "--gpus", "2", "--source", source, "train.seed=7")
    written = load(copy)
    expected = planned(base, "auto", 256, 2).model_dump(mode="json")
    expected["train"] |= paced(written)
    expected["prepare"]["source"], expected["train"]["seed"] = source, 7
    expected["prepare"]["holdout_fraction"] = 0  # of so few images
    assert written.model_dump(mode="json") == expected
    comments = [line.split("#", 1)[1] for line in before.splitlines() if "#" in line]
    assert [line.split("#", 1)[1] for line in copy.read_text().splitlines() if "#" in line] == comments


def test_planning_twice_changes_nothing_more(copy: Path) -> None:
    run(copy, "--preset", "paper512", "--gpus", "4")
    once = copy.read_bytes()
    run(copy, "--preset", "paper512", "--gpus", "4")
    assert copy.read_bytes() == once


def test_dry_run_writes_nothing(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = copy.read_bytes()
    run(copy, "--preset", "paper256", "--gpus", "8", "--dry-run")
    assert copy.read_bytes() == before
    shown = capsys.readouterr().out
    assert "Dry run: nothing written." in shown
    shown = " ".join(shown.split())
    assert "G has 24,767,458 parameters, D has 24,001,089 (without labels)." in shown
    assert "try 0.25, 0.5, 1, 2, 4 and keep the lowest KID or FID." in shown


def test_table_shows_what_was_there_and_why_it_changes(base: Params) -> None:
    base = base.model_copy(update={"loss": base.loss.model_copy(update={"r1_gamma": 0.5})})
    console = make_console(width=200, file=io.StringIO(), record=True)
    console.print(advice.table(resolve.resolve("auto", 256, 1, base), base))
    row = next(line for line in console.export_text().splitlines() if "r1_gamma" in line)
    assert row.split() == ["loss.r1_gamma", "0.8192", "0.5", *["0.0002", "x", "resolution^2", "/", "batch_size"]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--preset", "paper256", "--gpus", "65"],
            "preset paper256 has a batch of 64 images, fewer than 65 GPUs. Use --gpus 64, or --preset auto, which "
            "sizes the batch for the GPUs.",
        ),
        (
            ["--preset", "auto", "--resolution", "100", "--gpus", "1"],
            "plan: resolution is 100; the networks double a base of 4 to 16 pixels a side, and this one comes to "
            "25 x 25. Set prepare.resolution to 96 or 104.",
        ),
        (
            ["--preset", "auto", "--gpus", "1", "--source", "nowhere"],
            "--source nowhere: not found. Give a folder, a .zip or a dataset file.",
        ),
        (
            ["--preset", "auto", "--gpus", "1", "--resume-from", "pretrained/none"],
            "--resume-from pretrained/none: no such file. Name one in pretrained/, see pretrained/README.md.",
        ),
        (
            ["--preset", "auto", "--gpus", "1", "--resume-from", "README.md"],
            "--resume-from README.md: outside pretrained/. Copy it to pretrained/README.md and name that.",
        ),
        (["--preset", "auto", "--gpus", "1", "trian.seed=1"], "plan: trian is not a parameter; did you mean train?"),
    ],
)
def test_what_cannot_be_planned_is_explained_and_nothing_is_written(
    copy: Path, arguments: list[str], expected: str
) -> None:
    before = copy.read_bytes()
    with pytest.raises(SystemExit) as caught:
        run(copy, *arguments)
    assert caught.value.code == expected
    assert copy.read_bytes() == before


def test_another_existing_file_is_not_overwritten(copy: Path) -> None:
    other = copy.with_name("other.yaml")
    other.write_text("mine")
    with pytest.raises(SystemExit) as caught:
        run(copy, "--preset", "cifar", "--gpus", "2", "--out", str(other))
    assert caught.value.code == f"{other} exists and is not {copy}, where values are kept from. Remove it first."
    assert other.read_text() == "mine"


def test_auto_goes_by_the_longer_side(base: Params, copy: Path) -> None:
    run(copy, "--preset", "auto", "--resolution", "192x256", "--gpus", "1")
    wide, square = load(copy), planned(base, "auto", 256)
    assert wide.prepare.resolution == (192, 256)
    others = {"prepare": True, "train": {"tick_kimg", "snapshot_ticks"}}
    assert wide.model_dump(exclude=others) == square.model_dump(exclude=others)
    G_count, D_count = advice.parameter_counts(wide)
    # The base of 12 x 16, not 4 x 4, costs more in the constant and in the dense layer, and saves levels.
    assert (G_count, D_count) != advice.parameter_counts(square)


@pytest.mark.parametrize("text", ["big", "1x2x3", "16x", "-16"])
def test_what_is_no_size_is_refused(copy: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(copy, "--preset", "auto", f"--resolution={text}", "--gpus", "1")
    assert f"{text!r} is not a size; write 256, or 192x256 for height and width" in capsys.readouterr().err


def test_negative_number_of_gpus_is_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(copy, "--preset", "cifar", "--gpus", "-1")
    assert capsys.readouterr().err.endswith("argument --gpus: is -1; expected 0 or more\n")


@pytest.mark.parametrize(
    "value", [None, True, 0.5, 3, "a text", "null", "on", "1_0", [1, 2], [0.5, 1.0e-8], 1.0e-8, 1.0e20]
)
def test_a_rewritten_value_reads_back_and_its_comment_stays(value: object) -> None:
    text = rewritten("a:\n  b: [1, 2]   # why\n  c: 1\n", {"a.b": value})
    assert yaml.safe_load(text) == {"a": {"b": value, "c": 1}}
    assert "# why" in text


def test_a_number_as_dvc_writes_it_may_stay_in_a_file_that_is_rewritten() -> None:
    assert rewritten("a: {b: 5e-05, c: 1}\n", {"a.b": 5e-05, "a.c": 2}) == "a: {b: 5e-05, c: 2}\n"


def test_rewriting_an_unknown_path_raises() -> None:
    with pytest.raises(KeyError):
        rewritten("a: {b: 1}\n", {"b.c": 1})


def test_a_preset_with_an_unknown_key_is_refused(base: Params) -> None:
    choices = resolve.resolve("auto", 32, 1, base) | {"loss.gamma": Choice(1, "preset")}
    with pytest.raises(ConfigError, match=r"plan: loss.gamma is not a parameter; did you mean r1_gamma\?"):
        resolve.checked(choices)


def test_an_official_file_has_to_be_imported_before_training_starts_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pretrained").mkdir()
    (tmp_path / "pretrained" / "face.pkl").write_bytes(b"")
    with pytest.raises(ConfigError) as caught:
        transfer_choices("pretrained/face.pkl")
    assert str(caught.value) == (
        "--resume-from pretrained/face.pkl: an official file. Run `python -m stylegan import pretrained/face.pkl "
        "pretrained/face.safetensors` and name pretrained/face.safetensors."
    )


BEST = "# kid 0.3\naugment: {ada_target: 0.4}\nrender: {truncation_psi: 0.7}\n"


def test_the_best_of_a_sweep_becomes_the_parameters_and_nothing_else_changes(base: Params, copy: Path) -> None:
    best = copy.parent / "best.yaml"
    best.write_text(BEST)
    run(copy, "--from", str(best))
    expected = base.model_dump(mode="json")
    expected["augment"]["ada_target"], expected["render"]["truncation_psi"] = 0.4, 0.7
    assert load(copy).model_dump(mode="json") == expected


def test_the_best_of_a_sweep_goes_over_a_preset(base: Params, copy: Path) -> None:
    best = copy.parent / "best.yaml"
    best.write_text(BEST)
    run(copy, "--preset", "paper256", "--gpus", "8", "--from", str(best))
    expected = planned(base, "paper256", gpus=8).model_dump(mode="json")
    expected["augment"]["ada_target"], expected["render"]["truncation_psi"] = 0.4, 0.7
    expected["train"] |= paced(load(copy))
    assert load(copy).model_dump(mode="json") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "no such file. `make sweep` writes reports/sweep/best.yaml."),
        ("- 1", "holds list, expected sections such as `augment:`"),
        ("augment: {ada_targe: 0.4}", "augment.ada_targe is not a parameter; did you mean augment.ada_target?"),
    ],
)
def test_a_file_of_values_that_cannot_be_used_is_refused(copy: Path, text: str | None, expected: str) -> None:
    best, before = copy.parent / "best.yaml", copy.read_bytes()
    if text is not None:
        best.write_text(text)
    with pytest.raises(SystemExit, match=re.escape(f"--from {best}: {expected}")):
        run(copy, "--from", str(best))
    assert copy.read_bytes() == before


@pytest.mark.parametrize("arguments", [[], ["--gpus", "2", "--from", "best.yaml"], ["--preset", "auto"]])
def test_a_preset_goes_with_gpus_and_something_has_to_be_asked_for(copy: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(copy, *arguments)
    assert caught.value.code == 2


def test_a_list_of_mappings_reads_back_as_it_was_in_either_dialect_of_yaml() -> None:
    value = [{"parameter": "on", "draw": "grid", "values": [1e-8, "no", "1_0", None]}]
    text = rewritten("sweep:\n  space: [1]  # what is tried\n", {"sweep.space": value})
    assert yaml.safe_load(text) == {"sweep": {"space": value}}
    assert "# what is tried" in text
