"""Configuration in force, secrets, trunks, recordings, bans."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Annotated

import msgspec
import trio
from fastapi import APIRouter, HTTPException, Path, Response

from services.call_manager import control
from services.call_manager.api.models import (
    AppServer,
    Ban,
    BindingRead,
    Configuration,
    Limit,
    MediaServer,
    RecordingBody,
    SecretPrint,
    SecretWrite,
    TrunkRead,
)
from services.call_manager.parts import Parts
from services.call_manager.routing.guard import source_key
from services.core.admin import Problem, authorized_router, bytes_of
from services.core.seal import SealError
from services.core.store import (
    Binding,
    Recording,
    calls,
    recordings,
    registrations,
    secrets,
)

BANS = "ipban"
SecretName = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,126}$")]


def router(parts: Parts) -> APIRouter:
    """What there is one of in a cluster."""
    routes = authorized_router(tags=["cluster"])
    for add in (_configuration, _secrets, _registrations, _trunks, _recordings, _bans):
        add(routes, parts)
    return routes


def fingerprint(token: str, name: str, value: str) -> str:
    """Tells whether two secrets are the same to who knows the admin token, and nothing else."""
    message = f"{name}\0{value}".encode()
    return hmac.new(token.encode(), message, hashlib.sha256).hexdigest()[:16]


def _configuration(routes: APIRouter, parts: Parts) -> None:
    @routes.get("/v1/configuration")
    async def get_configuration() -> Configuration:  # pyright: ignore[reportUnusedFunction]
        """What is in force here, and why it is not what the registry has, if so."""
        state = parts.state
        return Configuration(
            manifest=state.in_force,
            spec_hash=state.spec_hash,
            release=state.release,
            generation=state.generation,
            registry_manifest=state.assembled.manifest_digest,
            tenants=[tenant.name for tenant in state.picture.tenants] if state.picture else [],
            switch=state.own_switch.state,
            media=[
                MediaServer(
                    name=server.name,
                    state=server.state,
                    set=server.set,
                    control=server.control,
                    capacity=server.capacity,
                    calls=state.loads.get(server.name, 0),
                )
                for server in state.media
            ],
            apps=[
                AppServer(
                    name=server.name,
                    role=server.role,
                    state=server.state,
                    sip=server.sip,
                    capacity=server.capacity,
                    calls=state.app_loads.get(server.key, 0),
                )
                for server in state.apps
            ],
            problems=list(state.assembled.problems),
        )


def _secrets(routes: APIRouter, parts: Parts) -> None:
    @routes.get("/v1/secrets")
    def list_secrets() -> list[SecretPrint]:  # pyright: ignore[reportUnusedFunction]
        """Names and fingerprints; one that this cluster's key cannot open has an empty one."""
        found: list[SecretPrint] = []
        with parts.database.read() as connection:
            for name in secrets.names(connection):
                try:
                    value = secrets.get(connection, parts.seal, name) or ""
                    found.append(
                        SecretPrint(name=name, fingerprint=fingerprint(parts.token, name, value))
                    )
                except SealError:
                    found.append(SecretPrint(name=name, fingerprint=""))
        return found

    @routes.put("/v1/secrets/{name:path}")
    async def put_secret(name: SecretName, body: SecretWrite) -> SecretPrint:  # pyright: ignore[reportUnusedFunction]
        """Write a secret, new or not; it is never shown again."""

        def write() -> None:
            with parts.database.write() as connection:
                secrets.put(connection, parts.seal, name, body.value)

        await trio.to_thread.run_sync(write)
        parts.trunks.secret_changed()
        return SecretPrint(name=name, fingerprint=fingerprint(parts.token, name, body.value))

    @routes.get(
        "/v1/sealed/{name:path}",
        response_class=Response,
        responses=bytes_of("application/octet-stream") | {404: {"model": Problem}},
    )
    def sealed_secret(name: SecretName) -> Response:  # pyright: ignore[reportUnusedFunction]
        """A secret as the store keeps it, for servers that have the cluster key to open it with."""
        with parts.database.read() as connection:
            found = secrets.sealed(connection, name)
        if found is None:
            raise HTTPException(404, f"no secret is named {name}")
        return Response(found, media_type="application/octet-stream")

    @routes.delete("/v1/secrets/{name:path}", status_code=204, responses={404: {"model": Problem}})
    async def delete_secret(name: SecretName) -> None:  # pyright: ignore[reportUnusedFunction]
        def gone() -> bool:
            with parts.database.write() as connection:
                return secrets.delete(connection, name)

        if not await trio.to_thread.run_sync(gone):
            raise HTTPException(404, f"no secret is named {name}")
        parts.trunks.secret_changed()


def _registrations(routes: APIRouter, parts: Parts) -> None:
    @routes.get("/v1/registrations", responses={404: {"model": Problem}})
    async def list_registrations(  # pyright: ignore[reportUnusedFunction]
        tenant: str = "", extension: str = "", after: str = "", limit: Limit = 100
    ) -> list[BindingRead]:
        """Bindings by id, past ``after``.

        Of one user, or where there are few, as they are this moment; else as they were written
        to the database, some seconds ago at most.
        """
        if tenant:
            parts.known(tenant)
        now = time.time()
        if tenant and extension:
            found = await control.lookup(parts.rpc, tenant, extension, now)
            found.sort(key=lambda one: one.id)
        elif (await control.statistics(parts.rpc)).contacts <= control.DUMPED:
            found = await control.dump(parts.rpc, now)
        else:
            found = await trio.to_thread.run_sync(
                lambda: _stored(parts, tenant, extension, after, limit, now)
            )
        picture = parts.state.picture
        domains = {one.name: one.domains[0] for one in picture.tenants} if picture else {}
        return [
            BindingRead(
                # Kamailio and the database keep the tenant's name where others keep a domain.
                tenant=one.domain,
                domain=domains.get(one.domain, ""),
                **{
                    name: getattr(one, name)
                    for name in BindingRead.model_fields
                    if name not in ("tenant", "domain")
                },
            )
            for one in found
            if one.id > after and tenant in ("", one.domain) and extension in ("", one.extension)
        ][:limit]


def _stored(
    parts: Parts, tenant: str, extension: str, after: str, limit: int, now: float
) -> list[Binding]:
    with parts.own.read() as connection:
        return registrations.page(
            connection,
            now,
            domains=[tenant] if tenant else None,
            extension=extension,
            after=after,
            limit=limit,
        )


def _trunks(routes: APIRouter, parts: Parts) -> None:
    @routes.get("/v1/trunks")
    async def list_trunks() -> list[TrunkRead]:  # pyright: ignore[reportUnusedFunction]
        """Where trunks are, and whether they are registered and answer."""
        return [
            TrunkRead(
                name=trunk.name,
                host=trunk.host,
                transport=trunk.transport,
                addresses=list(parts.trunks.addresses(trunk.name)),
                **msgspec.to_builtins(parts.state.trunks[trunk.name]),
            )
            for trunk in parts.trunks.trunks
        ]


def _recordings(routes: APIRouter, parts: Parts) -> None:
    @routes.get("/v1/recordings")
    def list_recordings(  # pyright: ignore[reportUnusedFunction]
        tenant: str = "", call: str = "", server: str = "", after: str = "", limit: Limit = 100
    ) -> list[RecordingBody]:
        """The index by id, past ``after``."""
        with parts.database.read() as connection:
            found = recordings.page(
                connection, tenant=tenant, call=call, server=server, after=after, limit=limit
            )
        return [RecordingBody(**msgspec.structs.asdict(one)) for one in found]

    @routes.post("/v1/recordings", status_code=201)
    def put_recording(body: RecordingBody) -> RecordingBody:  # pyright: ignore[reportUnusedFunction]
        """Write an entry; sent twice it is there once.

        An entry that does not say whose call it is, because rtpengine was killed, gets that from
        the call's events, now or when the call is over.
        """
        entry = Recording(**body.model_dump())
        up = parts.calls.view.up.get(entry.call)
        if up is not None and not entry.tenant:
            entry = msgspec.structs.replace(
                entry,
                tenant=up.started.tenant,
                caller=up.started.caller,
                callee=up.started.callee,
            )
        with parts.database.write() as connection:
            recordings.put(connection, entry)
            if not entry.tenant:
                known = calls.page(connection, call=entry.call, limit=1)
                recordings.attribute(connection, known)
                entry = recordings.get(connection, entry.id) or entry
        return RecordingBody(**msgspec.structs.asdict(entry))

    @routes.delete(
        "/v1/recordings/{recording_id:path}",
        status_code=204,
        responses={404: {"model": Problem}},
    )
    def delete_recording(recording_id: str) -> None:  # pyright: ignore[reportUnusedFunction]
        """Delete an entry; the file is the media server's."""
        with parts.database.write() as connection:
            if not recordings.delete(connection, recording_id):
                raise HTTPException(404, f"no recording is named {recording_id}")


def _bans(routes: APIRouter, parts: Parts) -> None:
    @routes.get("/v1/bans")
    async def list_bans() -> list[Ban]:  # pyright: ignore[reportUnusedFunction]
        """Who is banned here."""
        found = await control.table(parts.rpc, BANS)
        return [Ban(source=key, reason=found[key], expires="") for key in sorted(found)]

    @routes.get("/v1/bans/{source:path}", responses={404: {"model": Problem}})
    async def get_ban(source: str) -> Ban:  # pyright: ignore[reportUnusedFunction]
        key = source_key(source)
        found = await control.get(parts.rpc, BANS, key)
        if found is None:
            raise HTTPException(404, f"{key} is not banned")
        return Ban(source=key, reason=found[0], expires=found[1])

    @routes.delete("/v1/bans/{source:path}", status_code=204, responses={404: {"model": Problem}})
    async def delete_ban(source: str) -> None:  # pyright: ignore[reportUnusedFunction]
        """Hear this source again."""
        key = source_key(source)
        if await control.get(parts.rpc, BANS, key) is None:
            raise HTTPException(404, f"{key} is not banned")
        await parts.rpc("htable.delete", BANS, key)
