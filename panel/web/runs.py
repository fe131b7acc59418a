"""Runs: the list, and one run as it happens."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Blueprint, Response, current_app, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from panel.runs import resources as wishes
from panel.runs import retry, stream, submit
from panel.store import db
from panel.store.models import Event, Run
from panel.web import again, byhand, queries, sse, waterfall
from panel.web.auth import current_actor, signed_in
from panel.web.database import database
from panel.web.errors import Gone

blueprint = Blueprint("runs", __name__)

_PAGE = 50
_STATES = ("active", "succeeded", "failed", "canceled", "lost")


@blueprint.get("/runs")
@signed_in
def listed() -> str:
    session = database()
    state = request.args.get("state", "") if request.args.get("state") in _STATES else ""
    before = request.args.get("before", 0, type=int)
    found = queries.runs(session, state=state, before=before, limit=_PAGE + 1)
    return render_template("runs.html", here="runs", runs=found[:_PAGE], state=state, states=_STATES,
                           older=found[_PAGE - 1].id if len(found) > _PAGE else 0, before=before)


@blueprint.get("/runs/<int:number>")
@signed_in
def show(number: int) -> str:
    run = queries.run(database(), number)
    return render_template("run.html", here="runs", run=run, fall=waterfall.load(database(), run),
                           commands=byhand.of_run(run), again=again.offer(run),
                           left=[one.name for one in retry.left(run)] if retry.is_offered(run) else [])


@blueprint.post("/runs/<int:number>/cancellation")
@signed_in
def cancel(number: int) -> AnyResponse:
    submit.cancel(database(), queries.run(database(), number), current_actor().name)
    return redirect(url_for("runs.show", number=number), 303)


@blueprint.post("/runs/<int:number>/repetition")
@signed_in
def repeat(number: int) -> AnyResponse:
    run = queries.run(database(), number)
    if run.resource is None:
        raise Gone(f"{run.resource_name} is gone, so this cannot be done to it again.")
    fresh = wishes.act(database(), resource=run.resource, action=run.action, given={}, actor=current_actor().name,
                       door="browser", mode=run.mode)
    return redirect(url_for("runs.show", number=fresh.id), 303)


@blueprint.post("/runs/<int:number>/retry")
@signed_in
def try_again(number: int) -> AnyResponse:
    """The same where it did not succeed."""
    fresh = retry.retry(database(), queries.run(database(), number), current_actor().name, "browser")
    return redirect(url_for("runs.show", number=fresh.id), 303)


@blueprint.get("/runs/<int:number>/stream")
@signed_in
def live(number: int) -> Response:
    after = sse.last_event_id()
    run = queries.run(database(), number)
    fall = waterfall.load(database(), run)
    feed = Feed(run.id, fall, min(after, fall.last_event))
    return sse.event_stream(feed.messages(), current_actor().id)


class Feed:
    """The page's regions as they change, rendered by the templates that draw them at first."""

    def __init__(self, run_id: int, fall: waterfall.Waterfall, after: int) -> None:
        self._run_id, self._fall, self._after = run_id, fall, after
        # A stream outlives its request, so it keeps the application and not the request's context.
        self._templates = current_app.jinja_env
        self._columns = ""

    def messages(self) -> Iterator[str]:
        """What the page missed since `after`, then what comes, then the end."""
        missed = [one for one in self._fall.lines if one.last_event > self._after]
        missed.sort(key=lambda one: one.last_event)
        for line in missed:
            yield self._step(line, line.last_event)
            yield from self._grid(line)
        yield f"id: {self._fall.last_event}\n\n"
        yield from self._head()
        for event in stream.follow(self._run_id, self._fall.last_event):
            yield from self._tell(event) if event else iter([": still here\n\n"])
        yield sse.message("end", "over")

    def _tell(self, event: Event) -> Iterator[str]:
        if self._fall.last_event == 0:
            self._look_again()  # it has begun: times count from there
        line = self._fall.add(event)
        if line is None:
            yield f"id: {event.number}\n\n"
            return
        yield self._step(line, event.number)
        yield from self._grid(line)
        if "item" not in event.data:
            self._look_again()
            yield from self._head()

    def _grid(self, line: waterfall.Line) -> Iterator[str]:
        """The row of the grid that a step is in, and the servers where one of them is further."""
        grid = self._fall.grid
        row = grid.row_of(line.id)
        if row is None:
            return
        columns = self._render("_grid_columns.html", grid=grid)
        if columns != self._columns:
            self._columns = columns
            yield sse.message("columns", columns)
        yield sse.message("row", self._render("_grid_row.html", grid=grid, row=row))

    def _look_again(self) -> None:
        with db.session() as session:
            run = session.get(Run, self._run_id)
        if run is not None:
            self._fall.see(run)

    def _step(self, line: waterfall.Line, number: int) -> str:
        return sse.message("step", self._render("_step.html", line=line, axis=self._fall.axis), number)

    def _head(self) -> Iterator[str]:
        yield sse.message("head", self._render("_run_lead.html", run=self._fall.run, fall=self._fall))
        yield sse.message("tally", self._render("_run_tally.html", fall=self._fall))

    def _render(self, name: str, **values: object) -> str:
        return self._templates.get_template(name).render(**values)
