"""One request to an application, without a socket."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

OWN = {"Host": "127.0.0.1:8000"}


async def answered(
    app: Any, method: str, path: str, query: Mapping[str, object], headers: Mapping[str, str] = OWN,
    *, is_gone: bool = False,
) -> tuple[int, bytes]:  # fmt: skip
    """What an application answers; is_gone: to a client that has closed its connection"""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http", "method": method, "path": path, "http_version": "1.1", "scheme": "http",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        "query_string": urlencode({name.rstrip("_"): value for name, value in query.items()}, doseq=True).encode(),
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        if is_gone:
            return {"type": "http.disconnect"}
        return await asyncio.Future()  # nothing comes: a GET has no body

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])
