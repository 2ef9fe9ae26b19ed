#!/usr/bin/env bash
# What Ray runs on every node before it starts there: setup.sh [folder of the environment]
#
# Installs what pyproject.toml asks for, in the versions of constraints.txt, into an environment of the node's own, unless it
# has them. The code itself is not installed: every node imports it from the folder that this file lies in, so none is stale.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=${1:-$HOME/stylegan2-ada-venv}

[ -x "$venv/bin/python" ] || "${PYTHON:-python3.11}" -m venv "$venv"
missing=$("$venv/bin/python" - "$project/pyproject.toml" <<'PYTHON'
import importlib.metadata, re, sys, tomllib

for requirement in tomllib.load(open(sys.argv[1], "rb"))["project"]["dependencies"]:
    name, version = re.sub(r"\[.*\]", "", requirement).split("==")
    try:
        if importlib.metadata.version(name).partition("+")[0] == version:  # +cpu and +cu130 are one version
            continue
    except importlib.metadata.PackageNotFoundError:
        pass
    print(requirement)
PYTHON
)
if [ -n "$missing" ]; then
    index=()
    # PyPI has torch with CUDA, several GB that a node without a GPU does not need.
    command -v nvidia-smi >/dev/null || index=(--extra-index-url https://download.pytorch.org/whl/cpu)
    mapfile -t requirements <<<"$missing"
    "$venv/bin/python" -m pip install --disable-pip-version-check --quiet "${index[@]}" -c "$project/constraints.txt" \
        "${requirements[@]}"
fi

# Ray's shells read ~/.bashrc, and what `ray start` inherits, its workers inherit.
{
    echo "export STYLEGAN_PROJECT=$project"
    echo "export PATH=$venv/bin:\$PATH"
    echo "export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0"
    # Debian names a machine 127.0.1.1, and gloo would offer that address to the others.
    interface=$(ip -o route get 1.1.1.1 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p' || true)
    [ -z "$interface" ] || echo "export GLOO_SOCKET_IFNAME=$interface NCCL_SOCKET_IFNAME=$interface"
} >~/.stylegan2-ada.sh
grep -qs stylegan2-ada.sh ~/.bashrc || echo '. ~/.stylegan2-ada.sh' >>~/.bashrc
[ ! -e ~/.ray/auth_token ] || chmod 600 ~/.ray/auth_token
