"""What Ansible reports, translated into our events. Runs in the clean child, so it needs the standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

#: An event on its way to the database: type, at, step, host, name, role, seconds, data.
Row = dict[str, Any]

#: Fields of a module's result that people see; everything else stays with Ansible.
_KEPT = ("msg", "next", "journal", "stdout", "stderr", "rc", "diff", "cmd", "attempts", "exception", "warnings",
         "module_stdout", "module_stderr", "skip_reason", "webops_facts", "webops_found")
_RESULTS = {"runner_on_ok": "ok", "runner_on_failed": "failed", "runner_on_skipped": "skipped",
            "runner_on_unreachable": "unreachable", "runner_item_on_ok": "ok", "runner_item_on_failed": "failed",
            "runner_item_on_skipped": "skipped"}
_LINES = ("verbose", "warning", "deprecated", "error", "system_warning", "debug")
#: Tasks that only bring other tasks: shown when they themselves have something to say.
_BRINGERS = ("include_role", "include_tasks", "import_role", "import_tasks", "meta", "validate_argument_spec",
             "webops_values")
#: Shows what a program writes while it goes on: the host on a line of its own, then its lines.
_SPEAKS = "webops_task"
#: A text longer than this is shortened before it leaves the child, so that one event cannot fill the memory.
_LONGEST_TEXT = 1 << 20


class Translator:
    """Ansible's events in, our rows out; counts the tasks.

    `several`: of several hosts it is told which have begun, so that nobody takes one for not begun whose first step
    has not ended yet.
    """

    def __init__(self, several: bool = False) -> None:
        self.step = 0
        self._several = several
        self._begun: set[str] = set()
        self._held: Row | None = None
        self._speaks = False

    def rows(self, event: Mapping[str, Any]) -> Iterator[Row]:
        """The rows that one event of ansible-runner makes: none, one or two."""
        kind, data = event.get("event", ""), event.get("event_data") or {}
        if kind == "playbook_on_task_start":
            yield from self._task(event, data)
        elif kind in _RESULTS:
            yield from self._result(event, _RESULTS[kind], data, is_item=kind.startswith("runner_item"))
        elif kind == "runner_on_start" and self._several and data.get("host", "") not in self._begun:
            self._begun.add(data.get("host", ""))
            yield _row(event, "begin", host=data.get("host", ""))
        elif kind == "playbook_on_play_start":
            self._held = None
            self._begun = set()
            yield _row(event, "play", name=data.get("name", ""))
        elif kind == "runner_retry":
            yield self._retry(event, data)
        elif kind == "playbook_on_stats":
            yield _row(event, "stats", data={"hosts": _stats(data)})
        elif kind in _LINES:
            yield from self._line(event, kind)
        elif kind == "playbook_on_no_hosts_matched":
            yield _row(event, "output", data={"stdout": "No host matched.", "level": "error"})

    def _task(self, event: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[Row]:
        row = _row(event, "task", name=data.get("task") or data.get("name", ""), role=data.get("role", ""))
        self._held = row
        action = str(data.get("task_action", "")).rpartition(".")[2]
        self._speaks = action == _SPEAKS
        if action not in _BRINGERS:
            yield from self._released()

    def _released(self) -> Iterator[Row]:
        """The task that was held back, now that it is known to matter."""
        if self._held is not None:
            self.step += 1
            yield {**self._held, "step": self.step}
            self._held = None

    def _result(self, event: Mapping[str, Any], kind: str, data: Mapping[str, Any], is_item: bool) -> Iterator[Row]:
        result = data.get("res") or {}
        if kind in ("ok", "skipped") and self._held is not None:
            return
        yield from self._released()
        if kind == "ok" and result.get("changed"):
            kind = "changed"
        if kind == "failed" and data.get("ignore_errors"):
            kind = "ignored"
        row = _row(event, kind, name=data.get("task", ""), role=data.get("role", ""), host=data.get("host", ""),
                   data=_kept(result))
        row["step"] = self.step
        if is_item:
            row["data"]["item"] = _label(result)
        else:
            row["seconds"] = data.get("duration")
        yield row

    def _retry(self, event: Mapping[str, Any], data: Mapping[str, Any]) -> Row:
        result = data.get("res") or {}
        row = _row(event, "note", name=data.get("task", ""), role=data.get("role", ""), host=data.get("host", ""))
        row["step"] = self.step
        row["data"] = {"msg": f"Not yet: tried {result.get('attempts')} times, at most {result.get('retries')}."}
        return row

    def _line(self, event: Mapping[str, Any], kind: str) -> Iterator[Row]:
        text = str(event.get("stdout") or "")
        if not text.strip():
            return
        row = _row(event, "output", data={"stdout": shorten(text), "level": "info" if kind == "verbose" else kind})
        host, of_a_host, said = text.partition(":\n")
        if self._speaks and kind == "verbose" and of_a_host:
            row.update(host=host, step=self.step, data={"stdout": shorten(said)})
        yield row


def shorten(value: Any) -> Any:
    """The same value with overlong texts cut in their middle."""
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        half = _LONGEST_TEXT // 2
        return f"{value[:half]}\n[… {len(value) - 2 * half} characters left out …]\n{value[-half:]}"
    if isinstance(value, dict):
        return {str(key): shorten(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [shorten(one) for one in value]
    return value


def note(text: str, **data: Any) -> Row:
    """A remark of our own."""
    return _row({}, "note", data={"msg": text, **data})


def _row(event: Mapping[str, Any], kind: str, *, host: str = "", name: str = "", role: str = "",
         data: dict[str, Any] | None = None) -> Row:
    at = event.get("created") or datetime.now(UTC).isoformat()
    return {"type": kind, "at": at, "step": 0, "host": host, "name": name, "role": role, "seconds": None,
            "data": data or {}}


def _kept(result: Mapping[str, Any]) -> dict[str, Any]:
    if "censored" in result:
        return {"hidden": True}
    kept = {key: shorten(result[key]) for key in _KEPT if result.get(key) not in (None, "", [], {})}
    if kept.get("exception") == "(traceback unavailable)":
        del kept["exception"]
    if result.get("webops_summary"):
        kept["summary"] = shorten(str(result["webops_summary"]))
    if isinstance(result.get("webops_plan"), dict):
        kept["plan"] = shorten(result["webops_plan"])
    if kept.get("diff") is not None:
        kept["diff"] = _diffs(kept["diff"])
    lines = result.get("output")
    if isinstance(lines, list) and lines and not {"stdout", "journal"} & set(kept):
        kept["stdout"] = shorten("\n".join(map(str, lines)))
    if "results" in result:
        # Each item was reported by itself; the text over all of them says nothing new.
        kept.pop("msg", None)
    return kept


def _diffs(diff: Any) -> list[Any]:
    """Modules return one difference or several; those that show nothing are left out."""
    several = diff if isinstance(diff, list) else [diff]
    return [one for one in several
            if isinstance(one, dict) and (one.get("prepared") or one.get("before") != one.get("after"))]


def _label(result: Mapping[str, Any]) -> str:
    if "censored" in result:
        return ""
    label = result.get("_ansible_item_label", result.get("item", ""))
    return shorten(label if isinstance(label, str) else repr(label))  # type: ignore[no-any-return]


def _stats(data: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    names = {"ok": "ok", "changed": "changed", "failures": "failed", "dark": "unreachable", "skipped": "skipped",
             "ignored": "ignored", "rescued": "rescued"}
    hosts = {host for name in names for host in (data.get(name) or {})}
    return {host: {ours: (data.get(name) or {}).get(host, 0) for name, ours in names.items()} for host in sorted(hosts)}
