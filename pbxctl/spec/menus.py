"""From plain values to a tenant's menus, and what they name."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import Any, cast

from pbxctl.spec import secrets
from pbxctl.spec.draft import Inputs, Mention, Mentions, Missing, Report, attempt, items
from pbxctl.spec.files import read_file
from pbxctl.spec.model import Secret
from pbxctl.spec.problems import Path, listing, printable
from pbxctl.spec.units import seconds
from services.core.configuration import Destination
from services.core.menus import (
    AnyStep,
    Assign,
    Branch,
    Collect,
    DialExtension,
    DialName,
    Enter,
    Fetch,
    HangUp,
    Menu,
    Play,
    Prompt,
    Record,
    Say,
    Sound,
    Speak,
    Steps,
    Transfer,
    When,
    variables_in,
)

MAX_SOUND = 20 * 1024 * 1024
"""Bytes of one file: an hour of telephone sound."""
LONGEST_DEADLINE = 30
LONGEST_RECORDING = 600
LONGEST_SILENCE = 60
DESTINATIONS = ("extension", "ring_group", "number", "voicemail")
ENDS = (Enter, HangUp)
"""Steps after which no other one comes."""

_BEGINNINGS = (b"OggS", b"fLaC", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")
"""Ogg, FLAC, and MP3 with and without tags."""

Values = dict[str, Any]


class MenuReader:
    """Reads one tenant's menus; what they name is in ``mentions``, what they play in ``sounds``.

    ``authorizations`` are what web services are to know them by, as in `Tenant`.
    """

    def __init__(self, language: str, hours: Values, inputs: Inputs, report: Report) -> None:
        self.mentions = Mentions()
        self.sounds: dict[str, bytes] = {}
        self.authorizations: dict[str, Secret] = {}
        self._language = language
        self._hours = tuple(hours)
        self._inputs = inputs
        self._report = report
        self._spoken = {language}
        self._prompts: list[tuple[Path, frozenset[str]]] = []
        self._named: dict[str, tuple[str, Sound]] = {}
        self._menu = ""

    def read(self, raw: Values, path: Path) -> dict[str, Menu]:
        """The menus by name. Parts with a fault have been reported, or are now, and left out."""
        found: dict[str, Menu] = {}
        for name, value in raw.items():
            self._menu = name
            found[name] = self._one(name, value, (*path, name))
        for where, languages in self._prompts:
            if lacking := sorted(self._spoken - languages):
                needed = listing([f'"{each}"' for each in lacking], "and")
                self._report.add(where, f"has neither text nor file for {needed}")
        return found

    def _one(self, name: str, raw: Values, path: Path) -> Menu:
        timeout: Values = raw.get("timeout", {})
        before: Steps = ()
        if raw.get("when"):
            when = attempt(lambda: self._when(raw["when"], (*path, "when"), silent=True))
            before = () if when is None else (when,)
        before += self._steps(raw.get("before"), (*path, "before"), silent=True)
        at: Path = (*path, "timeout")
        return Menu(
            name=name,
            prompt=self._prompt(raw, "prompt", path),
            before=before,
            keys={
                keys: self._steps(steps, (*path, "keys", keys), silent=False)
                for keys, steps in raw.get("keys", {}).items()
            },
            extensions=raw.get("extensions", False),
            after=seconds(timeout.get("after", "6s")),
            between=seconds(timeout.get("between", "3s")),
            retries=timeout.get("retries", 2),
            quiet=self._prompt(timeout, "prompt", at),
            wrong=self._prompt(timeout, "wrong", at),
            otherwise=self._steps(timeout.get("then"), (*at, "then"), silent=True),
            direct=raw.get("extension", ""),
            ring=seconds(raw.get("ring", "25s")),
        )

    def _steps(self, raw: Any, path: Path, *, silent: bool) -> Steps:
        """The steps of an action or of a list of them."""
        if not raw:
            return ()
        found: list[AnyStep] = []
        listed: list[tuple[Path, Values]] = [(path, cast("Values", raw))]
        if isinstance(raw, list):
            listed = [((*path, n), each) for n, each in items(raw)]
        ended = False
        for at, each in listed:
            step = attempt(lambda each=each, at=at, silent=silent: self._step(each, at, silent))
            if step is None:
                continue
            if ended:
                self._report.add(at, "is never reached: the action before it goes elsewhere")
                ended = False
            found.append(step)
            left = isinstance(step, Transfer) and step.to.kind == "voicemail"
            ended = isinstance(step, ENDS) or left
            # Who has given digits is there: what follows does not come by itself.
            silent = silent and not isinstance(step, Collect)
        return tuple(found)

    def _step(self, raw: Values, path: Path, silent: bool) -> AnyStep:
        for kind, value in raw.items():
            at: Path = (*path, kind)
            if kind == "menu":
                self._mention("menu", value, at, silent=silent)
                return Enter(menu=value)
            if kind in DESTINATIONS:
                self._mention(kind, value, at, silent=silent)
                return Transfer(to=Destination(kind=cast("Any", kind), target=value))
            if kind in ("dial_extension", "dial_name"):
                step = DialExtension if kind == "dial_extension" else DialName
                prompt = self._prompt(value, "prompt", at)
                return step(prompt=prompt, retries=value.get("retries", 2))
            if kind in ("play", "hang_up"):
                prompt = self._prompt(raw, kind, path)
                return Play(prompt=prompt) if kind == "play" else HangUp(prompt=prompt)
            if kind == "language":
                self._spoken.add(value)
                return Speak(language=value)
            if kind == "set":
                values = {name: self._template(t, (*at, name)) for name, t in value.items()}
                self.mentions.defines.update(values)
                return Assign(variables=values)
            read = {
                "say": self._say,
                "collect": self._collect,
                "record": self._record,
                "request": self._request,
                "branch": self._branch,
                "when": self._when,
            }[kind]
            return read(value, at, silent=silent)
        raise Missing

    def _say(self, raw: Values, path: Path, *, silent: bool) -> Say:
        del silent
        currency = raw.get("currency", "")
        kinds = [kind for kind in raw if kind != "currency"]
        if len(kinds) != 1:
            self._report.add(path, "expected exactly one of number, digits, date, time and money")
            raise Missing
        if (kinds[0] == "money") != bool(currency):
            text = "needs its currency" if kinds[0] == "money" else "only money has a currency"
            self._report.add(path, text)
            raise Missing
        value = self._template(raw[kinds[0]], (*path, kinds[0]))
        return Say(kind=cast("Any", kinds[0]), value=value, currency=currency)

    def _collect(self, raw: Values, path: Path, *, silent: bool) -> Collect:
        least, most = raw.get("least", 1), raw.get("most", 20)
        if least > most:
            self._report.add(path, f"at least {least} digits and at most {most}: none can be given")
        self.mentions.defines.add(raw["into"])
        return Collect(
            prompt=self._prompt(raw, "prompt", path),
            into=raw["into"],
            least=least,
            most=most,
            end=raw.get("end", "#"),
            after=seconds(raw.get("after", "6s")),
            between=seconds(raw.get("between", "3s")),
            retries=raw.get("retries", 2),
            wrong=self._prompt(raw, "wrong", path),
            otherwise=self._steps(raw.get("otherwise"), (*path, "otherwise"), silent=silent),
        )

    def _record(self, raw: Values, path: Path, *, silent: bool) -> Record:
        box = raw.get("voicemail", "")
        if box:
            self._mention("voicemail", box, (*path, "voicemail"), silent=silent)
        most, silence = seconds(raw.get("most", "2m")), seconds(raw.get("silence", "4s"))
        if not 1 <= most <= LONGEST_RECORDING:
            self._report.add((*path, "most"), "expected a duration from 1s to 10m")
        if not 1 <= silence <= LONGEST_SILENCE:
            self._report.add((*path, "silence"), "expected a duration from 1s to 60s")
        return Record(
            prompt=self._prompt(raw, "prompt", path),
            most=most,
            silence=silence,
            end=raw.get("end", "#"),
            voicemail=box,
        )

    def _request(self, raw: Values, path: Path, *, silent: bool) -> Fetch:
        deadline = seconds(raw.get("deadline", "3s"))
        if not 1 <= deadline <= LONGEST_DEADLINE:
            text = f"expected from 1s to {LONGEST_DEADLINE}s: a caller is waiting"
            self._report.add((*path, "deadline"), text)
        take: dict[str, str] = raw.get("take", {})
        self.mentions.defines.update(take)
        send: Values = raw.get("send", {})
        return Fetch(
            url=raw["url"],
            authorization=self._authorization(raw, path),
            send={name: self._template(t, (*path, "send", name)) for name, t in send.items()},
            take=take,
            deadline=deadline,
            otherwise=self._steps(raw.get("otherwise"), (*path, "otherwise"), silent=silent),
        )

    def _authorization(self, raw: Values, path: Path) -> str:
        """What names the value of the header (RFC 7617, RFC 6750); "" where there is none."""
        username = raw.get("username", "")
        given = [name for name in ("username", "password", "token") if name in raw]
        if given not in ([], ["username", "password"], ["token"]):
            text = "give a username and a password, or a token alone"
            self._report.add((*path, given[-1]), text, key=True)
            return ""
        if not given:
            return ""
        secret = secrets.resolve(raw[given[-1]], (*path, given[-1]), self._inputs, self._report)
        value = f"Bearer {secret.value}"
        if username:
            value = "Basic " + b64encode(f"{username}:{secret.value}".encode()).decode()
        elif not secret.value.isascii() or " " in secret.value:
            self._report.add((*path, "token"), "expected a token of ASCII characters, no spaces")
        name = hashlib.sha256(f"{username} {raw['url']}".encode()).hexdigest()[:16]
        if self.authorizations.setdefault(name, Secret(value)).value != value:
            text = "another request to the same url has another one"
            self._report.add((*path, given[-1]), text, key=True)
        return name

    def _branch(self, raw: Values, path: Path, *, silent: bool) -> Branch:
        return Branch(
            by=self._template(raw["by"], (*path, "by")),
            cases={
                value: self._steps(steps, (*path, "is", value), silent=silent)
                for value, steps in raw["is"].items()
            },
            otherwise=self._steps(raw.get("otherwise"), (*path, "otherwise"), silent=silent),
        )

    def _when(self, raw: Values, path: Path, *, silent: bool) -> When:
        hours = raw.get("hours", "")
        if hours:
            self._mention("hours", hours, (*path, "hours"), silent=silent)
        elif len(self._hours) == 1:
            hours = self._hours[0]
        else:
            known = listing(self._hours, "and")
            text = f"which of {known}? add hours" if known else "the tenant has no hours; add some"
            self._report.add(path, text)
        found = {
            state: self._steps(raw.get(state), (*path, state), silent=silent)
            for state in ("open", "closed", "holiday")
        }
        if not any(found.values()):
            self._report.add(path, "expected open, closed or holiday, and what is done then")
        return When(hours=hours, **found)

    def _prompt(self, raw: Values, name: str, path: Path) -> Prompt:
        value = raw.get(name, {})
        at: Path = (*path, name)
        if not value:
            return {}
        if isinstance(value, str):
            value = {self._language: value}
        self._prompts.append((at, frozenset(cast("Values", value))))
        found: Prompt = {}
        for language, sound in cast("Values", value).items():
            read = attempt(lambda s=sound, w=(*at, language): self._sound(s, w))
            if read is not None:
                found[language] = read
                self._name(language, read, (*at, language))
        return found

    def _sound(self, raw: Any, path: Path) -> Sound:
        if isinstance(raw, str):
            return Sound(text=raw)
        text, file, name = (raw.get(each) or "" for each in ("text", "file", "name"))
        if bool(text) == bool(file):
            self._report.add(path, "expected exactly one of text and file")
            raise Missing
        if text:
            return Sound(text=text, name=name)
        digest = self._file(file, (*path, "file"))
        if not digest:
            raise Missing
        return Sound(digest=digest, name=name)

    def _name(self, language: str, sound: Sound, path: Path) -> None:
        if not sound.name:
            return
        self._mention("prompt", sound.name, (*path, "name"), silent=False)
        before = self._named.setdefault(sound.name, (language, sound))
        if before != (language, sound):
            text = f'another prompt is named "{sound.name}" already, with another language or sound'
            self._report.add((*path, "name"), text)

    def _file(self, name: str, path: Path) -> str:
        data = read_file(name, MAX_SOUND, path, self._inputs, self._report)
        if data is None:
            return ""
        if not is_sound(data):
            self._report.add(path, f"{printable(name)} is no WAV, Ogg, FLAC or MP3 file")
            return ""
        digest = hashlib.sha256(data).hexdigest()
        self.sounds[digest] = data
        return digest

    def _template(self, text: str, path: Path) -> str:
        for name in variables_in(text):
            self._mention("variable", name, path, silent=False)
        return text

    def _mention(self, kind: str, name: str, path: Path, *, silent: bool) -> None:
        found = Mention(menu=self._menu, kind=kind, name=name, path=path, silent=silent)
        self.mentions.names.append(found)


def is_sound(data: bytes) -> bool:
    """Whether a file begins as one with sound does."""
    wave = data[:4] == b"RIFF" and data[8:12] == b"WAVE"
    return wave or data.startswith(_BEGINNINGS)
