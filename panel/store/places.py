"""Where resources live: groups of servers, and the places, each a resource on one server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column, relationship

from panel.store.models import Base, Observed, Resource, Server


class Group(Base):
    """Servers that a resource can live on together."""

    __tablename__ = "groups"
    id: Mapped[int] = mapped_column(primary_key=True)
    #: Of groups, servers and kinds one name is given once: all of them are names in one inventory.
    name: Mapped[str] = mapped_column(String(64), unique=True)
    #: How many of its servers are worked on at a time: a number, or a share such as "25%".
    batch: Mapped[str] = mapped_column(String(8), default="1")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    members: Mapped[list[Member]] = relationship(cascade="all, delete-orphan", order_by="Member.position",
                                                 lazy="selectin")
    resources: Mapped[list[Resource]] = relationship(back_populates="group")

    @property
    def servers(self) -> list[Server]:
        """In the order in which they are worked on."""
        return [one.server for one in self.members]

    @servers.setter
    def servers(self, servers: Sequence[Server]) -> None:
        there = {one.server.id: one for one in self.members}
        self.members = [there.get(one.id) or Member(server=one) for one in servers]
        for position, member in enumerate(self.members):
            member.position = position


class Member(Base):
    """A server in a group."""

    __tablename__ = "group_servers"
    group_id: Mapped[int] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True)
    server_id: Mapped[int] = mapped_column(ForeignKey("servers.id"), primary_key=True)
    position: Mapped[int]
    server: Mapped[Server] = relationship(lazy="joined")


class Place(Base):
    """A resource on one of its servers: whether it was applied there, and what the link saw of it."""

    __tablename__ = "places"
    id: Mapped[int] = mapped_column(primary_key=True)
    resource_id: Mapped[int] = mapped_column(ForeignKey("resources.id", ondelete="CASCADE"))
    server_id: Mapped[int] = mapped_column(ForeignKey("servers.id"), index=True)
    #: Set by a `main` that succeeded there; after a `remove` that did, the row goes.
    applied_at: Mapped[datetime | None]
    observed: Mapped[Observed] = mapped_column(default=Observed.UNKNOWN)
    observed_text: Mapped[str] = mapped_column(Text, default="Not looked at yet.")
    observed_at: Mapped[datetime | None]
    #: What the link read: probes with their answers, release, units.
    observed_data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    resource: Mapped[Resource] = relationship(back_populates="places")
    server: Mapped[Server] = relationship(back_populates="places", lazy="joined")
    __table_args__ = (UniqueConstraint("resource_id", "server_id"),)
