"""An ssh-agent of our own, which holds a private key for the seconds in which a connection is made.

Why an agent: OpenSSH takes a private key from a file or from an agent, and what never is a file cannot be left
behind, backed up or read by somebody who finds the directory. The agent forgets each key by itself.
"""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from pathlib import Path

from panel.link import children

#: Longer than any connection takes to be made.
_SECONDS = 45


class Agent:
    def __init__(self, place: Path) -> None:
        self.socket = place / "agent"
        self._process: Process | None = None
        self._starting = asyncio.Lock()

    async def hold(self, private_key: str) -> None:
        """Let the next connections use this key. OSError: it cannot be used, in words."""
        async with self._starting:
            await self._ensure()
        code, _, errors = await children.run(
            "ssh-add", "-q", "-t", str(_SECONDS), "-", given=private_key.encode().rstrip(b"\n") + b"\n",
            timeout=15, variables={"SSH_AUTH_SOCK": str(self.socket)})
        if code:
            raise OSError(f"the private key cannot be used: {errors.strip()[-200:]}")

    async def close(self) -> None:
        if self._process:
            await children.end(self._process)

    async def _ensure(self) -> None:
        if self._process and self._process.returncode is None:
            return
        self.socket.unlink(missing_ok=True)
        self._process = await children.start("ssh-agent", "-D", "-a", str(self.socket))
        for _ in range(100):
            if self.socket.exists():
                return
            await asyncio.sleep(0.05)
        raise OSError("ssh-agent does not start; is openssh-client installed?")
