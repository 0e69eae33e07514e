"""What pbxctl keeps of a cluster on Nomad: its secrets, and a note of where it was reached.

``secrets/`` is made by `pbxctl host-config`, which also says how it comes to the hosts.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from pbxctl.engines.engine import EngineError
from pbxctl.engines.nomad.reach import Note

NOTE = "engine.json"


class NomadStateDir:
    """``root`` is the cluster's directory below the state root; need not exist."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.note = root / NOTE

    def admin_token(self) -> str:
        """Raises EngineError that says how the secrets come to be."""
        path = self.root / "secrets" / "admin_token"
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            raise EngineError(
                f"{path}: no such file; pbxctl host-config makes the cluster's secrets, and they "
                "must be on the hosts before anything is applied"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise EngineError(f"{path}: {getattr(error, 'strerror', None) or error}") from None

    def read_note(self) -> Note | None:
        """None where the cluster was never started from here."""
        return read_note(self.root)

    def write_note(self, note: Note) -> None:
        """Raises EngineError."""
        if self.read_note() == note:
            return
        draft = self.note.with_name(f".{NOTE}.{os.getpid()}")
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.write_bytes(msgspec.json.encode(note) + b"\n")
            draft.replace(self.note)
        except OSError as error:
            raise EngineError(f"{self.note}: {error.strerror}") from None
        finally:
            with contextlib.suppress(OSError):
                draft.unlink()

    def forget(self) -> None:
        """Removes the note; the secrets stay, for they are on the hosts too."""
        with contextlib.suppress(OSError):
            self.note.unlink()


def read_note(root: Path) -> Note | None:
    """The note in a cluster's state directory; None if there is none. Raises EngineError."""
    path = root / NOTE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Note)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise EngineError(f"{path}: {error}; remove it, and pbxctl apply writes it anew") from None
