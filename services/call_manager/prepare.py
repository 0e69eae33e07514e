"""What agent and Kamailio need before they start; done again it changes nothing."""

from __future__ import annotations

import datetime
import logging
import time

from services.call_manager import certificate
from services.call_manager.settings import CallManagerSettings
from services.call_manager.tables import TablesWriter
from services.call_manager.tables_repair import repair
from services.core.store import Database, StoreAwayError, migrate

log = logging.getLogger(__name__)

PATIENCE = 300.0
"""Seconds for a new cluster's database, which is made on three hosts."""
PATIENCE_LATER = 8.0
"""Seconds where it is not needed: longer than a failover."""
AGAIN = 0.5


def prepare(settings: CallManagerSettings) -> None:
    """Directories, database, tables, certificate. Raises SettingsError, StoreError, OSError."""
    settings.cluster_key()
    settings.admin_token()
    for directory in (settings.data_dir, settings.run_dir, settings.spool_dir):
        directory.mkdir(parents=True, exist_ok=True)
    own = Database(settings.own_database_url)
    try:
        migrate(own)
    finally:
        own.close()
    repair(settings.tables_dir)
    tables = TablesWriter(settings.tables_dir)
    complete = tables.complete
    tables.close()
    if settings.own_database_url != settings.database_url:
        _wait_for_store(settings, needed=not complete)
    names = filter(None, (settings.vip, settings.public_address, settings.address))
    certificate.take_given(settings.tls_dir, settings.secrets_dir)
    if certificate.ensure(settings.tls_dir, names, datetime.datetime.now(datetime.UTC)):
        log.warning("made a self-signed certificate in %s; put your own there", settings.tls_dir)


def _wait_for_store(settings: CallManagerSettings, *, needed: bool) -> None:
    """Bring the cluster's database to this release's shape, as the first of the managers to come.

    At a cluster's first start it has yet to be made. Where routing has all users already, it is
    not ``needed``: calls are more urgent, and the agent sees to it when the database is back.
    Raises StoreError.
    """
    database = Database(settings.database_url, settings.database_password())
    end = time.monotonic() + (PATIENCE if needed else PATIENCE_LATER)
    told = False
    try:
        while True:
            try:
                migrate(database)
            except StoreAwayError as error:
                if time.monotonic() >= end:
                    if needed:
                        raise
                    log.warning("going on without the database: %s", error)
                    return
                if not told:
                    log.info("waiting for the database: %s", error)
                    told = True
                time.sleep(AGAIN)
            else:
                return
    finally:
        database.close()
