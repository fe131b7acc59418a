"""Mitogen's strategy where it is installed, Ansible's own linear strategy where it is not."""

from __future__ import annotations

DOCUMENTATION = """
    name: webops_linear
    short_description: Linear, several times as fast where Mitogen is installed
    description:
        - Runs tasks like C(linear). Where C(ansible_mitogen) can be imported, its connection is used;
          results are the same.
        - The connection is begun while the first tasks, which only check values, are on their way.
        - E(WEBOPS_PLAIN=1) keeps to Ansible's own way, to compare or to rule Mitogen out.
    author: WebOps
"""

import gc
import os
import threading

from ansible.plugins.loader import strategy_loader
from ansible.utils.display import Display

Linear = strategy_loader.get("linear", class_only=True)
display = Display()


def fast():
    """Mitogen's mixin and ours, or nothing where Mitogen is missing or does not know this Ansible."""
    if os.environ.get("WEBOPS_PLAIN"):
        return ()
    try:
        from ansible_mitogen.strategy import StrategyMixin
    except Exception:  # noqa: BLE001 - whatever it is, the plain way works
        return ()
    prepare_multiplexer()
    return (Ahead, StrategyMixin)


def prepare_multiplexer():
    """Habits of Mitogen's multiplexer that cost time; they are left as they are where Mitogen has changed."""
    try:
        from ansible_mitogen import affinity, module_finder, process
        from ansible_mitogen.transport_config import PlayContextSpec

        # All runs of a machine would share its first processor; the kernel spreads them better.
        affinity.policy = affinity.Policy()
        # Ansible's own utilities are read again for every module; their text stays the same during a run.
        walk = module_finder.walk_imports
        module_finder.compile = remembered(compile)
        module_finder.walk_imports = remembered(lambda code, prefix=None: list(walk(code, prefix)))
        # A run has one connection, and none outlives it: what ssh would keep open for others is not opened.
        arguments = PlayContextSpec.ssh_args
        set_up = process.MuxProcess._setup_services
    except (ImportError, AttributeError) as error:
        display.vvv(f"webops_linear: this Mitogen is left as it is ({error})")
        return

    def set_up_and_warm(mux):
        set_up(mux)
        threading.Thread(target=warm, args=(mux.router.responder,), daemon=True).start()

    process.MuxProcess._setup_services = set_up_and_warm
    PlayContextSpec.ssh_args = lambda spec: ["-o", "ControlMaster=no", "-o", "ControlPath=none", *arguments(spec)]


def remembered(function):
    """The function, asked once for the same arguments."""
    known = {}

    def once(*given):
        if given not in known:
            known[given] = function(*given)
        return known[given]

    return once


def warm(responder):
    """Compress what every server needs before the first one asks for it."""
    try:
        import mitogen.parent
        from ansible_mitogen.services import ContextService

        mitogen.parent.get_core_source_partial()
        for name in ContextService.ALWAYS_PRELOAD:
            for related in responder._build_tuple(name)[4]:
                responder._build_tuple(related)
    except Exception as error:  # noqa: BLE001 - it will be made when it is asked for
        display.vvv(f"webops_linear: nothing was prepared ({type(error).__name__}: {error})")


class Ahead:
    """Connects to a host from the moment of its first task on, whatever that task is."""

    def _queue_task(self, host, task, task_vars, play_context):
        ahead = self.__dict__.setdefault("_ahead", {})
        over_ssh = task_vars.get("ansible_connection", "ssh") == "ssh" == play_context.connection
        # Not for a whole fleet at once: whoever asked for five forks gets five connections that begin together.
        running = sum(worker is not None and worker.is_alive() for worker in ahead.values())
        if over_ssh and host.name not in ahead and running < len(self._workers):
            ahead[host.name] = self._reach(host, task, task_vars, play_context)
        super()._queue_task(host, task, task_vars, play_context)

    def _reach(self, host, task, task_vars, play_context):
        """A worker of Ansible's own, whose one task is to connect; nobody reads its result.

        A failure is not told: the first task that needs the connection tries again, and fails where everyone sees it.
        """
        try:
            from ansible import context
            from ansible.executor.process.worker import WorkerProcess
            from ansible.executor.task_queue_manager import FinalQueue
            from ansible.playbook.task import Task
            from ansible.plugins.loader import get_plugin_loader_namespace

            # webops-admin is nobody without root; webops-deploy is nobody else.
            wanted = {"action": "webops_reach", "become": task_vars.get("ansible_user") == "webops-admin"}
            worker = WorkerProcess(
                final_q=FinalQueue(), task_vars=task_vars, host=host, play_context=play_context, loader=self._loader,
                task=Task.load(wanted, block=task._parent, variable_manager=self._variable_manager,
                               loader=self._loader),
                variable_manager=self._variable_manager, shared_loader_obj=get_plugin_loader_namespace(),
                worker_id=0, cliargs=context.CLIARGS,
            )
            worker.start()
        except Exception as error:  # noqa: BLE001 - then the first task connects
            display.vvv(f"webops_linear: no connection ahead ({type(error).__name__}: {error})")
            return None
        return worker

    def run(self, iterator, play_context, result=0):
        self._load_filters()
        # What stands now stays until the end: forks need not copy it, and collecting it again finds nothing.
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        try:
            return super().run(iterator, play_context)
        finally:
            for worker in filter(None, self.__dict__.pop("_ahead", {}).values()):
                worker.terminate()
                worker.join()

    def _load_filters(self):
        """Every task is a fork: what is loaded here, none of them loads again."""
        try:
            from ansible._internal._templating._engine import TemplateEngine
            from ansible.template import trust_as_template

            TemplateEngine(loader=self._loader, variables={}).template(
                trust_as_template("{{ [1] | map('string') | list is sequence }}")
            )
        except Exception as error:  # noqa: BLE001 - then each task loads its own
            display.vvv(f"webops_linear: no filters loaded ahead ({type(error).__name__}: {error})")


StrategyModule = type("StrategyModule", (*fast(), Linear), {})
