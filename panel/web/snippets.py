"""A question to a model as a person would send it from elsewhere: curl, Python, JavaScript."""

from __future__ import annotations

import json
import shlex
from typing import Any

from panel.store.models import Resource

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
_KEY = "YOUR_API_KEY"


def all_of(resource: Resource, asked: dict[str, Any]) -> dict[str, str]:
    """By the name of the language."""
    return {"curl": curl(resource, asked), "Python": _python(resource, asked),
            "JavaScript": _javascript(resource, asked)}


def curl(resource: Resource, asked: dict[str, Any], key: str = _KEY) -> str:
    body = shlex.quote(json.dumps(_body(resource, asked), ensure_ascii=False))
    return (f"curl {shlex.quote(_address(resource) + '/chat/completions')} \\\n"
            f"  -H 'Authorization: Bearer {key}' \\\n  -H 'Content-Type: application/json' \\\n  -d {body}")


def _python(resource: Resource, asked: dict[str, Any]) -> str:
    # JSON of texts, numbers, lists and objects is Python, too.
    given = "".join(f"    {name}={json.dumps(value, ensure_ascii=False)},\n"
                    for name, value in _body(resource, asked).items())
    return (f"from openai import OpenAI\n\nclient = OpenAI(base_url={json.dumps(_address(resource))}, "
            f"api_key={json.dumps(_KEY)})\nanswer = client.chat.completions.create(\n{given}    stream=True,\n)\n"
            "for piece in answer:\n    print(piece.choices[0].delta.content or \"\", end=\"\", flush=True)")


def _javascript(resource: Resource, asked: dict[str, Any]) -> str:
    body = json.dumps({**_body(resource, asked), "stream": True}, ensure_ascii=False, indent=2)
    return (f"import OpenAI from \"openai\";\n\n"
            f"const client = new OpenAI({{ baseURL: {json.dumps(_address(resource))}, apiKey: {json.dumps(_KEY)} }});\n"
            f"const answer = await client.chat.completions.create({body});\n"
            "for await (const piece of answer) process.stdout.write(piece.choices[0]?.delta?.content ?? \"\");")


def _address(resource: Resource) -> str:
    """Where clients ask, as the server's record tells it."""
    told = next((str(one.observed_data.get("url") or "") for one in resource.places), "")
    return told.rstrip("/") or "https://YOUR_DOMAIN/v1"


def _body(resource: Resource, asked: dict[str, Any]) -> dict[str, Any]:
    model = next((str(one.observed_data.get("model") or "") for one in resource.places), "")
    return {"model": model or resource.name, **asked}
