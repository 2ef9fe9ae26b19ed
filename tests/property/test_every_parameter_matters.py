"""Every leaf of Params is changed, and something that a person can observe has to change with it.

A parameter that nobody reads cannot survive this file: it has to name every leaf of params.yaml, and each change must
alter what its section decides: the archive, how it is read, the weights after a few steps, the numbers, the pictures.
Where to run and what to record have no result of their own; the pipelines have to read each of those.
"""

import ast
import functools
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from PIL import Image

from pipelines.params import AblateConfig, ClusterConfig, Params, SweepConfig, TrackingConfig, leaves
from pipelines.prepare import prepare
from pipelines.train.start import pretrained_file, start
from stylegan.augment import AugmentPipe
from stylegan.checkpoint import save_checkpoint
from stylegan.data import ImageDataset
from stylegan.data.layout import ArchiveError
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.evaluation.evaluator import Reference, Sweep
from stylegan.networks import Generator
from stylegan.ops import kernels
from stylegan.state import TrainState
from stylegan.train import train
from tests.evaluation_results import evaluation_results

Make = Callable[..., Params]

# A new value for each leaf, after the values of others that it needs to have an effect at all.
PREPARE = {
    "source": ["prepare.source={other}"],
    "resolution": ["prepare.resolution=32"],
    "transform": ["prepare.transform=center-crop"],
    "resize_filter": ["prepare.resize_filter=box"],
    "mode": ["prepare.mode=L"],
    "labels": ["prepare.labels=folders"],
    "max_bad_share": ["prepare.max_bad_share=0"],
    "holdout_fraction": ["prepare.holdout_fraction=0.5"],
    "max_images": ["prepare.max_images=5"],
    "seed": ["prepare.seed=1"],
}
ADA = ["augment.mode=ada", "augment.p=0.5", "augment.p_max=1.0", "augment.ada_interval=1", "augment.ada_kimg=0.01"]
LABELS = ["prepare.labels=folders", "data.use_labels=true"]
PRETRAINED = "train.resume_from=pretrained/unconditional.safetensors"
GROWING = [
    "generator.architecture=orig", "discriminator.architecture=orig", "train.grow_stable_kimg=0.004",
    "train.grow_fade_kimg=0.004", "train.grow_from=4",
]  # fmt: skip
DATA = {
    "use_labels": LABELS,
    "xflip": ["data.xflip=true"],
    "max_images": ["data.max_images=5"],
}
TRAINING = {
    "generator.style_block": ["generator.style_block=adain"],
    "generator.architecture": ["generator.architecture=resnet"],
    "generator.z_dim": ["generator.z_dim=4"],
    "generator.w_dim": ["generator.w_dim=4"],
    "generator.mapping_layers": ["generator.mapping_layers=1"],
    "generator.mapping_lr_multiplier": ["generator.mapping_lr_multiplier=0.1"],
    "generator.channel_base": ["generator.channel_base=32"],
    "generator.channel_max": ["generator.channel_max=3"],
    "generator.conv_clamp": ["generator.conv_clamp=0.1"],
    "generator.w_avg_beta": ["generator.w_avg_beta=0.5"],
    "generator.use_noise": ["generator.use_noise=false"],
    "discriminator.architecture": ["discriminator.architecture=skip"],
    "discriminator.mapping_layers": [*LABELS, "discriminator.mapping_layers=1"],
    "discriminator.mapping_lr_multiplier": [*LABELS, "discriminator.mapping_lr_multiplier=0.1"],
    "discriminator.channel_base": ["discriminator.channel_base=32"],
    "discriminator.channel_max": ["discriminator.channel_max=3"],
    "discriminator.conv_clamp": ["discriminator.conv_clamp=0.1"],
    "discriminator.mbstd_group_size": ["discriminator.mbstd_group_size=4"],
    "discriminator.mbstd_num_channels": ["discriminator.mbstd_num_channels=2"],
    "augment.mode": [*ADA, "augment.mode=none"],
    "augment.p": [*ADA, "augment.p=0.2"],
    "augment.p_max": [*ADA, "augment.ada_target=-1.0", "augment.p_max=0.5"],
    "augment.ada_target": [*ADA, "augment.ada_target=-1.0"],
    "augment.ada_interval": [*ADA, "augment.ada_interval=2"],
    "augment.ada_kimg": [*ADA, "augment.ada_kimg=1.0"],
    "augment.diffaugment": ["augment.mode=diffaugment", "augment.diffaugment=[cutout]"],
    "loss.adversarial": ["loss.adversarial=wgan_gp"],
    "loss.d_regularizer": ["loss.d_regularizer=gp"],
    "loss.gp_weight": ["loss.d_regularizer=gp", "loss.gp_weight=1.0"],
    "loss.drift_weight": ["loss.adversarial=wgan_gp", "loss.drift_weight=1.0"],
    "loss.r1_gamma": ["loss.r1_gamma=1.0"],
    "loss.d_reg_interval": ["loss.d_reg_interval=1"],
    "loss.pl_weight": ["loss.pl_weight=0.5"],
    "loss.pl_batch_shrink": ["loss.pl_batch_shrink=4"],
    "loss.pl_decay": ["loss.pl_decay=0.5"],
    "loss.g_reg_interval": ["loss.g_reg_interval=1"],
    "loss.style_mixing_prob": ["loss.style_mixing_prob=0.0"],
    "train.seed": ["train.seed=1"],
    "train.total_kimg": ["train.total_kimg=0.012"],
    "train.batch_size": ["train.batch_size=8"],
    "train.batch_gpu": ["train.batch_gpu=2"],
    "train.g_lr": ["train.g_lr=0.001"],
    "train.d_lr": ["train.d_lr=0.001"],
    "train.adam_betas": ["train.adam_betas=[0.5, 0.99]"],
    "train.adam_eps": ["train.adam_eps=0.1"],
    "train.ema_kimg": ["train.ema_rampup=null", "train.ema_kimg=0.001"],
    "train.ema_rampup": ["train.ema_rampup=null"],
    "train.tick_kimg": ["train.tick_kimg=0.016"],
    "train.snapshot_ticks": ["train.snapshot_ticks=2"],
    "train.precision": ["train.precision=bf16"],
    "train.resume_from": [PRETRAINED],
    "train.label_transfer": [*LABELS, PRETRAINED, "train.label_transfer=average"],
    "train.freeze_d": ["train.freeze_d=1"],
    "train.freeze_g": ["train.freeze_g=1"],
    "train.freeze_mapping": ["train.freeze_mapping=true"],
    "train.grow_from": [*GROWING, "train.grow_from=8"],
    "train.grow_stable_kimg": [*GROWING, "train.grow_stable_kimg=0.008"],
    "train.grow_fade_kimg": [*GROWING, "train.grow_fade_kimg=0.008"],
}  # fmt: skip
# On a processor these change nothing; there they have to reach what chooses kernels and flags of torch.
ON_A_GPU = {"train.kernels": ["train.kernels=stock"], "train.allow_tf32": ["train.allow_tf32=true"]}
RENDER = {
    "num_seeds": ["render.num_seeds=3"],
    "truncation_psi": ["render.truncation_psi=0.3"],
    "psi_strip": ["render.psi_strip=[0.0, 1.0]"],
    "strip_num_seeds": ["render.strip_num_seeds=1"],
    "mixing_rows": ["render.mixing_rows=[5]"],
    "mixing_cols": ["render.mixing_cols=[5]"],
    "interpolation_images": ["render.interpolation_images=3"],
    "interpolation_frames": ["render.interpolation_frames=5"],
    "video_fps": ["render.video_fps=7"],
    "video_scale": ["render.video_scale=3"],
}
MONITOR = {
    "extractor": ["monitor.extractor=efficientnet_lite0"],
    "extractor_input_size": ["monitor.extractor_input_size=32"],
    "num_images": ["monitor.num_images=12"],
    "pr_neighbors": ["monitor.pr_neighbors=3"],
    "export": ["monitor.export=last"],
}
EVALUATE = {
    "extractor": ["evaluate.extractor=efficientnet_lite0"],
    "extractor_input_size": ["evaluate.extractor_input_size=16"],
    "num_images": ["evaluate.num_images=12"],
    "batch_size": ["evaluate.batch_size=3"],
    "seed": ["evaluate.seed=1"],
    "metrics": ["evaluate.metrics=[kid]"],
    "bootstrap_num_resamples": ["evaluate.bootstrap_num_resamples=11"],
    "bootstrap_level": ["evaluate.bootstrap_level=0.5"],
    "neighbors_num_shown": ["evaluate.neighbors_num_shown=3"],
    "truncation_psi": ["evaluate.truncation_psi=[0.5, 1.0]"],
    "truncation_cutoff": ["evaluate.truncation_psi=[0.5, 1.0]", "evaluate.truncation_cutoff=2"],
    "kid_num_subsets": ["evaluate.kid_num_subsets=2"],
    "kid_subset_size": ["evaluate.kid_subset_size=3"],
    "pr_neighbors": ["evaluate.pr_neighbors=3"],
    "floor_splits": ["evaluate.floor_splits=3"],
    "ppl_network": ["evaluate.ppl_network=lpips_vgg16"],
    "ppl_num_pairs": ["evaluate.ppl_num_pairs=3"],
    "ppl_epsilon": ["evaluate.ppl_epsilon=0.1"],
}


def test_every_parameter_is_examined(tiny_params: Params) -> None:
    examined = {*TRAINING, *ON_A_GPU}
    sections = {"prepare": PREPARE, "data": DATA, "monitor": MONITOR, "evaluate": EVALUATE, "render": RENDER}
    for section, changes in sections.items():
        examined |= {f"{section}.{key}" for key in changes}
    examined |= {f"augment.multipliers.{name}" for name in MULTIPLIERS}
    examined |= {f"{section}.{key}" for section, key in ONLY_READ}
    assert examined == {path for path, _ in leaves(tiny_params.model_dump(mode="json"))}


# prepare: the archive and its manifest, or the refusal.


@pytest.fixture(scope="module")
def picture_folders(tmp_path_factory: pytest.TempPathFactory, write_pictures: Callable[..., list[str]]) -> Path:
    """Two folders of images; one has two classes, a wide image and a text that calls itself an image."""
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder / "first" / "a", 6)
    write_pictures(folder / "first" / "b", 6, size=24)
    Image.new("RGB", (30, 20), "red").save(folder / "first" / "wide.png")
    (folder / "first" / "text.png").write_text("no image")
    write_pictures(folder / "second", 4)
    return folder


def prepared(params: Params, folder: Path) -> str:
    archive, manifest = folder / "archive.zip", folder / "manifest.json"
    try:
        prepare(params.prepare, archive, manifest, earth=folder / "absent" / "earth.jpg", workers=1)
    except ArchiveError as error:
        return str(error)
    entries = json.loads(manifest.read_text())["images"]
    return digest(archive.read_bytes(), json.dumps(entries))


@pytest.mark.parametrize("key", PREPARE)
def test_prepare_parameter_changes_the_archive(
    key: str, make_params: Make, picture_folders: Path, tmp_path: Path
) -> None:
    first = [f"prepare.source={picture_folders / 'first'}", "prepare.holdout_fraction=0.25", "prepare.labels=none"]
    first += ["prepare.max_bad_share=1"]
    change = [text.format(other=picture_folders / "second") for text in PREPARE[key]]
    before = prepared(make_params(*first), tmp_path)
    assert prepared(make_params(*first, *change), tmp_path) != before


# data: what training sees of the archive.


@pytest.mark.parametrize("key", DATA)
def test_data_parameter_changes_what_training_sees(key: str, make_params: Make, tiny_archive: Path) -> None:
    from pipelines.train.identity import open_training_set

    before, after = (open_training_set(tiny_archive, make_params(*change)) for change in ([], DATA[key]))
    assert (len(before), before.c_dim) != (len(after), after.c_dim)


# generator, discriminator, augment, loss, train: everything a tick reports and every weight after it.


@pytest.fixture(scope="module")
def trained(make_params: Make, tiny_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """trained(overrides...) -> digest of six steps, remembered"""
    root, cpu = tmp_path_factory.mktemp("root"), torch.device("cpu")
    other = TrainState.create(make_params("train.seed=9"), img_resolution=16, img_channels=3, c_dim=0, device=cpu)
    save_checkpoint(other, root / "pretrained" / "unconditional.safetensors")

    @functools.cache
    def run(*overrides: str) -> str:
        torch.manual_seed(0)
        params = make_params(
            "train.total_kimg=0.024", "loss.g_reg_interval=2", "loss.d_reg_interval=2", "augment.mode=none", *overrides
        )
        dataset = ImageDataset(
            tiny_archive, use_labels=params.data.use_labels, xflip=False, split="train", max_images=None
        )
        state, _ = start(params, dataset, pretrained_file(params, root), cpu)
        ticks = [
            (tick.index, tick.cur_nimg, tick.is_snapshot, sorted(tick.stats.items())) for tick in train(state, dataset)
        ]
        weights = [
            t.detach().float().numpy().tobytes()
            for net in (state.G, state.D, state.G_ema)
            for t in net.state_dict().values()
        ]
        return digest(repr(ticks), repr((state.p, state.pl_mean, state.cur_nimg)), *weights)

    return run


def test_equal_parameters_train_equally(trained: Callable[..., str]) -> None:
    # Otherwise every comparison below would succeed. The second spelling is not in the memory of `trained`.
    assert trained() == trained("train.seed=0")


@pytest.mark.parametrize("path", TRAINING)
def test_training_parameter_changes_the_weights_or_the_ticks(path: str, trained: Callable[..., str]) -> None:
    *context, change = TRAINING[path]
    assert change.startswith(f"{path}=")
    assert trained(*context, change) != trained(*context)


@pytest.mark.parametrize("path", ON_A_GPU)
def test_parameter_of_a_gpu_changes_how_the_worker_computes(
    path: str, make_params: Make, tiny_archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.cluster.errors import WorkerError
    from pipelines.cluster.files import Shared
    from pipelines.train import worker

    def begin(*_: object) -> None:
        raise RuntimeError(f"{mode}, TF32 {torch.backends.cudnn.allow_tf32}")  # instead of making the networks

    mode = ""

    def prepare(chosen: str, device: torch.device) -> None:
        nonlocal mode
        mode = chosen

    monkeypatch.setattr(kernels, "prepare", prepare)
    monkeypatch.setattr(worker, "start", begin)
    monkeypatch.setattr("ray.train.torch.get_device", lambda: torch.device("cpu"))

    def how(*overrides: str) -> str:
        job = {"files": {"archive": Shared(tiny_archive, "", None, None)}, "folder": tiny_archive / "none"}
        with pytest.raises(WorkerError) as caught:
            worker.train_worker(job | {"params": make_params(*overrides)})
        return str(caught.value)

    assert "RuntimeError: auto, TF32 False" in how()
    assert how() == how()
    assert how(*ON_A_GPU[path]) != how()


MULTIPLIERS = (
    "xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac", "brightness", "contrast", "lumaflip", "hue",
    "saturation", "imgfilter", "noise", "cutout",
)  # fmt: skip


@pytest.mark.parametrize("name", MULTIPLIERS)
def test_multiplier_changes_the_augmented_images(name: str, tiny_params: Params) -> None:
    none = tiny_params.augment.multipliers.model_copy(update=dict.fromkeys(MULTIPLIERS, 0.0))
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    augmented = []
    for multiplier in (0.0, 1.0):
        torch.manual_seed(0)
        augmented.append(AugmentPipe(none.model_copy(update={name: multiplier}))(images, 1.0))
    assert not torch.equal(*augmented)


# evaluate and render: the numbers and the pictures of one generator.


@pytest.fixture(scope="module", name="G")
def generator(tiny_params: Params) -> Generator:
    torch.manual_seed(0)
    G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=0).eval().requires_grad_(False)
    # Fresh weights give nearly equal, grey images: spread them as training would.
    G.mapping.w_avg.normal_()
    for name, weight in G.named_parameters():
        if name.endswith(("noise_strength", "bias")):
            weight.data += 0.3
    return G


@pytest.fixture(scope="module")
def measured(make_params: Make, tiny_archive: Path, G: Generator) -> Callable[..., str]:
    """measured(overrides...) -> every number of every psi, and the sizes of batches; or the refusal"""
    from pipelines.evaluate.on_cluster import make_evaluator

    @functools.cache
    def run(*overrides: str) -> str:
        overrides = ("evaluate.extractor=random", "evaluate.ppl_network=random", *overrides)
        params = make_params("evaluate.truncation_psi=[1.0]", "evaluate.extractor_input_size=32", *overrides)
        dataset = ImageDataset(tiny_archive, use_labels=False, xflip=False, split="train", max_images=None)
        absent = tiny_archive.parent / "absent"
        sizes: list[int] = []

        def noting_sizes(batches: Iterable[range], images_per_row: int) -> Iterable[range]:
            for rows in batches:
                sizes.append(len(rows))
                yield rows

        try:
            evaluator = make_evaluator(params.evaluate, dataset, absent)
            sweep = Sweep("generator", G, params.evaluate.truncation_psi)
            reference = Reference(evaluator.statistics(dataset, noting_sizes), torch.zeros(len(dataset), 0))
            measured = evaluator.measure([sweep], reference, noting_sizes)
        except (MetricError, FileNotFoundError) as error:
            return str(error)
        numbers = [(found.numbers, found.intervals) for found in measured]
        details = next(found.details for found in measured if found.details is not None)
        shown = details.neighbors and details.neighbors.most_suspicious(params.evaluate.neighbors_num_shown)
        return repr((numbers, sizes, shown))

    return run


@pytest.mark.parametrize("key", EVALUATE)
def test_evaluation_parameter_changes_the_numbers(key: str, measured: Callable[..., str]) -> None:
    *context, change = EVALUATE[key]
    assert measured(*context, change) != measured(*context)


@pytest.mark.parametrize("key", MONITOR)
def test_monitor_parameter_changes_the_columns_or_the_snapshot_that_becomes_the_generator(
    key: str, make_params: Make, tiny_archive: Path, G: Generator
) -> None:
    from ray.train import Checkpoint, Result

    from pipelines.train.snapshots import chosen
    from pipelines.train.worker import monitoring

    dataset = ImageDataset(tiny_archive, use_labels=False, xflip=False, split="train", max_images=None)
    absent = tiny_archive.parent / "absent"
    best, last = Checkpoint("/best"), Checkpoint("/last")
    row = {"nimg": 8.0, "kimg": 0.008}
    result = Result(metrics=row, checkpoint=last, error=None, path="", best_checkpoints=[(last, row), (best, row)])

    def decided(*overrides: str) -> str:
        params = make_params(*overrides)
        try:
            measured = monitoring(params, dataset, absent, torch.device("cpu"))(G)
        except FileNotFoundError as error:
            return str(error)
        return repr((measured, chosen(result, params.monitor)))

    assert decided() != decided(*MONITOR[key])


@pytest.mark.parametrize("key", RENDER)
def test_render_parameter_changes_the_pictures(
    key: str, make_params: Make, tiny_archive: Path, G: Generator, tmp_path: Path
) -> None:
    from pipelines.render.pictures import Found, draw_pictures

    numbers = {"kid_x": 0.1}
    found = Found(evaluation_results(numbers, floor=numbers, untrained=numbers), 0.0, None, None)
    dataset = ImageDataset(tiny_archive, use_labels=False, xflip=False, split="train", max_images=None)
    before, after = (
        repr(draw_pictures(make_params("render.video_scale=2", *change), G, dataset, tmp_path, found))
        for change in ([], RENDER[key])
    )
    assert before != after


# cluster, tracking, sweep, ablate: the code has to read them.

ONLY_READ = [
    (section, key)
    for section, model in (
        ("cluster", ClusterConfig),
        ("tracking", TrackingConfig),
        ("sweep", SweepConfig),
        ("ablate", AblateConfig),
    )
    for key in model.model_fields
]


@pytest.fixture(scope="module")
def reads(repository: Path) -> set[tuple[str, str]]:
    """(section, key) of every `section.key` or `something.section.key` in the pipelines"""
    found = set()
    for path in (repository / "pipelines").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute | ast.Name):
                owner = node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id
                found.add((owner, node.attr))
    return found


@pytest.mark.parametrize(("section", "key"), ONLY_READ)
def test_parameter_is_read_by_the_pipelines(section: str, key: str, reads: set[tuple[str, str]]) -> None:
    assert (section, key) in reads


def digest(*parts: str | bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode() if isinstance(part, str) else part)
    return whole.hexdigest()
