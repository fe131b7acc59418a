"""A question to the engine, and what its answer cost."""

from __future__ import annotations

import json
from typing import Any

from answers import Refused

#: Paths whose streams say at their end what they cost, when they are asked to.
_ASKED_FOR_USAGE = ("/v1/chat/completions", "/v1/completions")
#: How long an answer may become, by the names of the APIs.
_LONGEST = ("max_tokens", "max_completion_tokens", "max_output_tokens")
#: Bytes per token, where nobody counted the tokens.
_BYTES = 4


class Question:
    """A request as the engine gets it. Refused (400): it cannot be one."""

    def __init__(self, method: str, path: str, body: bytes = b"") -> None:
        self.method, self.path, self.body = method, path, body
        #: Tokens of the question by its length, and with the longest answer that it asks for.
        self.tokens, self.most = len(body) // _BYTES, 0
        #: The usage of a stream was asked for by us and not by the client: it is not passed on.
        self.hides_usage = False
        if method == "POST":
            asked = _object(body)
            self.most = self.tokens + max(1, _number(asked, "n")) * max(_number(asked, name) for name in _LONGEST)
            self._ask_for_usage(asked)

    def _ask_for_usage(self, asked: dict[str, Any]) -> None:
        stream, options = asked.get("stream"), asked.get("stream_options")
        if not isinstance(stream, bool | None):
            raise Refused(400, "invalid_request", "'stream' must be true or false.")
        if not stream or self.path.partition("?")[0] not in _ASKED_FOR_USAGE or not isinstance(
                options, dict | None) or (options or {}).get("include_usage") is True:
            return
        self.hides_usage = True
        asked["stream_options"] = {**(options or {}), "include_usage": True}
        try:
            self.body = json.dumps(asked, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # half a pair of surrogates, which JSON can write and UTF-8 cannot
            self.body = json.dumps(asked).encode()


def _object(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "invalid_json", "The body is not JSON. Send an object such as "
                                           '{"model": "…", "messages": […]}.') from None
    if not isinstance(asked, dict):
        raise Refused(400, "invalid_json", "The body must be a JSON object.")
    return asked


def _number(asked: dict[str, Any], name: str) -> int:
    """What is no number here is the engine's to refuse."""
    value = asked.get(name)
    return max(0, value) if isinstance(value, int) else 0


class Cost:
    """Tokens of one answer: what the engine says, or what was seen of it where it could not say."""

    def __init__(self, question: Question) -> None:
        self._question = question.tokens
        self._in = self._out = self._pieces = 0
        #: The engine has the question; it has answered all of it; it said what that cost.
        self.asked, self.whole, self.known = False, False, False

    def tell(self, found: Any) -> None:
        """An answer, or an event of one: in the forms of chat, completions, responses and messages."""
        if not isinstance(found, dict):
            return
        for one in (found, found.get("response"), found.get("message")):
            usage = one.get("usage") if isinstance(one, dict) else None
            if isinstance(usage, dict):
                self.known = True
                self._in = max(self._in, _tokens(usage, "prompt_tokens", "input_tokens"))
                self._out = max(self._out, _tokens(usage, "completion_tokens", "output_tokens"))

    def saw(self, pieces: int) -> None:
        self._pieces += pieces

    def total(self) -> tuple[int, int]:
        """In and out. Whoever leaves before the end pays for the question by its length, and for what came."""
        if not self.asked:
            return 0, 0
        if self.whole and (self.known or not self._pieces):
            return self._in, self._out
        return self._in or self._question, max(self._out, self._pieces)


def _tokens(usage: dict[str, Any], *names: str) -> int:
    return max((value for name in names if isinstance(value := usage.get(name), int)), default=0)
