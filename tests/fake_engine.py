"""A stand-in for vLLM: its paths, the form of its answers, the names of its figures. It writes what it was asked.

Real vLLM is asked in tests/llm; here it is the gate in front of it that is looked at, and this one starts in no time.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

_METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="tiny"}} {running}
vllm:num_requests_waiting{{engine="0",model_name="tiny"}} 0.0
vllm:kv_cache_usage_perc{{engine="0",model_name="tiny"}} 0.25
vllm:kv_cache_usage_perc{{engine="1",model_name="tiny"}} NaN
vllm:num_requests_waiting{{engine="1",model_name="tiny"}} +Inf
vllm:prompt_tokens_total{{engine="0",model_name="tiny"}} {read}
vllm:generation_tokens_total{{engine="0",model_name="tiny"}} {written}
vllm:request_success_total{{engine="0",finished_reason="stop",model_name="tiny"}} {answered}
vllm:time_to_first_token_seconds_bucket{{engine="0",le="0.01",model_name="tiny"}} 0.0
vllm:time_to_first_token_seconds_bucket{{engine="0",le="0.1",model_name="tiny"}} {answered}
vllm:time_to_first_token_seconds_bucket{{engine="0",le="+Inf",model_name="tiny"}} {answered}
vllm:time_to_first_token_seconds_count{{engine="0",model_name="tiny"}} {answered}
"""


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Engine:
    """`broken`: completions fail while /health says yes, as vLLM's does. `pause`: seconds between two words.

    `hangs`: paths that never answer. `embeds`: it has no completions.
    """

    def __init__(self) -> None:
        self.running = self.read = self.written = self.answered = self.aborted = 0
        self.broken, self.embeds, self.pause, self.hangs = False, False, 0.0, []
        self.seen: list[dict[str, object]] = []

    def application(self) -> web.Application:
        application = web.Application(client_max_size=2 ** 26, middlewares=[self.hang])
        application.add_routes([
            web.get("/v1/models", self.models), web.get("/metrics", self.metrics), web.get("/health", self.health),
            web.post("/v1/chat/completions", self.chat), web.post("/v1/completions", self.chat),
            web.post("/v1/embeddings", self.embed), web.post("/pause", self.health),
            web.post("/control", self.control), web.get("/control", self.told)])
        return application

    @web.middleware
    async def hang(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in self.hangs:
            self.seen.append({"headers": dict(request.headers), "body": await request.text()})
            await asyncio.sleep(3600)
        return await handler(request)

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "tiny", "object": "model"}]})

    async def health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=_METRICS.format(**vars(self)))

    async def control(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        for name in ("broken", "embeds", "pause", "hangs"):
            setattr(self, name, wanted.get(name, getattr(self, name)))
        return web.Response()

    async def told(self, request: web.Request) -> web.Response:
        return web.json_response({"aborted": self.aborted, "running": self.running, "asked": len(self.seen),
                                  "seen": self.seen[-5:]})

    async def embed(self, request: web.Request) -> web.Response:
        if not self.embeds:
            return self.not_found("The model does not support Embeddings API")
        return web.json_response({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
                                  "usage": {"prompt_tokens": 1, "total_tokens": 1, "completion_tokens": 0}})

    def not_found(self, message: str) -> web.Response:
        return web.json_response({"error": {"message": message, "type": "NotFoundError", "param": "model",
                                            "code": 404}}, status=404)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.seen.append({"headers": dict(request.headers), "body": asked})
        if self.embeds:
            return self.not_found("The model does not support Completions API")
        if self.broken:
            return web.json_response({"error": {"message": "EngineCore encountered an issue.", "type": "server_error",
                                                "param": None, "code": 500}}, status=500)
        if asked.get("model") not in (None, "tiny"):
            return self.not_found(f"The model `{asked['model']}` does not exist.")
        question = asked["prompt"] if "prompt" in asked else asked["messages"][-1]["content"]
        words = question.split() or ["nothing"]
        most = asked.get("max_tokens") or 16
        answer = [f"{words[number % len(words)]} " for number in range(most)]
        usage = {"prompt_tokens": len(words), "completion_tokens": most, "total_tokens": len(words) + most}
        self.running += 1
        try:
            return await self._answer(request, asked, answer, usage)
        except (ConnectionError, asyncio.CancelledError):
            self.aborted += 1
            raise
        finally:
            self.running -= 1

    async def _answer(self, request: web.Request, asked: dict, answer: list[str], usage: dict) -> web.StreamResponse:
        is_chat = "messages" in asked
        pause = float(asked.get("pause", self.pause))
        kind = "chat.completion" if is_chat else "text_completion"
        base = {"id": "cmpl-1", "created": int(time.time()), "model": "tiny",
                "object": f"{kind}.chunk" if is_chat and asked.get("stream") else kind}

        def choice(text: str, last: bool) -> dict:
            body = {"delta" if asked.get("stream") else "message": {"role": "assistant", "content": text}} if is_chat \
                else {"text": text}
            return {"index": 0, **body, "finish_reason": "length" if last else None}

        if not asked.get("stream"):
            for _ in answer:
                self._look(request)
                await asyncio.sleep(pause)
            self._count(usage)
            return web.json_response({**base, "choices": [choice("".join(answer), True)], "usage": usage})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        if asked.get("fail"):  # as vLLM tells that its engine has died
            await response.write(b'data: {"error": {"message": "EngineCore died."}}\n\ndata: [DONE]\n\n')
            return response
        for number, word in enumerate(answer):
            self._look(request)
            event = {**base, "choices": [choice(word, number == len(answer) - 1)]}
            await response.write(f"data: {json.dumps(event, separators=(',', ':'))}\n\n".encode())
            await asyncio.sleep(pause)
        if (asked.get("stream_options") or {}).get("include_usage"):
            event = {**base, "choices": [], "usage": usage}
            await response.write(f"data: {json.dumps(event, separators=(',', ':'))}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        self._count(usage)
        return response

    def _look(self, request: web.Request) -> None:
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError

    def _count(self, usage: dict) -> None:
        self.read += usage["prompt_tokens"]
        self.written += usage["completion_tokens"]
        self.answered += 1


if __name__ == "__main__":
    web.run_app(Engine().application(), path=sys.argv[1], access_log=None, print=None)
