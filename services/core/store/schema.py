"""The tables, ours and Kamailio's. The migrations make them; this is what queries are built from.

Kamailio's have the shape of its own 5.6 scripts (``kamailio/db_sqlite``, ``kamailio/postgres``),
and the versions that its modules look for in ``version``.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

# Compared by code point on both databases, so that pages go on where Python's order says.
Name = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")

meta = sa.Table(
    "pbx_meta",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.String(255), nullable=False),
)
"""``store``: an id made with the database, which tells a reader that it is another one."""

counters = sa.Table(
    "pbx_counters",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)
"""``users`` and ``calls``: a writer locks its row until it commits, so numbers commit in order."""

users = sa.Table(
    "pbx_users",
    metadata,
    sa.Column("tenant", Name, primary_key=True),
    sa.Column("extension", Name, primary_key=True),
    sa.Column("source", sa.String(4), nullable=False),
    sa.Column("change", sa.BigInteger, nullable=False, index=True),
    sa.Column("routing", sa.LargeBinary, nullable=False),
    # Rows in the order of their key: a million are read in it at a Call Manager's first start.
    sqlite_with_rowid=False,
)
"""``routing`` is `configuration.encode` of the `User`, ``source`` is ``spec`` or ``api``."""

deleted_users = sa.Table(
    "pbx_deleted_users",
    metadata,
    sa.Column("tenant", Name, primary_key=True),
    sa.Column("extension", Name, primary_key=True),
    sa.Column("change", sa.BigInteger, nullable=False, index=True),
)

directories = sa.Table(
    "pbx_directories",
    metadata,
    sa.Column("tenant", Name, primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
)
"""Digest of the users that the spec gave a tenant last."""

secrets = sa.Table(
    "pbx_secrets",
    metadata,
    sa.Column("name", Name, primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
)

calls = sa.Table(
    "pbx_calls",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("event", sa.String(64), nullable=False, unique=True),
    sa.Column("call", sa.String(255), nullable=False, index=True),
    sa.Column("ended", sa.Float(53), nullable=False, index=True),
    sa.Column("tenant", Name, nullable=False),
    sa.Column("record", sa.LargeBinary, nullable=False),
    sa.Index("pbx_calls_tenant", "tenant", "number"),
)
"""``record`` is the JSON of a `CallRecord`, ``event`` the id of the event that ended the call."""

recordings = sa.Table(
    "pbx_recordings",
    metadata,
    sa.Column("id", Name, primary_key=True),
    sa.Column("call", sa.String(255), nullable=False, index=True),
    sa.Column("tenant", Name, nullable=False, index=True),
    sa.Column("server", sa.String(64), nullable=False),
    sa.Column("started", sa.Float(53), nullable=False, index=True),
    sa.Column("details", sa.LargeBinary, nullable=False),
)
"""``details`` is the JSON of a `Recording`."""

boxes = sa.Table(
    "pbx_voicemail_boxes",
    metadata,
    sa.Column("tenant", Name, primary_key=True),
    sa.Column("extension", Name, primary_key=True),
    sa.Column("pin", sa.LargeBinary, nullable=False),
    sa.Column("wrong", sa.Integer, nullable=False),
    sa.Column("locked_until", sa.Float(53), nullable=False),
    sa.Column("greeting", sa.LargeBinary, nullable=False),
    sa.Column("changed", sa.Boolean, nullable=False, index=True),
)
"""``pin`` is salt and scrypt of it, or empty; ``wrong`` attempts in a row. ``changed``: its phones
have not been told of its messages yet. A box without a row has neither PIN nor greeting."""

messages = sa.Table(
    "pbx_voicemail_messages",
    metadata,
    sa.Column("id", Name, primary_key=True),
    sa.Column("tenant", Name, nullable=False),
    sa.Column("extension", Name, nullable=False),
    sa.Column("left_at", sa.Float(53), nullable=False),
    sa.Column("seconds", sa.Float(53), nullable=False),
    sa.Column("caller", sa.String(128), nullable=False),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("mail", sa.String(8), nullable=False, index=True),
    sa.Column("mail_at", sa.Float(53), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("audio", sa.LargeBinary, nullable=False),
    sa.Index("pbx_voicemail_messages_box", "tenant", "extension", "left_at", "id"),
)
"""``state`` is ``new``, ``saved`` or ``deleted``: what was deleted stays for a while without its
sound, so that the same message sent again does not come back. ``mail`` is ``due``, ``sending``
(since ``mail_at``), or empty."""

sounds = sa.Table(
    "pbx_sounds",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("tenant", Name, nullable=False, index=True),
    sa.Column("made", sa.Float(53), nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
"""Files of sound by the SHA-256 of their bytes; ``tenant`` is empty for those of the spec."""

version = sa.Table(
    "version",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("table_name", sa.String(32), nullable=False),
    sa.Column("table_version", sa.Integer, nullable=False, server_default="0"),
    sa.UniqueConstraint("table_name", name="version_table_name_idx"),
)

KAMAILIO_VERSIONS = {
    "version": 1,
    "location": 9,
    "location_attrs": 1,
    "rtpengine": 1,
    "uacreg": 5,
}

location = sa.Table(
    "location",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("ruid", sa.String(64), nullable=False, server_default=""),
    sa.Column("username", sa.String(64), nullable=False, server_default=""),
    sa.Column("domain", sa.String(64)),
    sa.Column("contact", sa.String(512), nullable=False, server_default=""),
    sa.Column("received", sa.String(128)),
    sa.Column("path", sa.String(512)),
    sa.Column("expires", sa.TIMESTAMP, nullable=False, server_default="2030-05-28 21:32:15"),
    sa.Column("q", sa.REAL, nullable=False, server_default="1.0"),
    sa.Column("callid", sa.String(255), nullable=False, server_default="Default-Call-ID"),
    sa.Column("cseq", sa.Integer, nullable=False, server_default="1"),
    sa.Column("last_modified", sa.TIMESTAMP, nullable=False, server_default="2000-01-01 00:00:01"),
    sa.Column("flags", sa.Integer, nullable=False, server_default="0"),
    sa.Column("cflags", sa.Integer, nullable=False, server_default="0"),
    sa.Column("user_agent", sa.String(255), nullable=False, server_default=""),
    sa.Column("socket", sa.String(64)),
    sa.Column("methods", sa.Integer),
    sa.Column("instance", sa.String(255)),
    sa.Column("reg_id", sa.Integer, nullable=False, server_default="0"),
    sa.Column("server_id", sa.Integer, nullable=False, server_default="0"),
    sa.Column("connection_id", sa.Integer, nullable=False, server_default="0"),
    sa.Column("keepalive", sa.Integer, nullable=False, server_default="0"),
    sa.Column("partition", sa.Integer, nullable=False, server_default="0"),
    sa.UniqueConstraint("ruid", name="location_ruid_idx"),
    sa.Index("location_account_contact_idx", "username", "domain", "contact"),
    sa.Index("location_expires_idx", "expires"),
    sa.Index("location_tcpcon_idx", "connection_id"),
    sa.Index("location_connection_idx", "server_id", "connection_id"),
)

location_attrs = sa.Table(
    "location_attrs",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("ruid", sa.String(64), nullable=False, server_default=""),
    sa.Column("username", sa.String(64), nullable=False, server_default=""),
    sa.Column("domain", sa.String(64)),
    sa.Column("aname", sa.String(64), nullable=False, server_default=""),
    sa.Column("atype", sa.Integer, nullable=False, server_default="0"),
    sa.Column("avalue", sa.String(512), nullable=False, server_default=""),
    sa.Column("last_modified", sa.TIMESTAMP, nullable=False, server_default="2000-01-01 00:00:01"),
    sa.Index("location_attrs_account_record_idx", "username", "domain", "ruid"),
    sa.Index("location_attrs_last_modified_idx", "last_modified"),
)

rtpengine = sa.Table(
    "rtpengine",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("setid", sa.Integer, nullable=False, server_default="0"),
    sa.Column("url", sa.String(64), nullable=False),
    sa.Column("weight", sa.Integer, nullable=False, server_default="1"),
    sa.Column("disabled", sa.Integer, nullable=False, server_default="0"),
    sa.Column("stamp", sa.TIMESTAMP, nullable=False, server_default="1900-01-01 00:00:01"),
    sa.UniqueConstraint("setid", "url", name="rtpengine_rtpengine_nodes"),
)

uacreg = sa.Table(
    "uacreg",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("l_uuid", sa.String(64), nullable=False, server_default=""),
    sa.Column("l_username", sa.String(64), nullable=False, server_default=""),
    sa.Column("l_domain", sa.String(64), nullable=False, server_default=""),
    sa.Column("r_username", sa.String(64), nullable=False, server_default=""),
    sa.Column("r_domain", sa.String(64), nullable=False, server_default=""),
    sa.Column("realm", sa.String(64), nullable=False, server_default=""),
    sa.Column("auth_username", sa.String(64), nullable=False, server_default=""),
    sa.Column("auth_password", sa.String(64), nullable=False, server_default=""),
    sa.Column("auth_ha1", sa.String(128), nullable=False, server_default=""),
    sa.Column("auth_proxy", sa.String(255), nullable=False, server_default=""),
    sa.Column("expires", sa.Integer, nullable=False, server_default="0"),
    sa.Column("flags", sa.Integer, nullable=False, server_default="0"),
    sa.Column("reg_delay", sa.Integer, nullable=False, server_default="0"),
    sa.Column("contact_addr", sa.String(255), nullable=False, server_default=""),
    sa.Column("socket", sa.String(128), nullable=False, server_default=""),
    sa.UniqueConstraint("l_uuid", name="uacreg_l_uuid_idx"),
)
"""Stays empty: registrations come over RPC, but Kamailio makes none without this table."""
