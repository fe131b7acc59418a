"""Disposable real servers on this machine, for the demo, the tests and the benchmarks.

    from sandbox import sandbox
    with sandbox("my-suite") as box:
        web1 = box.up("web1")
        print(box.guest(web1, ["systemctl", "is-system-running"]).stdout)
"""

from sandbox.errors import CannotBoot, SandboxError, StaleLayer
from sandbox.host import requirements, why_not
from sandbox.layer import Layer
from sandbox.place import Place, find_place
from sandbox.server import Server
from sandbox.suite import Sandbox, sandbox

__all__ = ["CannotBoot", "Layer", "Place", "Sandbox", "SandboxError", "Server", "StaleLayer", "find_place",
           "requirements", "sandbox", "why_not"]
