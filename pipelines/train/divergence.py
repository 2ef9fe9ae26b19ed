"""What to do after a training whose gradients became infinite or not a number: which command resumes from where."""

from pathlib import Path

from ray.train import Checkpoint

from pipelines.diagnosis.shared_rules import stronger_regularizer
from pipelines.params import Params


def after_divergence(problem: str, params: Params, run: str, checkpoint: Checkpoint | None) -> str:
    """The problem, the snapshot that is good, and the command that begins another run with its networks

    Changed parameters make another run, which would begin at 0.
    """
    train = params.train
    gentler = f"train.g_lr={train.g_lr / 2:g} train.d_lr={train.d_lr / 2:g}"
    also = f"or raise {stronger_regularizer(params)}"
    if train.precision != "fp32":
        also += ", or set train.precision to fp32"
    if checkpoint is None:
        return (
            f"{problem} No snapshot was saved before. Start again with `python -m pipelines.train {gentler}`, {also}."
        )
    name = Path(checkpoint.path).name
    kimg = int(name.rpartition("_")[2]) / 1000
    file = f"pretrained/{run}-{kimg:g}kimg.safetensors"
    return (
        f"{problem} The snapshot of kimg {kimg:g} is good and kept as {checkpoint.path}. To continue from its "
        f"networks with half the learning rates: `python -m pipelines.peek --run {run} --networks {file} && python "
        "-m "
        f"pipelines.train train.resume_from={file} train.total_kimg={train.total_kimg - kimg:g} {gentler}`; {also}."
    )
