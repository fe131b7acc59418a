"""Clients of a model behind its domain, with OpenAI's own library; run where that is installed (openai.txt).

    python clients.py once ADDRESS DOMAIN KEY MODEL             one answer of each form, as JSON
    python clients.py stream ADDRESS DOMAIN KEY MODEL NUMBER    streams without a pause until stdin ends, then how many
                                                                there were and what went wrong
The domain is reached at the address; the certificate is checked against SSL_CERT_FILE.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from typing import Any

import openai

MESSAGES: Any = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Hello"}]
# Random weights may end at once: nobody would see whether a stream was cut.
LONG: Any = {"temperature": 0, "extra_body": {"ignore_eos": True}}


def client(address: str, domain: str, key: str) -> openai.OpenAI:
    real = socket.getaddrinfo
    socket.getaddrinfo = lambda host, *rest, **more: real(address if host == domain else host, *rest, **more)
    return openai.OpenAI(base_url=f"https://{domain}/v1", api_key=key, max_retries=0, timeout=120)


def once(one: openai.OpenAI, model: str) -> dict[str, Any]:
    said = one.completions.create(model=model, prompt="Hello", max_tokens=12, temperature=0,
                                  extra_body={"ignore_eos": True})
    chat = one.chat.completions.create(model=model, messages=MESSAGES, max_tokens=12)
    began, times = time.monotonic(), []
    for part in one.chat.completions.create(model=model, messages=MESSAGES, stream=True, max_tokens=1500, **LONG):
        if part.choices and part.choices[0].delta.content:
            times.append(time.monotonic() - began)
    return {"models": [found.id for found in one.models.list()], "completion": said.choices[0].text,
            "tokens": said.usage.completion_tokens if said.usage else 0, "chat": chat.choices[0].message.role,
            "first": times[0], "last": times[-1], "parts": len(times)}


class Streams:
    """Streams, one after the other, in several threads. One counts as whole where the engine said how it ended."""

    def __init__(self, one: openai.OpenAI, model: str) -> None:
        self.one, self.model = one, model
        self.over = threading.Event()
        self.whole, self.wrong = 0, []  # type: int, list[str]

    def run(self, number: int) -> dict[str, Any]:
        threads = [threading.Thread(target=self.repeat) for _ in range(number)]
        for thread in threads:
            thread.start()
        sys.stdin.read()
        self.over.set()
        for thread in threads:
            thread.join()
        return {"whole": self.whole, "wrong": self.wrong}

    def repeat(self) -> None:
        while not self.over.is_set():
            try:
                ends = [part.choices[0].finish_reason for part in self.one.chat.completions.create(
                    model=self.model, messages=MESSAGES, stream=True, max_tokens=6000, **LONG) if part.choices]
            except Exception as error:
                self.wrong.append(f"{type(error).__name__}: {error}")
                time.sleep(0.5)
                continue
            if ends and ends[-1] == "length":
                self.whole += 1
            else:
                self.wrong.append(f"cut after {len(ends)} parts")


def main() -> None:
    action, address, domain, key, model, *rest = sys.argv[1:]
    one = client(address, domain, key)
    print(json.dumps(once(one, model) if action == "once" else Streams(one, model).run(int(rest[0]))))


if __name__ == "__main__":
    main()
