"""A clone of the repository that trains a folder of images of its own, driven by real `dvc` commands."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from pipelines.params import Params
from pipelines.plan.yaml_edit import rewrite

CODE = (
    "pipelines", "stylegan", "pretrained/README.md", "weights/README.md", "dvc.yaml", ".dvc/config", ".dvcignore",
    "requirements-assets.txt", ".gitignore",
)  # fmt: skip
ASSETS = ("assets/earth/bmng.jpg", "assets/efficientnet_lite0.safetensors", "assets/lpips_vgg16.safetensors")


class Workplace:
    """A folder in which `git` and `dvc` are used."""

    def __init__(self, folder: Path, num_threads: int = 1) -> None:
        self.folder, self.num_threads = folder, num_threads  # what a shell gives every process

    def git(self, *arguments: str) -> None:
        """A git command of a user without a configuration"""
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *who, *arguments], cwd=self.folder, check=True)

    def commit(self) -> None:
        """What experiments and clones begin with"""
        with (self.folder / ".git" / "info" / "exclude").open("a") as file:
            file.write("/.site/\n")
        self.git("add", "-A")
        self.git("commit", "-qm", "begin")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A dvc command in a session of its own, so that all its processes can be killed at once"""
        environment = os.environ | {
            "DVC_NO_ANALYTICS": "true",
            "DVC_SITE_CACHE_DIR": str(self.folder / ".site"),
            "OMP_NUM_THREADS": str(self.num_threads),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": "",
        }
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", *arguments], cwd=self.folder, env=environment, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def dvc(self, *arguments: str) -> str:
        """Output of a dvc command that must succeed"""
        process = self.start(*arguments)
        output, _ = process.communicate()
        assert process.returncode == 0, output
        return output


class Project(Workplace):
    """A copy of the repository with a folder of images of its own; the random extractor needs no weights."""

    def __init__(self, folder: Path, repository: Path, params: Params, num_threads: int = 1) -> None:
        super().__init__(folder, num_threads)
        for name in CODE:
            source, target = repository / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        (folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
        for name in ASSETS:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("a stand-in that the random networks do not read")
        self.git("init", "-q")
        self.dvc("commit", "--force", "assets")

    def change(self, path: str, value: int) -> None:
        """Set one parameter."""
        file = self.folder / "params.yaml"
        rewrite(file, file, {path: value})

    def run_folder(self) -> Path:
        """The only run so far"""
        (folder,) = (path.parent for path in self.folder.glob("runs/*/driver.lock"))
        return folder
