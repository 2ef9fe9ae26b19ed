"""Stage `prepare`: the images that prepare.source names -> data/archive.zip and data/manifest.json."""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from pipelines.artifacts import manifest_json
from pipelines.artifacts.workspace import ARCHIVE, MANIFEST
from pipelines.assets import ASSETS
from pipelines.cluster.progress import track
from pipelines.cluster.signals import stop_on_signals
from pipelines.command_table import COMMANDS
from pipelines.params import load
from stylegan.config.sections import PrepareConfig
from stylegan.data.archive import (
    Plan,
    Source,
    check_all,
    convert_all,
    label_vectors,
    plan_archive,
    refuse_losses,
    write_archive,
)
from stylegan.data.layout import INDEX, ArchiveError
from stylegan.data.problems import describe
from stylegan.data.sources import open_source
from stylegan.exit_codes import exit_code
from stylegan.files import write_json
from stylegan.text import listed, print_lines
from stylegan.wording import counted

NUM_SHOWN = 12  # kinds of files, or numbers of a label vector, that one line names
EARTH = ASSETS / "earth" / "bmng.jpg"


def prepare(config: PrepareConfig, archive: Path, manifest_path: Path, earth: Path, workers: int) -> Plan:
    """Check every file, then convert the good ones; nothing is written before all are checked.

    Raises ArchiveError if there is nothing to prepare, or more files than prepare.max_bad_share cannot be used; these
    are then listed in bad_files.json next to the manifest.
    """
    source = open_source(config, earth)
    total, refused = len(source.names), manifest_path.with_name("bad_files.json")
    checks = list(track(check_all(source, config, workers), total, "checking"))
    plan = plan_archive(source, checks, config)
    if plan.bad:
        print_lines(
            f"{len(plan.bad):,} of {plan.num_good + len(plan.bad):,} images cannot be used:", *describe(plan.bad)
        )
    try:
        refuse_losses(source, plan, config)
    except ArchiveError:
        write_json(refused, [file.as_json() for file in plan.bad])
        print_lines(f"All of them: {refused}")
        raise
    if plan.bad:
        print_lines(f"They are left out. All of them: {manifest_path}")
    pngs = convert_all(source, plan, config, workers)
    digest = write_archive(archive, plan, track(pngs, len(plan.entries), "converting"))
    manifest = manifest_json.describe(source, plan, config, digest)
    manifest_json.write(manifest_path, manifest)
    refused.unlink(missing_ok=True)
    print_lines(*summary(plan, archive, manifest.num_enlarged, source))
    return plan


def summary(plan: Plan, archive: Path, num_enlarged: int, source: Source) -> list[str]:
    """What the archive holds, in a few lines."""
    split = Counter(entry.split for entry in plan.entries)
    lines = [
        f"{archive}: {counted(len(plan.entries), 'image')} {plan.mode}, {split['train']} to train, "
        f"{split['holdout']} held out",
        *describe_labels(plan),
    ]
    if plan.num_good > len(plan.entries):
        lines.append(
            f"{counted(plan.num_good - len(plan.entries), 'image was', 'images were')} not drawn (prepare.max_images)"
        )
    if num_enlarged:
        few, were = counted(num_enlarged, "image is", "images are"), "was" if num_enlarged == 1 else "were"
        lines.append(f"{few} smaller than prepare.resolution and {were} enlarged")
    if copies := count_leaked_copies(plan):
        lines.append(
            f"{copies} images to train on are copies of held-out ones, because {INDEX} of the source splits them"
        )
    if source.note:
        lines.append(source.note)
    if source.ignored:
        kinds = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in source.ignored)
        named = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common(NUM_SHOWN))
        lines.append(
            f"{counted(len(source.ignored), 'file is', 'files are')} ignored, not named as images ({named}), such as "
            f"{source.ignored[0]}"
        )
    if source.passed_over:
        lines += ["Not used, though no image is lost:", *describe(source.passed_over)]
    return lines


def count_leaked_copies(plan: Plan) -> int:
    """Images to train on whose group is also held out, as only a source that is split already can have them"""
    held = {entry.group for entry in plan.entries if entry.split == "holdout"}
    return sum(entry.split == "train" and entry.group in held for entry in plan.entries)


def describe_labels(plan: Plan) -> list[str]:
    """Images of each class, or numbers of the label vectors; and classes without an image to train on"""
    classes = Counter(entry.label for entry in plan.entries if isinstance(entry.label, int))
    names = plan.class_names or [str(label) for label in range(max(classes, default=-1) + 1)]
    lines = []
    if classes:
        counts = [f"{name} {classes[label]}" for label, name in enumerate(names)]
        lines.append(f"classes: {listed(counts)}")
        trained = {entry.label for entry in plan.entries if entry.split == "train"}
        empty = [name for label, name in enumerate(names) if label not in trained]
        if empty:
            lines.append(f"classes without an image to train on: {listed(empty)}")
    if vectors := label_vectors(plan.entries):
        nonzero = vectors.num_images
        where = ", ".join(map(str, nonzero)) if len(nonzero) <= NUM_SHOWN else f"{min(nonzero)} to {max(nonzero)}"
        lines.append(f"labels: vectors of {len(vectors.max)} numbers, which are not 0 in {where} images")
    return lines


@exit_code
@stop_on_signals()
def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare what params.yaml says, with `section.key=value` arguments over it."""
    options = COMMANDS["prepare"].parse(arguments)
    config = load(overrides=options.overrides).prepare
    prepare(config, ARCHIVE, MANIFEST, EARTH, workers=os.cpu_count() or 1)


if __name__ == "__main__":
    sys.exit(main())
