"""What the settings ask of the number of images, known before anything is trained.

Does not import torch, so that a plan can ask it too.
"""

from collections.abc import Iterator

from stylegan.config.checks import Config

# Features of each image; FID-infinity needs ten times as many images. Of a file of the user's own it is not known here.
NUM_FEATURES = {"inception": 2048, "vgg16": 4096, "efficientnet_lite0": 1280, "random": 64}
INFINITY_FEWEST = 10  # generated images for each feature
IS_SPLITS = 10
OF_FEATURES = {"kid", "pr", "is", "fid_infinity"}  # metrics that have a real-image baseline


def count_problems(config: Config, num_train: int) -> Iterator[str]:
    """What cannot be measured with so many images to train on, each with a setting that mends it."""
    yield from _monitor_problems(config, min(num_train, config.data.max_images or num_train))
    yield from _baseline_problems(config, num_train)
    if "memorization" in config.evaluate.metrics and num_train < 3:
        yield (
            f"evaluate.metrics has memorization, which needs 3 training images; there are {num_train}. Add images, or "
            "take memorization out of evaluate.metrics."
        )


def _monitor_problems(config: Config, count: int) -> Iterator[str]:
    neighbors = config.monitor.pr_neighbors
    if config.monitor.num_images and count <= neighbors:
        fewer = f"monitor.pr_neighbors to {count - 1}, or " if count > 1 else ""
        yield (
            f"monitor.pr_neighbors is {neighbors}, which needs at least {neighbors + 1} training images; there are "
            f"{count}. Set {fewer}monitor.num_images to 0 and monitor.export to last."
        )


def _baseline_problems(config: Config, num_train: int) -> Iterator[str]:
    """The real-image baseline compares one half of the training images, or fewer, with the rest."""
    evaluate, metrics = config.evaluate, [*config.evaluate.metrics]
    half = num_train // 2
    if OF_FEATURES & set(metrics) and half < 2:
        yield (
            f"evaluate.metrics is {metrics}, which compare two halves of at least 2 training images; there are "
            f"{num_train}. Add images, or set evaluate.metrics to [fid]."
        )
        return
    if "pr" in metrics and half <= evaluate.pr_neighbors:
        yield (
            f"evaluate.pr_neighbors is {evaluate.pr_neighbors}, which needs two halves of at least "
            f"{evaluate.pr_neighbors + 1} training images; there are {num_train}. Set evaluate.pr_neighbors to "
            f"{half - 1}, or take pr out of evaluate.metrics."
        )
    if "is" in metrics and min(half, evaluate.num_images) < IS_SPLITS:
        yield (
            f"evaluate.metrics has is, which needs {IS_SPLITS} generated images and twice as many to train on; "
            f"there are {evaluate.num_images} and {num_train}. Take is out of evaluate.metrics."
        )
    need = INFINITY_FEWEST * NUM_FEATURES.get(evaluate.extractor, 1)
    if "fid_infinity" in metrics and evaluate.num_images < need:
        yield (
            f"evaluate.metrics has fid_infinity, which needs {need} generated images; evaluate.num_images is "
            f"{evaluate.num_images}. Raise it, or take fid_infinity out of evaluate.metrics."
        )


def describe_unused_labels(config: Config) -> str | None:
    """One line if images are given labels that training does not use, with the setting that changes it; else None"""
    if config.prepare.labels == "none" or config.data.use_labels:
        return None
    return (
        f"prepare.labels is {config.prepare.labels}, but data.use_labels is false: training ignores the labels. For a "
        "conditional generator set data.use_labels to true."
    )
