"""What a number may be called: a published name means a published protocol, everything else names its network."""

from dataclasses import dataclass

from stylegan.config.sections import EvaluateConfig
from stylegan.metrics.evaluation.metric import Kind, MetricName

PUBLISHED_NUM_IMAGES = 50_000
PUBLISHED_PR_REALS, PUBLISHED_KID_REALS = 200_000, 1_000_000  # at most
# Columns of the training log, in the rows of snapshots (stylegan/monitor.py).
KID, KID_SE, PRECISION, RECALL, SPREAD = (
    f"monitor/{name}" for name in ("kid", "kid_se", "precision", "recall", "spread")
)


@dataclass(frozen=True)
class MetricNames:
    """Names of the numbers of one evaluation."""

    fid: MetricName
    kid: MetricName
    precision: MetricName
    recall: MetricName
    density: MetricName
    coverage: MetricName
    inception_score: MetricName
    fid_infinity: MetricName
    memorized: MetricName


def metric_names(config: EvaluateConfig, extractor: str, *, whole_set: int) -> MetricNames:
    """Names of the numbers that an extractor makes with this configuration.

    extractor: name of the loaded network; only those of the public files are called inception and vgg16.
    whole_set: number of real images if every one is compared with, unmirrored; 0 if some are held out or left out.
    Published are (Karras et al. 2020): FID, KID and Inception Score of 50,000 images by Inception, KID over 100
    subsets of 1000; precision and recall of 50,000 images by VGG16 with k = 3. There KID takes a part of more than a
    million real images, and precision and recall of more than 200,000; here all are compared with, so larger sets get
    no published name.
    """
    enough = config.num_images == PUBLISHED_NUM_IMAGES
    inception = extractor == "inception" and enough
    subsets = config.kid_num_subsets == 100 and config.kid_subset_size == 1000
    pr = extractor == "vgg16" and enough and 0 < whole_set <= PUBLISHED_PR_REALS and config.pr_neighbors == 3
    # Only distances between features of a trained network may carry the letters FID.
    is_random = extractor == "random"

    def named(kind: Kind, published: str = "") -> MetricName:
        return MetricName(published or f"{kind}_{extractor}", kind, extractor)

    return MetricNames(
        fid=named("frechet") if is_random else named("fid", "fid50k_full" if inception and whole_set else ""),
        kid=named("kid", "kid50k_full" if inception and 0 < whole_set <= PUBLISHED_KID_REALS and subsets else ""),
        precision=named("precision", "pr50k3_full_precision" if pr else ""),
        recall=named("recall", "pr50k3_full_recall" if pr else ""),
        density=named("density"),
        coverage=named("coverage"),
        inception_score=named("is", "is50k" if inception else ""),
        fid_infinity=named("fid_infinity", "frechet_infinity_random" if is_random else ""),
        memorized=MetricName("memorized_8px", "memorized", "thumbnails"),  # the side of a thumbnail, and no network
    )


def path_length_name(protocol: str, config: EvaluateConfig, lpips: str) -> MetricName:
    """Name of a path length; published (Karras et al. 2019 and 2020) are 50,000 pairs by the public VGG16"""
    published = config.ppl_num_pairs == PUBLISHED_NUM_IMAGES and config.ppl_epsilon == 1e-4
    if lpips == "vgg16" and published:
        return MetricName(protocol, "ppl", lpips)
    return MetricName(f"{'ppl' if protocol == 'ppl2_wend' else protocol}_{lpips}", "ppl", lpips)
