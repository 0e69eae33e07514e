"""The sounds that calls hear: files from the Call Managers, texts by the speech engine, each once.

On disk in ``data_dir/sounds``: files under their digest, spoken texts in a folder a voice. In the
audio plane's memory: what menus name, and the last `SPOKEN` values that were said.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import trio

from services.core.audio import AudioError, AudioPlane, Clip
from services.core.audio.speech import Speaker, SpeechError
from services.core.menus import Sound

log = logging.getLogger(__name__)

SPOKEN = 500
"""Clips of values (numbers, names) that are kept; the one heard longest ago goes first."""
AT_ONCE = 2
"""Texts that are spoken side by side: each takes a core."""

Source = Callable[[str], Awaitable[bytes]]
"""A file's bytes by its digest; raises LookupError."""


class Library:
    """``fetch`` gets a file that is not here yet. Raises of all: LookupError, with the reason."""

    def __init__(self, directory: Path, plane: AudioPlane, fetch: Source) -> None:
        self._directory = directory
        self._speaker = Speaker(directory, plane.rate)
        self._plane = plane
        self._fetch = fetch
        self._kept: dict[tuple[str, Sound], Clip] = {}
        self._spoken: OrderedDict[tuple[str, Sound], Clip] = OrderedDict()
        self._limit = trio.CapacityLimiter(AT_ONCE)
        self._making: dict[Path, trio.Lock] = {}

    async def keep(self, wanted: Iterable[tuple[str, Sound]]) -> None:
        """Make every one of these ready to be heard at once, and let go of what is not wanted."""
        found: dict[tuple[str, Sound], Clip] = {}
        for language, sound in sorted(wanted, key=str):
            key = (language, sound)
            found[key] = self._kept.get(key) or await self._load(language, sound)
        before, self._kept = self._kept, found
        for key, clip in before.items():
            if key not in found:
                clip.close()

    async def clip(self, language: str, sound: Sound) -> Clip:
        """A sound to be played now."""
        key = (language, sound)
        if key in self._kept:
            return self._kept[key]
        if key not in self._spoken:
            clip = await self._load(language, sound)
            self._spoken.setdefault(key, clip)
        self._spoken.move_to_end(key)
        while len(self._spoken) > SPOKEN:
            self._spoken.popitem(last=False)[1].close()
        return self._spoken[key]

    async def fetch(self, digest: str) -> None:
        """Have a file here, on disk."""
        await self._file(digest)

    async def _load(self, language: str, sound: Sound) -> Clip:
        path = await (
            self._file(sound.digest) if sound.digest else self._text(language, sound.text)
        )
        try:
            return await self._plane.load(path)
        except AudioError as error:
            raise LookupError(f"{sound.digest[:12] or sound.text[:40]}: {error}") from None

    async def _file(self, digest: str) -> Path:
        path = self._directory / digest
        async with self._lock(path):
            if not path.exists():
                data = await self._fetch(digest)
                if hashlib.sha256(data).hexdigest() != digest:
                    raise LookupError(f"sound {digest[:12]} came with another content")
                await trio.to_thread.run_sync(_write, path, data)
        return path

    async def _text(self, language: str, text: str) -> Path:
        speaker, run = self._speaker, trio.to_thread.run_sync
        try:
            path = await run(speaker.path, text, language)
            async with self._lock(path):
                return await run(speaker.spoken, text, language, limiter=self._limit)
        except (SpeechError, OSError) as error:
            raise LookupError(str(error)) from None

    def _lock(self, path: Path) -> trio.Lock:
        if len(self._making) > 4 * SPOKEN:
            self._making = {p: lock for p, lock in self._making.items() if lock.locked()}
        return self._making.setdefault(path, trio.Lock())


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(data)
    new.rename(path)
