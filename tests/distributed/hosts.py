"""Machines for the tests: Linux namespaces on this one, each with an address, processes, a home and an sshd of its own.

A host sees the files of this machine but for /tmp/ray, /dev/shm, /etc/hosts, /etc/passwd and the shared folder. All
hosts hang on one bridge in a namespace of its own, so the network of this machine is not touched. Needs root.
"""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

SHARED = Path("/mnt/stylegan")  # as in infra/
TOOLS = ("ip", "unshare", "nsenter", "ssh", "ssh-keygen", "sshd", "rsync")
_SSHD = """\
Port 22
ListenAddress {address}
HostKey {folder}/hostkey
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
PidFile none
StrictModes no
AuthorizedKeysFile {folder}/home/.ssh/authorized_keys
MaxStartups 50
MaxSessions 50
"""


def unavailable() -> str | None:
    """Why there can be no such hosts here; None when there can"""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=_path()) is None]
    if missing:
        return f"{', '.join(missing)} missing: apt-get install iproute2 openssh-server rsync"
    trial = subprocess.run(["unshare", "--net", "--pid", "--fork", "true"], check=False, capture_output=True, text=True)
    return None if trial.returncode == 0 else f"this machine makes no namespaces: {trial.stderr.strip()}"


class Lab:
    """Hosts 1 .. count, at 10.77.0.1 .. 10.77.0.count, and the bridge between them."""

    def __init__(self, folder: Path, count: int, shared: Path) -> None:
        self.folder, self.shared = folder, shared
        self.prefix = f"sg{os.getpid() % 10000}"  # of the names of the namespaces; two suites may run at once
        self._sh(f"ssh-keygen -q -t ed25519 -N '' -f {folder}/key")
        switch = f"{self.prefix}-sw"
        for command in (f"netns add {switch}", f"-n {switch} link add br0 type bridge", f"-n {switch} link set br0 up"):
            self._sh(f"ip {command}")
        self.hosts = [Host(self, number, count) for number in range(1, count + 1)]

    def close(self) -> None:
        """End every process of every host and remove the namespaces."""
        for host in self.hosts:
            host.power_off()
        names = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout.split()
        for name in (name for name in names if name.startswith(f"{self.prefix}-")):
            self._sh(f"ip netns del {name}")
        with contextlib.suppress(OSError):  # a folder that somebody uses stays
            SHARED.rmdir()

    def _sh(self, command: str) -> None:
        subprocess.run(command, shell=True, check=True, env=os.environ | {"PATH": _path()})


class Host:
    """One machine; it is off until `power_on`."""

    def __init__(self, lab: Lab, number: int, count: int) -> None:
        self.lab, self.address, self.name = lab, f"10.77.0.{number}", f"{lab.prefix}-h{number}"
        self.folder = lab.folder / f"h{number}"
        self.home = self.folder / "home"
        self._init: subprocess.Popen[bytes] | None = None
        ssh = self.home / ".ssh"
        ssh.mkdir(parents=True)
        for name in ("ray", "shm"):
            (self.folder / name).mkdir()
        shutil.copy(lab.folder / "key", ssh / "id_ed25519")
        shutil.copy(lab.folder / "key.pub", ssh / "authorized_keys")
        (self.home / ".bashrc").touch()
        # As Debian does, the host's own name is its loopback address.
        others = "".join(f"10.77.0.{n} {lab.prefix}-h{n}\n" for n in range(1, count + 1) if n != number)
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n{others}")
        (self.folder / "passwd").write_text(
            f"root:x:0:0:root:{self.home}:/bin/bash\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
        )
        (self.folder / "sshd_config").write_text(_SSHD.format(address=self.address, folder=self.folder))
        lab._sh(f"ssh-keygen -q -t ed25519 -N '' -f {self.folder}/hostkey")
        switch, port = f"{lab.prefix}-sw", f"p{number}"
        for command in (
            f"netns add {self.name}",
            f"link add e0 netns {self.name} type veth peer name {port} netns {switch}",
            f"-n {switch} link set {port} master br0 up",
            f"-n {self.name} link set lo up",
            f"-n {self.name} addr add {self.address}/24 dev e0",
            f"-n {self.name} link set e0 up",
            f"-n {self.name} route add default via 10.77.0.254",  # nobody is there; Ray finds its address by it
        ):
            lab._sh(f"ip {command}")

    def power_on(self) -> None:
        """Start the host: its first process is sshd."""
        mounts = [
            (self.folder / "ray", "/tmp/ray"), (self.folder / "shm", "/dev/shm"), (self.folder / "hosts", "/etc/hosts"),
            (self.folder / "passwd", "/etc/passwd"), (self.lab.shared, str(SHARED)),
        ]  # fmt: skip
        for folder in ("/tmp/ray", str(SHARED), "/run/sshd"):
            Path(folder).mkdir(parents=True, exist_ok=True)
        binds = " && ".join(f"mount --bind {shlex.quote(str(source))} {target}" for source, target in mounts)
        script = (
            f"hostname {self.name} && mount --make-rprivate / && {binds} && "
            f"exec /usr/sbin/sshd -D -e -f {self.folder}/sshd_config"
        )
        self._sh(f"ip -n {self.name} link set e0 up")
        with (self.folder / "sshd.log").open("ab") as log:
            self._init = subprocess.Popen(
                ["ip", "netns", "exec", self.name, "unshare", "--uts", "--mount", "--pid", "--fork", "--kill-child",
                 "--mount-proc", "bash", "-c", script], stdout=log, stderr=log, env=self.environment(),
            )  # fmt: skip
        deadline = time.monotonic() + 120
        while "Server listening" not in (self.folder / "sshd.log").read_text():
            assert time.monotonic() < deadline, (self.folder / "sshd.log").read_text()
            time.sleep(0.05)

    def power_off(self) -> None:
        """Pull the plug: the link goes first, so no process says goodbye; then all of them end."""
        if self._init is None:
            return
        self._sh(f"ip -n {self.name} link set e0 down")
        for pid in self._processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._init.kill()
        self._init.wait()
        self._init = None
        for name in ("ray", "shm"):  # what does not outlive a restart
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir(exist_ok=True)
        (self.folder / "sshd.log").write_text("")

    def commands(self) -> list[str]:
        """Command lines of the processes that run on the host"""
        lines = []
        for pid in self._processes():
            try:
                lines.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except (FileNotFoundError, ProcessLookupError):
                continue
        return lines

    def start(self, *command: str, cwd: Path | None = None) -> "subprocess.Popen[str]":
        """Start a command on the host, its output in a pipe"""
        assert self._init is not None, f"{self.name} is off"
        (first,) = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()
        inside = ["nsenter", "-t", first, "-n", "-u", "-m", "-p", f"--wd={cwd or self.home}", *command]
        return subprocess.Popen(
            inside, env=self.environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def run(self, *command: str, cwd: Path | None = None) -> str:
        """Output of a command that must succeed"""
        process = self.start(*command, cwd=cwd)
        output, _ = process.communicate()
        assert process.returncode == 0, f"{shlex.join(command)}: exit status {process.returncode}\n{output}"
        return output

    def environment(self) -> dict[str, str]:
        """What a shell on the host starts with: nothing of this process's but the language"""
        return {"HOME": str(self.home), "PATH": _path(), "LANG": "C.UTF-8", "TERM": "dumb", "USER": "root"}

    def _processes(self) -> Sequence[int]:
        pids = subprocess.run(["ip", "netns", "pids", self.name], check=False, capture_output=True, text=True).stdout
        return [int(pid) for pid in pids.split()]

    def _sh(self, command: str) -> None:
        self.lab._sh(command)


def _path() -> str:
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
