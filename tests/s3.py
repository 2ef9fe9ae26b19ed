"""A real S3 server in a process of its own, which lets one user in."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager

import boto3

BUCKET = "lab"
START_SEC = 300.0


# The same server, which refuses the first of all equal requests as one does that has too much to do.
BUSY = """
import sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
serve, seen = DomainDispatcherApplication(create_backend_app), set()
def answer(environ, start):
    request = tuple(environ[name] for name in ("REQUEST_METHOD", "PATH_INFO", "QUERY_STRING"))
    if request in seen or request[1].startswith("/moto-api"):
        return serve(environ, start)
    seen.add(request)
    has_end = environ.get("wsgi.input_terminated")
    environ["wsgi.input"].read(None if has_end else int(environ.get("CONTENT_LENGTH") or 0))
    start("503 Slow Down", [("Content-Length", "0")])
    return []
run_simple(sys.argv[1], int(sys.argv[2]), answer, threaded=True)
"""


@contextmanager
def serve(*, is_busy: bool = False) -> Iterator[dict[str, str]]:
    """A server with an empty bucket  ->  the environment of its one user"""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    host, _, port = address.partition(":")
    how = ["-c", BUSY, host, port] if is_busy else ["-m", "moto.server", "-H", host, "-p", port]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([sys.executable, *how], **quiet)  # type: ignore[call-overload]
    try:
        _wait(f"http://{address}/moto-api/", server)
        yield _one_user(f"http://{address}")
    finally:
        server.kill()
        server.wait()


def _wait(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SEC
    while True:
        try:
            urllib.request.urlopen(url, timeout=30).close()
            return
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, "the S3 server ended"
            assert time.monotonic() < deadline, "the S3 server does not answer"
            time.sleep(0.1)


def _one_user(url: str) -> dict[str, str]:
    """Make the bucket and a user, and refuse everybody else from now on."""
    anybody = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1", "endpoint_url": url}
    with closing(boto3.client("s3", **anybody)) as client:
        client.create_bucket(Bucket=BUCKET)
    with closing(boto3.client("iam", **anybody)) as iam:
        iam.create_user(UserName="user")
        everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        iam.put_user_policy(UserName="user", PolicyName="everything", PolicyDocument=json.dumps(everything))
        key = iam.create_access_key(UserName="user")["AccessKey"]
    headers = {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset-auth", b"0", headers), timeout=60).close()
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
