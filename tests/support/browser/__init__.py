"""A real browser as a phone: headless Chromium, WebRTC, SIP over a secure WebSocket.

Playwright's synchronous interface has to stay on one thread: it gets one of its own.
"""

from __future__ import annotations

import base64
import shlex
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import trio
from playwright.sync_api import Page, sync_playwright

from pbxctl.probe import audio
from pbxctl.probe.audio import Heard

T = TypeVar("T")

CHROMIUM = "/usr/bin/chromium"
WITHIN = 30.0
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    # The tests' network is loopback, which Chromium leaves out, and hides behind mDNS names.
    "--allow-loopback-in-peer-connection",
    # A page of an unknown address may else not call one of loopback, nor trust its certificate.
    "--disable-features=WebRtcHideLocalIpsWithMdns,LocalNetworkAccessChecks",
    "--ignore-certificate-errors",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


class Browser:
    """One page with one phone."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self.page: Page | None = None
        self._thread = thread

    async def on_thread(self, work: Callable[[], T]) -> T:
        """Run ``work`` where Playwright lives; not to be cancelled, but with time-outs."""
        return await trio.to_thread.run_sync(lambda: self._thread.submit(work).result())

    async def run(self, script: str, argument: Any = None) -> Any:
        """The value of a JavaScript function called with ``argument``."""

        def evaluate() -> Any:
            assert self.page is not None
            return self.page.evaluate(script, argument)

        with trio.move_on_after(WITHIN):
            return await self.on_thread(evaluate)
        raise AssertionError(await self.describe(f"{WITHIN:g} s were too short for {script}"))

    async def register(self, url: str, username: str, domain: str, password: str) -> int:
        """The status of the final answer. ``url`` as ``wss://host:8443``."""
        options = {"url": url, "username": username, "domain": domain, "password": password}
        return await self.run("start", options)

    async def dial(self, extension: str) -> int:
        """The status of the final answer."""
        return await self.run("dial", extension)

    async def accept(self) -> None:
        """Take the call that comes in."""
        await self.until("invite")
        await self.run("accept")

    async def change(self) -> int:
        """The status of the answer to a re-INVITE with an offer."""
        return await self.run("change")

    async def hang_up(self) -> int:
        """The status of BYE's answer."""
        return await self.run("hangUp")

    async def events(self) -> list[dict[str, Any]]:
        return await self.run("() => state.events")

    async def until(self, name: str, detail: str = "", *, count: int = 1) -> None:
        """Until the page has seen an event, so many times."""
        with trio.move_on_after(WITHIN):
            while True:
                seen = [
                    event
                    for event in await self.events()
                    if event["name"] == name and detail in event["detail"]
                ]
                if len(seen) >= count:
                    return
                await trio.sleep(0.05)
        raise AssertionError(await self.describe(f"no {name} {detail}"))

    async def hears(self, voice: int, *, seconds: float = 2.0, settle: float = 0.5) -> Heard:
        """How ``voice`` was heard in the next ``seconds``, from after ``settle`` on."""
        await trio.sleep(settle + seconds)
        found = await self.run("heard", seconds)
        samples = np.frombuffer(base64.b64decode(found["samples"]), "<f4").astype(np.float32)
        if not found["rate"]:
            raise AssertionError(await self.describe("no audio track came"))
        return audio.judge(samples, int(found["rate"]), voice, start=0.02)

    async def describe(self, problem: str) -> str:
        """A problem, what the page saw, and the SIP it spoke."""

        def look() -> tuple[Any, Any]:
            assert self.page is not None
            return self.page.evaluate("() => state.events"), self.page.evaluate(
                "() => state.client ? state.client.log : []"
            )

        events, messages = await self.on_thread(look)
        lines = [f"browser: {problem}", *(f"  {event}" for event in events), *messages[-12:]]
        return "\n".join(lines)


@asynccontextmanager
async def browser(*, voice: int = 0, inside: Sequence[str] = ()) -> AsyncGenerator[Browser]:
    """A browser whose microphone says ``voice``; it trusts any certificate.

    ``inside`` is the beginning of a command that runs it somewhere else, as on a lab's host.
    """
    files = Path(__file__).parent
    with (
        tempfile.TemporaryDirectory(prefix="browser-") as directory,
        ThreadPoolExecutor(max_workers=1) as thread,
    ):
        speech = Path(directory) / "speech.wav"
        audio.write_wav(speech, audio.speak(voice, 48000), 48000)
        chromium = Path(directory) / "chromium"
        chromium.write_text(f'#!/bin/sh\nexec {shlex.join([*inside, CHROMIUM])} "$@"\n')
        chromium.chmod(0o755)
        made = Browser(thread)
        started: list[Callable[[], None]] = []

        def start() -> None:
            playwright = sync_playwright().start()
            started.append(playwright.stop)
            launched = playwright.chromium.launch(
                executable_path=chromium,
                args=[*FLAGS, f"--use-file-for-fake-audio-capture={speech}"],
                timeout=30_000,
            )
            started.append(launched.close)
            context = launched.new_context(ignore_https_errors=True)
            context.set_default_timeout(WITHIN * 1000)
            # A page with a secure origin, from memory: crypto and microphone need one.
            context.route(
                "https://phone.test/**",
                lambda route: route.fulfill(
                    path=files / (route.request.url.rpartition("/")[2] or "phone.html")
                ),
            )
            made.page = context.new_page()
            made.page.goto("https://phone.test/phone.html")

        def stop() -> None:
            for end in reversed(started):
                end()

        try:
            await made.on_thread(start)
            yield made
        finally:
            with trio.CancelScope(shield=True):
                await made.on_thread(stop)
