"""What was measured of resources that tell figures: a row per look of the link."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from panel.store.models import Base


class Figure(Base):
    """One look at a place. Counters are kept as they were told: what happened between two looks is their difference."""

    __tablename__ = "figures"
    place_id: Mapped[int] = mapped_column(ForeignKey("places.id", ondelete="CASCADE"), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    #: engine (None: it did not answer), keys, gpus (None: there is no way to know).
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
