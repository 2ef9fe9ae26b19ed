#!/usr/bin/env bash
# What Ray runs on every node before it starts there: setup.sh [folder of the environment]
#
# Installs what the project needs, in the versions of constraints.txt, into an environment of the node's own, unless it has
# them; every file is compared with its sha256. The code itself is not installed: every node imports it from the folder that
# this file lies in, so none is stale. A node without the cluster's token is not set up.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
venv=${1:-$HOME/stylegan2-ada-venv}
guard=$HOME/.ray/auth_token
[ -s "$guard" ] || { echo "setup.sh: $guard is missing; \`make up\` makes it, and copies it to every node" >&2; exit 2; }
chmod 600 "$guard"

[ -x "$venv/bin/python" ] || "${PYTHON:-python3.11}" -m venv "$venv"
index=()
# PyPI has torch with CUDA, several GB that a node without a GPU does not need.
command -v nvidia-smi >/dev/null || index=(--torch-index https://download.pytorch.org/whl/cpu)
"$venv/bin/python" "$project/infra/install.py" --packages-only "${index[@]}"

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
