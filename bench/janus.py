"""The peer of the audio plane: Janus' AudioBridge, whose participants are plain RTP in G.711."""

from __future__ import annotations

import itertools
import json
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np

from bench.processes import Engine, engine, wait_for

CONFIG = """
general: {{
    configs_folder = "{folder}"
    plugins_folder = "{libraries}/plugins"
    transports_folder = "{libraries}/transports"
    session_timeout = 0
    debug_level = 2
}}
media: {{ rtp_port_range = "20000-40000" }}
plugins: {{ disable = "{others}" }}
transports: {{ disable = "{transports}" }}
"""
PFUNIX = 'general: {{ enabled = true\n json = "compact"\n path = "{path}"\n type = "SEQPACKET" }}\n'


ADDRESS = "127.0.0.1"
"""It takes none that no interface shows."""
ATTEMPTS = 10


class Janus:
    """A running Janus; each participant is a handle of its one session."""

    def __init__(self, running: Engine, path: Path) -> None:
        self.engine = running
        self._path = path
        self._ids = itertools.count(1)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def connect(self) -> bool:
        self._socket.close()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(20)
        try:
            self._socket.connect(str(self._path))
            self._session = self._ask({"janus": "create"})["data"]["id"]
        except (OSError, ValueError):  # not there yet, or about to end
            return False
        self._control = self._handle()
        return True

    def _ask(self, request: dict[str, Any], wanted: str = "success") -> dict[str, Any]:
        transaction = str(next(self._ids))
        self._socket.send(json.dumps({**request, "transaction": transaction}).encode())
        while True:
            answer = json.loads(self._socket.recv(1 << 16))
            if answer.get("transaction") == transaction:
                if answer["janus"] == wanted:
                    return answer
                if answer["janus"] != "ack":
                    raise RuntimeError(f"Janus: {answer}")

    def _handle(self) -> int:
        plugin = "janus.plugin.audiobridge"
        return self._ask({"janus": "attach", "session_id": self._session, "plugin": plugin})[
            "data"
        ]["id"]

    def _message(self, handle: int, body: dict[str, Any], wanted: str) -> dict[str, Any]:
        message = {
            "janus": "message", "session_id": self._session, "handle_id": handle, "body": body,
        }  # fmt: skip
        data = self._ask(message, wanted)["plugindata"]["data"]
        if "error" in data:
            raise RuntimeError(f"Janus: {data}")
        return data

    def room(self, number: int, file: Path | None = None) -> None:
        """A room, and if so wished with a file that is played in it over and over."""
        body = {
            "request": "create", "room": number, "sampling_rate": 8000, "permanent": False,
            "allow_rtp_participants": True, "audiolevel_event": False,
        }  # fmt: skip
        self._message(self._control, body, "success")
        if file is not None:
            play = {"request": "play_file", "room": number, "filename": str(file), "loop": True}
            self._message(self._control, play, "success")

    def join(self, number: int, host: str, port: int) -> int:
        """The port that a new participant sends to."""
        rtp = {"ip": host, "port": port, "payload_type": 0}
        body = {"request": "join", "room": number, "codec": "pcmu", "rtp": rtp}
        return self._message(self._handle(), body, "event")["rtp"]["port"]


@contextmanager
def janus() -> Iterator[Janus]:
    """Janus on the loopback address, with the AudioBridge alone."""
    (libraries,) = Path("/usr/lib").glob("*/janus")
    with tempfile.TemporaryDirectory(prefix="pbxb") as name:
        folder = Path(name)
        names = {kind: sorted(p.name for p in (libraries / kind).iterdir())
                 for kind in ("plugins", "transports")}  # fmt: skip
        plugins = [n for n in names["plugins"] if "audiobridge" not in n]
        transports = [n for n in names["transports"] if "pfunix" not in n]
        path = folder / "socket"
        (folder / "janus.jcfg").write_text(
            CONFIG.format(
                folder=folder,
                libraries=libraries,
                others=",".join(plugins),
                transports=",".join(transports),
            )
        )
        (folder / "janus.transport.pfunix.jcfg").write_text(PFUNIX.format(path=path))
        (folder / "janus.plugin.audiobridge.jcfg").write_text(
            f'general: {{ local_ip = "{ADDRESS}"\n rtp_port_range = "30000-39999" }}\n'
        )
        for attempt in range(ATTEMPTS):
            command = ["janus", "--configs-folder", name, "--interface", ADDRESS]
            with engine(command, folder, f"janus{attempt}") as running:
                made = Janus(running, path)
                # Its transport starts a thread that may look for a flag before it is set, and end.
                wait_for(lambda r=running, m=made: r.process.poll() is not None or m.connect(),
                         "Janus to answer or to end")  # fmt: skip
                if running.process.poll() is None:
                    yield made
                    return
        raise TimeoutError(f"Janus did not start {ATTEMPTS} times")


def opus(path: Path, seconds: float = 10) -> Path:
    """A file for the AudioBridge to play: a tone, in Opus."""
    time = np.arange(round(seconds * 48000)) / 48000
    sound = (8000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16).reshape(1, -1)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libopus", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(sound, format="s16", layout="mono")
        frame.sample_rate = 48000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    return path
