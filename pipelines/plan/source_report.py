"""What `plan --source` says of the images: how many, shapes, sizes, modes and labels, and what becomes of them."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from math import log
from pathlib import PurePosixPath
from statistics import median, quantiles

from pipelines.params import Params
from stylegan.config import colour_problems, count_problems, describe_unused_labels
from stylegan.config.pyramid import MIN_BASE, sides
from stylegan.data.holdout import choose_holdout
from stylegan.data.layout import INDEX
from stylegan.data.problems import BadFile, Problem, describe
from stylegan.data.survey import Survey
from stylegan.data.transforms import find_size_problem
from stylegan.wording import counted

ASPECTS = ((1, 1), (5, 4), (4, 3), (3, 2), (16, 10), (16, 9), (2, 1))  # named either way round
NEAR = 0.015  # within which an aspect has such a name
NUM_NAMED = 6  # in a line
MANY = 0.1  # of the images


def describe_source(found: Survey, params: Params) -> Iterator[str]:
    """Lines about a source, and about what the settings make of it"""
    yield from _describe_images(found)
    bad = find_bad(found, params)
    if bad:
        yield f"  {len(bad):,} of {len(found.read):,} images cannot be used:"
        yield from describe(bad)
    yield from _describe_split(found, params, bad)
    yield from _warn_of_sizes(found, params)
    if line := describe_unused_labels(params):
        yield line
    if channels := next((int(m.removesuffix("-channel")) for m in found.modes if m.endswith("-channel")), None):
        yield from colour_problems(params, channels)


def _describe_images(found: Survey) -> Iterator[str]:
    total, good = len(found.source.names), found.good
    sample = f"; the headers of {len(found.read):,}, evenly spread, were read" if found.is_sample else ""
    yield f"{found.source.name}: {counted(total, 'image')}{sample}"
    if good:
        smallest, largest = (choose(good, key=lambda check: check.width * check.height) for choose in (min, max))
        shorter = [min(check.width, check.height) for check in good]
        yield f"  shapes   {_list(Counter(name_aspect(check.width, check.height) for check in good))}"
        yield (
            f"  sizes    {smallest.width} x {smallest.height} to {largest.width} x {largest.height}; shorter side "
            f"{min(shorter)} to {max(shorter)}, median {median(shorter):g}"
        )
        yield f"  modes    {_list(found.modes)}"
    if found.labels is not None:
        where = "sub-folders" if found.labels.kind == "folders" else INDEX
        values = next((len(label) for label in found.labels.values if isinstance(label, list)), 0)
        counts = f"vectors of {values} numbers" if values else _list(Counter(found.labels.counts))
        yield f"  labels   {counts} ({where})"
    if found.source.ignored:
        kinds = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in found.source.ignored)
        yield (
            f"  ignored  {counted(len(found.source.ignored), 'file')} not named as images: {_list(kinds)}, "
            f"such as {found.source.ignored[0]}"
        )
    if unused := [*found.source.bad, *found.source.passed_over]:
        yield f"  unused   {counted(len(unused), 'other')}:"
        yield from describe(unused)


def find_bad(found: Survey, params: Params) -> list[BadFile]:
    """Images, of those read, that stage prepare would leave out with these settings"""
    labels = found.labels.values if found.labels is not None and params.prepare.labels != "none" else None
    bad = []
    for index, check in zip(found.read, found.checks, strict=True):
        problem = check.problem or find_size_problem(check.width, check.height, params.prepare)
        if problem is None and labels is not None and labels[index] is None:
            problem = Problem("has no label", "give it a class, or set prepare.labels to none")
        if problem is not None:
            bad.append(BadFile(found.source.names[index], problem))
    return bad


def _describe_split(found: Survey, params: Params, bad: list[BadFile]) -> Iterator[str]:
    """How many images train and are held out, whether prepare will stop, and what those are too few for"""
    share = len(bad) / len(found.read)
    if share > params.prepare.max_bad_share:
        yield (
            f"prepare will stop: {share:.1%} of the images cannot be used, above prepare.max_bad_share = "
            f"{params.prepare.max_bad_share:g}. Mend them, or set prepare.max_bad_share to {share + 0.0005:.3f}."
        )
    num_train, num_holdout = count_split(found, params, bad)
    about = "about " if found.is_sample else ""
    yield f"{about}{counted(num_train, 'image')} will train, {num_holdout:,} are held out."
    yield from count_problems(params, num_train)


def count_split(found: Survey, params: Params, bad: list[BadFile]) -> tuple[int, int]:
    """Images to train on and held out, estimated from those that were read"""
    source, config = found.source, params.prepare
    left_out = {file.source for file in bad}
    good = [index for index, name in enumerate(source.names) if name not in left_out]
    if found.is_sample:
        good = good[: round(len(source.names) * (1 - len(bad) / len(found.read)))]
    good = good[: config.max_images]
    if source.holdout is not None:
        num_holdout = sum(source.names[index] in source.holdout for index in good)
    else:
        labels = found.labels.values if found.labels is not None and config.labels != "none" else []
        classes = [label for index in good if labels and isinstance(label := labels[index], int)]
        groups = [source.groups[index] if source.groups else source.names[index] for index in good]
        usable = classes if len(classes) == len(good) else None
        held = choose_holdout(groups, config.holdout_fraction, config.seed, usable)
        num_holdout = sum(group in held for group in groups)
    return len(good) - num_holdout, num_holdout


def _warn_of_sizes(found: Survey, params: Params) -> Iterator[str]:
    """Whether many images are smaller than the resolution, or all are much larger"""
    high, wide = sides(params.prepare.resolution)
    smaller = sum(check.width < wide or check.height < high for check in found.good)
    shorter = [min(check.width, check.height) for check in found.good]
    tenth = quantiles(shorter, n=10)[0] if len(shorter) > 1 else shorter[0] if shorter else 0
    fits = MIN_BASE * 2 ** max(int(log(max(tenth, 2 * MIN_BASE) / MIN_BASE, 2)), 1)  # a power of two, as is usual
    if smaller > MANY * len(found.good):
        yield (
            f"{smaller:,} of {len(found.good):,} images are smaller than {wide} x {high} and would be enlarged; "
            f"--resolution {fits} suits nine in ten."
        )
    elif fits >= 2 * max(high, wide) and found.source.open is not None:
        yield f"Nine in ten images have at least {tenth:.0f} pixels a side: up to --resolution {fits} they show more."


def name_aspect(width: int, height: int) -> str:
    """ "3:2", or "2:3" of an upright image; "other" where no usual name is near"""
    for a, b in ASPECTS:
        for wide, high in ((a, b), (b, a)):
            if abs(log(width * high / (height * wide))) < NEAR:
                return f"{wide}:{high}"
    return "other"


def _list(counts: Counter[str]) -> str:
    shown = ", ".join(f"{name} {count:,}" for name, count in islice(counts.most_common(), NUM_NAMED))
    return shown + (f", and {counted(len(counts) - NUM_NAMED, 'other')}" if len(counts) > NUM_NAMED else "")
