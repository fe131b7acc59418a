"""How long runs and their events are kept."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from panel.runs import figures, surveys
from panel.settings import settings
from panel.store.db import now
from panel.store.models import Event, Run, RunServer, SignIn, State, Token
from panel.store.planned import Plan
from panel.store.terminals import Terminal

#: Few at a time: a writer that deletes for minutes would keep all others waiting.
_AT_ONCE = 20


def prune(session: Session) -> int:
    """Delete runs that ended more than settings.keep_runs_days ago, with their events; returns how many. COMMITS.

    With them go terminals that were closed, tokens that were revoked and browsers that were last seen before then.

    The newest run of each resource is kept for as long as the resource is there.
    """
    surveys.prune(session)
    figures.prune(session)
    days = settings().keep_runs_days
    if not days:
        return 0
    before = now(session) - timedelta(days=days)
    newest = select(func.max(Run.id)).where(Run.resource_id.is_not(None)).group_by(Run.resource_id)
    old = list(session.scalars(select(Run.id).where(
        Run.ended_at < before, Run.state.not_in([State.QUEUED, State.RUNNING]), Run.id.not_in(newest))))
    # A plan is too old to be applied by then; what it showed goes with the runs of its time.
    session.execute(delete(Plan).where(Plan.created_at < before))
    session.execute(delete(Terminal).where(Terminal.ended_at < before))
    session.execute(delete(Token).where(Token.revoked_at < before))
    session.execute(delete(SignIn).where(SignIn.seen_at < before))
    session.commit()
    for start in range(0, len(old), _AT_ONCE):
        some = old[start:start + _AT_ONCE]
        for table, column in ((Event, Event.run_id), (RunServer, RunServer.run_id), (Run, Run.id)):
            session.execute(delete(table).where(column.in_(some)))
        session.commit()
    return len(old)
