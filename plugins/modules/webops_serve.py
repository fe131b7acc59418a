#!/usr/bin/python
"""Start, change, stop the engine of a language model, without cutting an answer."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_serve
short_description: Let an engine serve a language model
description:
  - Runs as webops-deploy. The action plugin of the same name calls this module step by step and shows how the start
    goes; a task says C(action) alone.
  - C(serve) starts what is wished for in the idle slot; traffic goes there when it has answered a completion.
    C(restart) does the same with what serves. C(stop) and C(start) end and begin it.
  - Where memory does not hold two engines, that is refused, unless C(accept) says that the old one may end first.
options:
  name: {description: The resource., type: str, required: true}
  action: {description: What to do., type: str, choices: [serve, restart, stop, start], required: true}
  wish:
    description: "With C(serve): C({model, revision, argv, environment, needs, gpus, any_gpus, gpu_memory, unit})."
    type: dict
    default: {}
  follows: {description: Whether the engine was (or is still to be) installed anew., type: bool, default: false}
  accept: {description: Whether clients may be turned away meanwhile., type: bool, default: false}
  keep: {description: Records of what served to keep., type: int, default: 5}
  run: {description: "The run that does it, C({id, actor}); the action plugin fills it in.", type: dict, default: {}}
  step: {description: The action plugin's., type: str, choices: [begin, look, turn, back], default: begin}
  begun: {description: "What C(begin) said; the action plugin's.", type: dict, default: {}}
  shown: {description: "Lines that were shown already; the action plugin's.", type: int, default: 0}
author: WebOps
"""
RETURN = r"""
release:
  description: What serves now.
  type: str
  returned: when an engine was started
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_engine_switching import EngineSwitch
from ansible.module_utils.webops_unit import Refused


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "action": {"type": "str", "required": True, "choices": ["serve", "restart", "stop", "start"]},
            "wish": {"type": "dict", "default": {}},
            "follows": {"type": "bool", "default": False},
            "accept": {"type": "bool", "default": False},
            "keep": {"type": "int", "default": 5},
            "run": {"type": "dict", "default": {}},
            "step": {"type": "str", "choices": ["begin", "look", "turn", "back"], "default": "begin"},
            "begun": {"type": "dict", "default": {}},
            "shown": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**do(module.params, module.check_mode))
    except Refused as refused:
        module.fail_json(msg=str(refused), next=refused.next, journal=refused.journal, **refused.facts)


def do(params, check):
    if check and params["action"] == "serve" and not params["wish"].get("argv"):
        return {"changed": True, "waits": False, "webops_summary": "follows: the server is prepared first"}
    switch, begun = EngineSwitch(params, check), params["begun"]
    if params["step"] == "look":
        return {"changed": False, **switch.slots.look(begun["slot"], begun["since"], params["shown"])}
    if params["step"] == "turn":
        return switch.turn(begun["slot"], begun["release"], time.time() - begun["began"])
    if params["step"] == "back":
        return switch.back(begun["slot"])
    return switch.begin()


if __name__ == "__main__":
    main()
