"""The lines that end every plan: how long it takes, what it needs, and how long a good result takes at its size."""

from collections.abc import Iterator

from pipelines.drawing.samples import num_samples
from pipelines.params import Params
from pipelines.plan.cost.speed import Speed
from pipelines.plan.pace import minutes
from stylegan.config.pyramid import sides, spelt

FLOAT = 4  # bytes
PROCESS_GB = 0.45  # torch and Ray in a worker before there is a network (docs/scaling.md)
SNAPSHOTS = 3 + 1  # the best two, the last, and one that is being written
BETWEEN = 2 + 1  # checkpoints to resume from, and one that is being written
COPIES = 3  # of the images of a snapshot: samples/, the journal and MLflow
PNG = 0.75  # bytes of an image's file for each of its own
RECOGNISABLE_KIMG, GOOD_KIMG = 1000, (5000, 25000)  # read off the curves of Karras et al. 2020a, at 128 to 1024 pixels
LONG_SEC = 30 * 86400  # that nobody waits


def lines(params: Params, img_channels: int, speed: Speed) -> Iterator[str]:
    """What to expect, and last duration, memory and disk with their sources"""
    from pipelines.plan.cost.memory import memory  # deferred: torch takes seconds

    workers, on_gpu = params.cluster.max_workers, params.cluster.use_gpu
    need = memory(params, img_channels, params.train.batch_gpu)
    where = f"{workers} GPU{'s' * (workers > 1)}" if on_gpu else f"{workers} process{'es' * (workers > 1)}"
    if on_gpu:
        room = f"{need.total / 2**30:.1f} GB on each GPU, without libraries"
    else:
        room = f"{workers * (PROCESS_GB + need.total / 2**30):.1f} GB"
    disk = run_bytes(params, need.g_params, need.d_params, img_channels)
    yield good_result(params, speed)
    yield (
        f"Needs: {minutes(params.train.total_kimg * speed.sec_per_kimg)} for {params.train.total_kimg:g} kimg on "
        f"{where} ({speed.sec_per_kimg:.3g} sec/kimg, {speed.source}); memory {room} (counted); disk "
        f"{disk / 2**30:.1f} GB (counted, without the images)."
    )


def good_result(params: Params, speed: Speed) -> str:
    """How long until images are recognisable, and as good as published ones"""
    first, low, high = (minutes(kimg * speed.sec_per_kimg) for kimg in (RECOGNISABLE_KIMG, *GOOD_KIMG))
    text = (
        f"A good result at {spelt(params.prepare.resolution)} pixels (rule of thumb from published curves): "
        f"recognisable after {RECOGNISABLE_KIMG:,} kimg = {first}, good from {GOOD_KIMG[0]:,} to {GOOD_KIMG[1]:,} kimg "
        f"= {low} to {high}; less from pretrained networks (--resume-from)."
    )
    if GOOD_KIMG[0] * speed.sec_per_kimg > LONG_SEC:
        text += " Too long? A smaller --resolution or more --gpus."
    return text


def run_bytes(params: Params, g_params: int, d_params: int, img_channels: int) -> float:
    """Of runs/ and MLflow at most: checkpoints, and the images of every snapshot"""
    generator, state = FLOAT * g_params, FLOAT * (3 * (g_params + d_params) + g_params)  # with moments and G_ema
    between = BETWEEN if params.cluster.checkpoint_minutes else 0
    snapshots = params.train.total_kimg / params.train.tick_kimg / params.train.snapshot_ticks
    images = COPIES * PNG * (1 + snapshots) * sample_bytes(params, img_channels)
    return SNAPSHOTS * (state + generator) + between * state + images


def sample_bytes(params: Params, img_channels: int) -> float:
    """Of the images of a snapshot before they are compressed"""
    height, width = sides(params.prepare.resolution)
    return float(num_samples((height, width)) * height * width * min(img_channels, 4))
