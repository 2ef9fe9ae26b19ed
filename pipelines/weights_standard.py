"""Fetch the networks that published metrics are defined with into weights/: `make weights-standard`. Needs internet.

This is the only code that opens a URL, and it runs only when a person asks for it. A file takes its name once its
sha256 is that of the public file.
"""

import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipelines.assets import AssetError
from pipelines.command_table import COMMANDS
from stylegan.exit_codes import exit_code
from stylegan.files import replacing, sha256_of
from stylegan.metrics.extractors.weights import FOLDER, INCEPTION_STATE, VGG16_SCRIPT, WeightFile

WANTED = (INCEPTION_STATE, VGG16_SCRIPT)
BLOCK = 1 << 20  # bytes
TIMEOUT_SEC = 60


def fetch_file(file: WeightFile, folder: Path) -> Path:
    """Download a file into the folder, unless it already exists, and return its path.

    Raises AssetError if it cannot be had or is not the public file; then nothing is left there.
    """
    path = folder / file.names[0]
    if path.exists() and sha256_of(path) == file.sha256:
        print(f"{path} already exists")
        return path
    with replacing(path) as temporary:
        _download(file.url, temporary, path.name)
        digest = sha256_of(temporary)
        if digest != file.sha256:
            raise AssetError(
                f"{file.url}: sha256 is {digest}, expected {file.sha256}. This is not the public file; nothing was "
                "kept. Try another network, and distrust this one if it stays so."
            )
    print(f"{path}  sha256 {file.sha256[:12]}  {file.licence}")
    return path


def _download(url: str, target: Path, name: str) -> None:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SEC) as reply, target.open("wb") as output:
            total, done = int(reply.headers.get("Content-Length") or 0), 0
            while block := reply.read(BLOCK):
                output.write(block)
                done += len(block)
                print(f"\r{name}: {done >> 20} of {total >> 20} MiB", end="", flush=True)
        print()
    except (urllib.error.URLError, OSError, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise AssetError(
            f"{url}: cannot be fetched ({error}). Fetch it by other means and put it into {FOLDER}/, or set "
            "HTTPS_PROXY."
        ) from None


def fetch_all(files: Iterable[WeightFile], folder: Path) -> None:
    """Fetch every file."""
    for file in files:
        fetch_file(file, folder)


@exit_code
def main(arguments: Sequence[str] | None = None) -> None:
    """Fetch the public files into weights/."""
    COMMANDS["weights-standard"].parse(arguments)
    fetch_all(WANTED, Path(FOLDER))


if __name__ == "__main__":
    sys.exit(main())
