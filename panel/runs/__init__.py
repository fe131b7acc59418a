"""Doing it: from a wish to a run, its events and its end.

    submit.submit(session, kind=…, action=…, …) -> Run     the only door: row, COMMIT, then the bell
    submit.cancel(session, run, actor)                     asks a run to stop
    resources.ask(session, kind=…, name=…, given=…) -> Run     apply a resource (made or changed by it)
    resources.act(session, resource=…, action=…, …) -> Run     any other action
    resources.values_file(session, resource, with_secrets) -> dict
    servers.add / accept / ready / remove                  a server's way from address to ready
    stream.follow(run_id, after) -> Iterator[Event | None]     live events; None: nothing new for 15 s
    steps.steps(run, events) / steps.Steps                 events folded into what a page shows
    errors.RunsError                                       every refusal; `code` for programs, `message` for people

The row of a run is the truth. Redis carries ids and bells, never a value, and may be lost at any time.
Who does what: `job` claims, plays and settles; `play` owns the one child process of a run; `runner` is that child
and the only one that imports ansible_runner; `events` stores what it says; `reaper` looks after runs whose worker died.
"""
