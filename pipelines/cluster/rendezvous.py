"""How the workers of a group find each other: by a file when all are on one machine.

torch's own way is a server in rank 0, which listens on every address and takes orders from anyone.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group, _TorchBackend

from pipelines.cluster.loopback import LOOPBACK


@dataclass
class GroupConfig(TorchConfig):
    """Ray's settings of a process group, with the meeting place that suits the cluster"""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        return GroupBackend


class GroupBackend(_TorchBackend):
    """Sets up the process group: by a file where Ray runs on this machine alone, else as Ray does"""

    folder: Path | None = None

    def on_start(self, worker_group: Any, backend_config: GroupConfig) -> None:
        """Called whenever a group of workers has started, also after a loss."""
        self._forget()
        if ray.util.get_node_ip_address() != LOOPBACK:
            super().on_start(worker_group, backend_config)
            return
        self.folder = Path(tempfile.mkdtemp(prefix="stylegan-group-"))  # which no other user may enter
        num_workers, gpus = len(worker_group), worker_group.get_resources_per_worker().get("GPU", 0)
        worker_group.execute(_set_torch_distributed_env_vars)
        ray.get([
            worker_group.execute_single_async(
                rank, _setup_torch_process_group,
                backend="nccl" if gpus else "gloo", world_rank=rank, world_size=num_workers,
                init_method=f"file://{self.folder / 'meet'}", timeout_s=backend_config.timeout_s,
            )
            for rank in range(num_workers)
        ])  # fmt: skip

    def on_shutdown(self, worker_group: Any, backend_config: GroupConfig) -> None:
        """Called before a group of workers ends."""
        try:
            super().on_shutdown(worker_group, backend_config)
        finally:  # a worker that died cannot be asked to end
            self._forget()

    def _forget(self) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None
