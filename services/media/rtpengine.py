"""The ``rtpengine`` task: checks what could stop rtpengine, then becomes it.

Written for rtpengine 10.5 without its kernel module: all packets pass through user space.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import resource
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import NoReturn

from services.media.mirror.document import interface
from services.media.mirror.sessions import OTHERS, OWN
from services.media.settings import MediaSettings

BINARY = "rtpengine"
EXPEDITED_FORWARDING = 46 << 2
"""TOS byte of voice (RFC 3246)."""
MEDIA_TIMEOUT = 60
"""Seconds without a packet from anyone until a call's media count as gone."""
HOLD_TIMEOUT = 3600
"""The same while the call is on hold and nobody is meant to send."""
OFFER_TIMEOUT = 600
"""The same while nobody has answered: longer than any chain of ringing phones."""
SOCKETS_A_CALL = 16
"""Two legs, audio and video, RTP and RTCP each; twice that where a leg forks or has IPv6 too."""
INTERFACE = "media"
FLOATING = "media_addresses"
CHECK = "check"
"""Logical interface of the RTP check, where the media address may be elsewhere."""
RESTORING = 4
"""Threads that restore sessions when it starts."""
AGENT_WITHIN = 5.0
"""Seconds for which a starting rtpengine waits for the agent, which has the sessions."""
INSIDE = "inside"
"""Logical interface for peers on this side of the NAT, where there is a public address."""


class StartError(Exception):
    """rtpengine cannot start like this; the message says what to change."""


def host_port(host: str, port: int) -> str:
    """``host:port``, with brackets where the host is IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def arguments(settings: MediaSettings, *, recording: bool = True) -> list[str]:
    """The command line of rtpengine, its name included; without ``recording`` it records nothing.

    The media-timeout call goes to this server's own agent, which knows the Call Managers.
    """
    public = f"!{settings.public_address}" if settings.public_address else ""
    interfaces = [f"--interface={INTERFACE}/{settings.media_address}{public}"]
    if public:
        interfaces.append(f"--interface={INSIDE}/{settings.media_address}")
    if settings.floats:
        interfaces = floating_interfaces(settings)
    agent = host_port(settings.address, settings.admin_port)
    return [
        BINARY,
        "--config-file=none",
        "--foreground",
        "--log-stderr",
        "--log-level=5",
        # A line a call, and a line a health check, is what "core" has at 5.
        "--log-level-core=4",
        "--split-logs",
        "--table=-1",
        *interfaces,
        f"--listen-ng={host_port(*settings.control)}",
        f"--port-min={settings.media_from}",
        f"--port-max={settings.media_to}",
        f"--tos={EXPEDITED_FORWARDING}",
        f"--timeout={MEDIA_TIMEOUT}",
        f"--silent-timeout={HOLD_TIMEOUT}",
        f"--offer-timeout={OFFER_TIMEOUT}",
        # A session is gone when the Call Manager says so: capacity is free, recordings are closed.
        "--delete-delay=0",
        # Format 1 sends the Call-ID once a call; 2 sends it once for each pair of tags.
        f"--b2b-url=http://{agent}/rtpengine",
        "--xmlrpc-format=1",
        *(recording_arguments(settings.recordings_dir) if recording else ()),
        *(mirror_arguments(settings) if settings.floats else keys_arguments(settings)),
        # Behind NAT the SDP's address is wrong; what matches the SDP is still believed first.
        "--endpoint-learning=heuristic",
        "--dtls-mtu=1200",
        "--software-id=pbx",
    ]


def floating_interfaces(settings: MediaSettings) -> list[str]:
    """An interface for each floating media address, its own first: the default for calls.

    All servers have them all under the same names, so that a session means the same address
    everywhere. The last is this host's own address, for the check of RTP, which has to work
    wherever the floating ones are.
    """
    own = f"!{settings.public_address}" if settings.public_address else ""
    return [
        f"--interface={interface(peer.name)}/{peer.address}"
        + (own if peer.address == settings.media_address else "")
        for peer in settings.floating
    ] + [f"--interface={CHECK}/{settings.address}"]


def mirror_arguments(settings: MediaSettings) -> tuple[str, ...]:
    """What has sessions kept by the agent beside it (docs/decisions/0007)."""
    return (
        f"--redis=127.0.0.1:{settings.mirror_port}/{OWN}",
        f"--subscribe-keyspace={OTHERS}",
        f"--listen-cli=127.0.0.1:{settings.cli_port}",
        # A session is this server's from the first packet that comes to the address it took over.
        "--active-switchover",
        # Calls are set up whether the agent is there or not, and wait for it once in a while only.
        "--no-redis-required",
        "--redis-allowed-errors=0",
        "--redis-disable-time=1",
        "--redis-connect-timeout=100",
        "--redis-cmd-timeout=300",
        f"--redis-num-threads={RESTORING}",
    )


def keys_arguments(settings: MediaSettings) -> tuple[str, ...]:
    """What has rtpengine tell the agent of keys.

    To read them it decrypts SRTP that it would pass on as it is, and then a session that another
    server takes over is mute for good once its sequence numbers have wrapped: that one does not
    know how often they have (RFC 3711 section 3.3.1). So not where sessions are taken over: `tap`.
    """
    return (f"--dtmf-log-dest={host_port(settings.address, settings.keys_port)}",)


def recording_arguments(directory: Path) -> tuple[str, ...]:
    """What makes rtpengine record without a kernel module: captures, which the agent converts."""
    return (f"--recording-dir={directory}", "--recording-method=pcap", "--recording-format=raw")


def problems(settings: MediaSettings) -> list[str]:
    """What in the settings alone cannot work."""
    found: list[str] = []
    names = {
        "address": settings.address,
        "media_address": settings.media_address,
        "public_address": settings.public_address,
    }
    for name, text in names.items():
        if not text and name == "public_address":
            continue
        try:
            ipaddress.ip_address(text)
        except ValueError:
            found.append(f"{name} {text!r} is not an IP address")
    if not 1024 <= settings.media_from < settings.media_to <= 65535:
        found.append(
            f"media ports {settings.media_from} to {settings.media_to}: expected a range"
            " within 1024 to 65535"
        )
    elif settings.media_from <= settings.control_port <= settings.media_to:
        found.append(
            f"control port {settings.control_port} lies within the media ports"
            f" {settings.media_from} to {settings.media_to}"
        )
    return found


def _try_bind(address: str, port: int, name: str, port_name: str = "") -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, port))
        except OSError as error:
            at = host_port(address, port)
            if error.errno == errno.EADDRINUSE:
                raise StartError(
                    f"{port_name} {at} is in use by another process: stop it, or change {port_name}"
                ) from None
            if error.errno == errno.EADDRNOTAVAIL:
                if name == FLOATING:
                    raise StartError(
                        f"{name} {address} moves between servers, and this host lets nobody listen"
                        " on it before it is here: set net.ipv4.ip_nonlocal_bind = 1, and"
                        " net.ipv6.ip_nonlocal_bind = 1"
                    ) from None
                raise StartError(
                    f"{name} {address} is not an address of this host: correct it in the spec, or"
                    " add the address to an interface"
                ) from None
            raise StartError(f"{name} {at}: {error.strerror}") from None


def check(settings: MediaSettings) -> str:
    """Path of the binary, once addresses and port were tried. Raises StartError."""
    found = problems(settings)
    if found:
        raise StartError("; ".join(found))
    binary = shutil.which(BINARY)
    if binary is None:
        raise StartError(
            f"{BINARY} is not installed or not on PATH: on Debian, install rtpengine-daemon"
        )
    _try_bind(*settings.control, "control_address", "control_port")
    for peer in settings.floating:
        _try_bind(peer.address, 0, FLOATING)
    if not settings.floats:
        _try_bind(settings.media_address, 0, "media_address")
    return binary


def can_record(directory: Path) -> bool:
    """Whether rtpengine will find its directories, made here for this user alone.

    It would not start without them; but a disk that is full or broken may not stop calls.
    """
    try:
        for name in ("", "metadata", "pcaps", "tmp"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        directory.chmod(0o750)
    except OSError as error:
        sys.stderr.write(
            f"rtpengine: recordings_dir {directory}: {error.strerror}: calls are carried, and none"
            " can be recorded until this is put right and the task restarted\n"
        )
        return False
    return True


def allow_sockets(capacity: int) -> None:
    """Raises the limit of open files; says so in the log where the host allows too few."""
    wanted = capacity * SOCKETS_A_CALL + 1024
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    except (OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        sys.stderr.write(
            f"rtpengine: this host allows {hard} open files; a capacity of {capacity} calls may"
            f" need {wanted}: raise LimitNOFILE\n"
        )


def leave_no_core(directory: Path) -> None:
    """rtpengine 10.5 aborts at SIGTERM while it records, and allows itself a core of any size.

    It has no memory in it then, and lies where the job's files are. See core(5).
    """
    Path("/proc/self/coredump_filter").write_text("0")
    directory.mkdir(parents=True, exist_ok=True)
    os.chdir(directory)


def wait_for_agent(port: int, within: float = AGENT_WITHIN) -> None:
    """Until the agent's relay takes connections: sessions are restored at the start, or never."""
    until = time.monotonic() + within
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 0.2):
                return
        except OSError as error:
            if time.monotonic() >= until:
                sys.stderr.write(
                    f"rtpengine: the agent is not there (127.0.0.1:{port}: {error.strerror}):"
                    " starting without its sessions\n"
                )
                return
            time.sleep(0.05)


def run(settings: MediaSettings) -> NoReturn:
    """Becomes rtpengine. Raises StartError."""
    binary = check(settings)
    # In a cluster it has the others' sessions ready too.
    allow_sockets(settings.capacity * max(1, len(settings.floating)))
    leave_no_core(settings.run_dir)
    if settings.floats:
        wait_for_agent(settings.mirror_port)
    recording = can_record(settings.recordings_dir)
    try:
        os.execv(binary, arguments(settings, recording=recording))  # noqa: S606 - becoming it is the point
    except OSError as error:
        raise StartError(f"{binary}: {error.strerror}") from None
