"""project, detect: images back to their styles, and what that tells about images."""

import argparse
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from torch import Tensor

from stylegan.analysis.detection import Separation, final_distances, generated_pictures, separate, verdict
from stylegan.analysis.projection import ProjectionConfig, Step, project_batches, published_search
from stylegan.analysis.targets import Target, list_files, list_pictures, load_targets
from stylegan.console import description_column, make_console
from stylegan.data import ImageDataset
from stylegan.drawing.generate import class_labels
from stylegan.drawing.style_files import save_styles
from stylegan.drawing.video import save_mp4
from stylegan.files import replacing, write_json, write_table
from stylegan.generators import class_of, load_any_generator
from stylegan.images import save_png, to_uint8
from stylegan.metrics.evaluation.sampling import synthesize_ws
from stylegan.metrics.extractors.lpips import Lpips, load_lpips
from stylegan.networks import Generator
from stylegan.text import print_lines

FPS, MAX_FRAMES = 30, 150  # a video of five seconds, however long the search
VIDEO_SIDE = 256  # smaller images are enlarged to about this many pixels in videos
BINS = 30


def published(options: argparse.Namespace) -> ProjectionConfig:
    """The options, and the published values for the rest."""
    return published_search(
        space=options.space,
        optimize_noise=options.noise,
        num_steps=options.steps,
        learning_rate=options.learning_rate,
        seed=options.seed,
    )


def project(options: argparse.Namespace) -> str:
    """A folder for each target with what the search found, and tables of the distances."""
    G, class_index, lpips, config = _open(options)
    files, notes = list_files(options.targets)
    loaded, reasons = load_targets(files, G)
    reasons = [*notes, *reasons]
    _tell(loaded, reasons)
    names = folder_names([target.path for target in loaded])
    targets = torch.stack([target.img for target in loaded])
    c = class_labels(len(targets), G.c_dim, class_index)
    steps = project_batches(G, targets, c, lpips, config, options.batch_size)
    shown = _shown(steps, -(-len(targets) // options.batch_size), config.num_steps)
    columns = []
    for rows, part in groupby(shown, key=lambda item: item[0]):
        folders = [options.out / names[row] for row in rows]
        columns.append(
            _follow(G, targets[rows.start : rows.stop], (step for _, step in part), folders, config, options)
        )
    table = torch.cat(columns, dim=1)  # [num_steps + 1, N]
    write_table(options.out / "distances.csv", ["step", *names], ([i, *row] for i, row in enumerate(table.tolist())))
    results = [
        {"target": str(target.path), "folder": name, "start": start, "end": end}
        for target, name, start, end in zip(loaded, names, table[0].tolist(), table[-1].tolist(), strict=True)
    ]
    write_json(options.out / "summary.json", _facts(options, lpips, config) | {"results": results})
    lines = [f"{entry['folder']}: distance {entry['start']:.4f} -> {entry['end']:.4f}" for entry in results]
    left_out = [f"{len(reasons)} left out:", *reasons] if reasons else []
    return "\n".join([*lines, f"{len(names)} projections in {options.out}", *left_out])


def _tell(targets: Sequence[Target], reasons: Sequence[str]) -> None:
    """Say on stderr what was done to images, and at once which are left out: the search may take hours."""
    for line in (*(target.note for target in targets if target.note), *(f"left out: {each}" for each in reasons)):
        print_lines(line, to_stderr=True)


def _follow(
    G: Generator, targets: Tensor, steps: Iterable[Step], folders: Sequence[Path], config: ProjectionConfig,
    options: argparse.Namespace,
) -> Tensor:  # fmt: skip
    """Write what the search finds for targets [N, C, H, W]  ->  distances [num_steps + 1, N]"""
    due = {round(config.num_steps * i / MAX_FRAMES) for i in range(MAX_FRAMES + 1)} if options.video else set()
    frames, distances = [], []
    for step in steps:
        distances.append(step.distance.cpu())
        if step.index in due or step.index == config.num_steps:
            with torch.no_grad():
                frames.append(to_uint8(synthesize_ws(G, step.ws, step.noise)).cpu())
    for place, folder in enumerate(folders):
        save_png(targets[place], folder / "target.png")
        save_png(frames[-1][place], folder / "proj.png")
        one = slice(place, place + 1)
        noise = {name: maps[one] for name, maps in step.noise.items()}  # none when the generator's own were used
        save_styles(step.ws[one], folder / "projected_w.npz", noise)
        if options.video:
            video = (torch.cat([targets[place], frame[place]], dim=2) for frame in frames)
            save_mp4(video, folder / "proj.mp4", fps=FPS, scale=max(1, VIDEO_SIDE // targets.shape[2]))
    return torch.stack(distances)


def detect(options: argparse.Namespace) -> str:
    """Distances of real and generated images from their projections, their histogram, and what it means."""
    G, class_index, lpips, config = _open(options)
    real, c, names = real_pictures(options, G, class_index)
    generated = generated_pictures(G, c, seed=config.seed, psi=options.psi, batch_size=options.batch_size)
    targets, labels = torch.cat([real, generated]), torch.cat([c, c])
    steps = project_batches(G, targets, labels, lpips, config, options.batch_size)
    shown = _shown(steps, -(-len(targets) // options.batch_size), config.num_steps)
    ends = final_distances(shown, config.num_steps)
    result = separate(ends[: len(real)], ends[len(real) :])
    kinds = [*(("real", name) for name in names), *(("generated", str(i)) for i in range(len(generated)))]
    rows = ([kind, name, end] for (kind, name), end in zip(kinds, ends.tolist(), strict=True))
    write_table(options.out / "distances.csv", ["kind", "picture", "distance"], rows)
    draw_histogram(ends[: len(real)], ends[len(real) :], result, options.out / "histogram.png")
    low, high = result.interval
    numbers = {
        "auc": result.auc,
        "auc_low": low,
        "auc_high": high,
        "threshold": result.threshold,
        "accuracy": result.accuracy,
    }
    facts = {"real": str(options.real), "num": len(real), "psi": options.psi}
    write_json(options.out / "summary.json", _facts(options, lpips, config) | facts | numbers)
    return f"{verdict(result)}\nhistogram.png, distances.csv and summary.json in {options.out}"


def real_pictures(
    options: argparse.Namespace, G: Generator, class_index: int | None
) -> tuple[Tensor, Tensor, list[str]]:
    """options.num images of options.real, chosen by the seed: uint8 [N, C, H, W], labels [N, c_dim], names.

    Raises ValueError if there are fewer, or when they have no labels that a conditional generator needs.
    """
    if options.real.is_dir():
        files, notes = list_pictures(options.real)
        chosen = [files[row] for row in _choose(options, len(files))]
        c = class_labels(len(chosen), G.c_dim, class_index)
        loaded, reasons = load_targets(chosen, G)
        if reasons:
            raise ValueError(f"{reasons[0]} Or remove it from {options.real}.")
        _tell(loaded, notes)
        return (
            torch.stack([target.img for target in loaded]),
            c,
            [path.relative_to(options.real).as_posix() for path in chosen],
        )
    own_labels = G.c_dim > 0 and class_index is None
    dataset = ImageDataset(options.real, use_labels=own_labels, xflip=False, split=options.split, max_images=None)
    if own_labels and dataset.c_dim != G.c_dim:
        raise ValueError(f"{options.real}: labels of {dataset.c_dim} numbers; this generator takes {G.c_dim}.")
    rows = _choose(options, len(dataset))
    pictures, c = dataset.batch(rows)
    return pictures, c if own_labels else class_labels(len(rows), G.c_dim, class_index), [str(i) for i in rows]


def _choose(options: argparse.Namespace, count: int) -> list[int]:
    if count < options.num:
        raise ValueError(f"{options.real}: holds {count} images, fewer than --num {options.num}. Ask for fewer.")
    rows: list[int] = np.random.default_rng(options.seed).choice(count, options.num, replace=False).tolist()
    return sorted(rows)


def folder_names(targets: Sequence[Path]) -> list[str]:
    """A folder for each target: its name without the ending, all numbered when two have the same"""
    stems = [path.stem for path in targets]
    return stems if len(set(stems)) == len(stems) else [f"{stem}-{i}" for i, stem in enumerate(stems, start=1)]


def draw_histogram(real: Tensor, generated: Tensor, result: Separation, path: Path) -> None:
    """Distances real [N] and generated [M] as one histogram with the threshold between them."""
    # Here, because other commands need not wait for its import.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    bins = np.linspace(0, float(torch.cat([real, generated]).max()) * 1.05, BINS + 1).tolist()
    for values, name, colour in ((generated, "generated", "#0072B2"), (real, "real", "#D55E00")):
        axes.hist(values.tolist(), bins=bins, alpha=0.6, color=colour, label=f"{len(values)} {name}")
    title = "AUC {:.3f} (95% interval {:.3f} to {:.3f})".format(result.auc, *result.interval)
    axes.axvline(result.threshold, color="#1f2328", linestyle="--", label=f"threshold {result.threshold:.3g}")
    axes.set(xlabel="LPIPS between image and projection", ylabel="pictures", title=title)
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _open(options: argparse.Namespace) -> tuple[Generator, int | None, Lpips, ProjectionConfig]:
    """The generator, the class asked for, and how to search"""
    config = published(options)
    lpips = load_lpips(options.distance, options.weights).to(options.device)
    G, names = load_any_generator(options.generator)
    return G.to(options.device), class_of(options.class_name, G, names), lpips, config


def _facts(options: argparse.Namespace, lpips: Lpips, config: ProjectionConfig) -> dict[str, object]:
    return {"generator": str(options.generator), "distance": lpips.name, **config.model_dump()}


def _shown(steps: Iterator[tuple[range, Step]], num_searches: int, num_steps: int) -> Iterator[tuple[range, Step]]:
    """Pass steps on, showing on stderr how far the searches are, their distance and the time left."""
    console, total = make_console(stderr=True), num_searches * (num_steps + 1)
    if console.is_terminal:
        columns = description_column(), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("searching", total=total)
            for item in steps:
                yield item
                bar.update(task, advance=1, description=f"distance {float(item[1].distance.mean()):.4f}")
        return
    begin = time.monotonic()
    for done, item in enumerate(steps, start=1):
        yield item
        if done * 10 // total > (done - 1) * 10 // total:
            left = (time.monotonic() - begin) * (total - done) / done
            mean = float(item[1].distance.mean())
            print_lines(f"step {done}/{total}, distance {mean:.4f}, {left:.0f} s left", to_stderr=True)
