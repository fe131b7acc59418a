"""What people ran in terminals."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from panel.store.models import Base


class Terminal(Base):
    """One command that a person ran on a server in a terminal: who, when, what, how it ended. Not what was typed."""

    __tablename__ = "terminals"
    id: Mapped[int] = mapped_column(primary_key=True)
    resource_id: Mapped[int | None] = mapped_column(ForeignKey("resources.id", ondelete="SET NULL"))
    #: Names as they were, so that it can be read after the resource is gone.
    resource_name: Mapped[str] = mapped_column(String(64))
    server_name: Mapped[str] = mapped_column(String(64))
    #: Its words, without secrets of the resource.
    command: Mapped[list[Any]] = mapped_column(default=list)
    actor: Mapped[str] = mapped_column(String(64))
    door: Mapped[str] = mapped_column(String(16))
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]
    exit_code: Mapped[int | None]
    #: Why it ended, where it was not by itself.
    why: Mapped[str] = mapped_column(Text, default="")
    __table_args__ = (Index("terminals_by_resource", "resource_name", "id"),)
