"""Runs on a server beside what it measures: asks a desk as several clients at a time would, and tells what they saw.

Sent as a text to `python3 -c`, so it stands alone. Its one argument is JSON; it writes one JSON line per level.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from typing import Any

# ruff: noqa: S311  nothing here is a secret
_WORDS = ("the", "of", "and", "to", "in", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on", "not", "at")


class Seen:
    """What the clients of one level saw."""

    def __init__(self) -> None:
        self.first: list[float] = []
        self.between: list[float] = []
        self.written, self.done, self.failed, self.why = 0, 0, 0, ""

    def row(self, clients: int, seconds: float) -> dict[str, Any]:
        return {"clients": clients, "requests": self.done, "failed": self.failed, "why": self.why,
                "tokens_per_second": self.written / seconds if seconds else None,
                "first_token_p50": share(self.first, 50), "first_token_p95": share(self.first, 95),
                "between_p50": share(self.between, 50), "between_p95": share(self.between, 95)}


def share(values: list[float], percent: int) -> float | None:
    """The value below which so many percent are; None: there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else None


async def main(wanted: dict[str, Any]) -> None:
    try:
        model = (await fetched(wanted["desk"], "GET", "/v1/models", None))["data"][0]["id"]
    except (OSError, ValueError, KeyError, IndexError) as wrong:
        tell(["note", f"It does not answer: {wrong}"])
        return
    for clients in wanted["levels"]:
        seen, began = Seen(), time.monotonic()
        until = began + wanted["seconds"]
        await asyncio.gather(*(client(wanted, model, until, seen) for _ in range(clients)))
        tell(["row", seen.row(clients, time.monotonic() - began)])


async def client(wanted: dict[str, Any], model: str, until: float, seen: Seen) -> None:
    """Asks again and again until the time is over; what was begun comes to its end."""
    while time.monotonic() < until:
        # The beginning differs, so that nothing is remembered of the question before.
        words = [str(random.random()), *random.choices(_WORDS, k=wanted["tokens_in"])]
        body = {"model": model, "prompt": " ".join(words), "max_tokens": wanted["tokens_out"], "temperature": 1.0,
                "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}}
        try:
            await one(wanted["desk"], body, seen)
            seen.done += 1
        except (OSError, ValueError, EOFError) as wrong:
            seen.failed += 1
            seen.why = str(wrong)[:300] or "the connection broke"
            await asyncio.sleep(0.5)


async def one(desk: str, body: dict[str, Any], seen: Seen) -> None:
    began = time.monotonic()
    reader, writer = await asked(desk, "POST", "/v1/completions", body)
    try:
        last, pieces, written, ended = None, 0, None, False
        async for line in reader:
            if not line.startswith(b"data:"):
                continue
            if line[5:].strip() == b"[DONE]":
                ended = True
                break
            now = time.monotonic()
            event = json.loads(line[5:])
            if "error" in event:
                raise ValueError(event["error"].get("message", "it failed"))
            if event.get("usage"):
                written = event["usage"].get("completion_tokens")
            if event.get("choices"):
                pieces += 1
                if last is None:
                    seen.first.append(now - began)
                else:
                    seen.between.append(now - last)
                last = now
        if not ended:
            raise EOFError
        seen.written += written if written is not None else pieces
    finally:
        writer.close()


async def asked(desk: str, method: str, path: str, body: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Its answer has begun; HTTP/1.0, so that it comes in one piece and ends with the connection."""
    reader, writer = await asyncio.open_unix_connection(desk, limit=2 ** 20)
    data = b"" if body is None else json.dumps(body).encode()
    writer.write(f"{method} {path} HTTP/1.0\r\nHost: desk\r\nContent-Type: application/json\r\n"
                 f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
    status = (await reader.readline()).split()
    while (await reader.readline()).strip():
        pass
    if len(status) < 2 or status[1] != b"200":
        answer = await reader.read()
        writer.close()
        try:
            raise ValueError(json.loads(answer)["error"]["message"])
        except (KeyError, TypeError, json.JSONDecodeError):
            raise ValueError(answer[:300].decode(errors="replace") or "no answer") from None
    return reader, writer


async def fetched(desk: str, method: str, path: str, body: Any) -> Any:
    reader, writer = await asked(desk, method, path, body)
    try:
        return json.loads(await reader.read())
    finally:
        writer.close()


def tell(piece: list[Any]) -> None:
    print(json.dumps(piece), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
