"""What was there before WebOps: the last look at each server."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from panel.store.models import Base


class Survey(Base):
    """What was read of the sites that somebody made by hand. There are keys and passwords in it."""

    __tablename__ = "surveys"
    server_id: Mapped[int] = mapped_column(ForeignKey("servers.id", ondelete="CASCADE"), primary_key=True)
    at: Mapped[datetime]
    #: As webops_survey says it, sealed with context "survey:<server id>".
    found: Mapped[bytes] = mapped_column(LargeBinary)
