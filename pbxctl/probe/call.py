"""A phone's calls, and the files it plays and records in them; in the phone's own process."""

from __future__ import annotations

import contextlib
import time
from typing import Protocol

from pbxctl.probe import pjsip, protocol

STATES: dict[int, protocol.CallState] = {
    pjsip.PJSIP_INV_STATE_CALLING: "calling",
    pjsip.PJSIP_INV_STATE_INCOMING: "incoming",
    pjsip.PJSIP_INV_STATE_EARLY: "early",
    pjsip.PJSIP_INV_STATE_CONNECTING: "connecting",
    pjsip.PJSIP_INV_STATE_CONFIRMED: "confirmed",
    pjsip.PJSIP_INV_STATE_DISCONNECTED: "disconnected",
}


class Owner(Protocol):
    """What a call needs of its phone."""

    def tell(self, message: protocol.Line) -> None:
        """Send an event or reply."""
        ...

    def new_call(self, account: pjsip.Account, call_id: int = -1) -> Call:
        """A call with the next number; ``call_id`` is PJSIP's, -1 for one it has yet to make."""
        ...

    def release(self, call: Call) -> None:
        """Close the files of a call that has ended, unless another goes on with them."""
        ...

    def forget(self, call: Call) -> None:
        """Let go of a call that has ended, when PJSIP has done with it."""
        ...


class Sound:
    """The files that a phone plays and records, for a call and for those that replace it."""

    def __init__(self, silence: pjsip.AudioMedia, send: str, record: str) -> None:
        self.player: pjsip.AudioMediaPlayer | None = None
        self.recorder: pjsip.AudioMediaRecorder | None = None
        self.playing: float | None = None
        self.recording: float | None = None
        self.record = record
        if send:
            self.player = pjsip.AudioMediaPlayer()
            self.player.createPlayer(send)
        if record:
            self.recorder = pjsip.AudioMediaRecorder()
            self.recorder.createRecorder(record)
            # A recorder that nothing feeds writes nothing: silence keeps the file on the clock.
            silence.startTransmit(self.recorder)
            self.recording = time.monotonic()

    def connect(self, far: pjsip.AudioMedia) -> None:
        if self.player:
            self.player.startTransmit(far)
            self.playing = self.playing or time.monotonic()
        if self.recorder:
            far.startTransmit(self.recorder)

    def close(self) -> None:
        """Give up player and recorder; PJSIP closes the files in its next 20 ms."""
        self.player = self.recorder = None


class Call(pjsip.Call):
    """One call; PJSIP calls the methods that begin with ``on``."""

    def __init__(
        self, phone: Owner, account: pjsip.Account, number: int, call_id: int = -1
    ) -> None:
        super().__init__(account, call_id)
        self.phone = phone
        self.account = account
        self.number = number
        self.sound: Sound | None = None
        self.statistics: protocol.Stream | None = None

    def stream(self) -> protocol.Stream:
        """What RTP and RTCP say of the call now; the last that they said, if it has ended."""
        now = time.monotonic()
        info = self.getInfo()  # held: what it contains is freed with it
        for media in info.media:
            if media.type != pjsip.PJMEDIA_TYPE_AUDIO or not media.status:
                continue
            with contextlib.suppress(pjsip.Error):  # the stream may be gone by now
                codec, rtcp = self.getStreamInfo(media.index), self.getStreamStat(media.index).rtcp
                return protocol.Stream(
                    call=self.number,
                    time=now,
                    codec=codec.codecName,
                    rate=codec.codecClockRate,
                    encrypted=bool(codec.proto & pjsip.PJMEDIA_TP_PROFILE_SRTP),
                    sent=rtcp.txStat.pkt,
                    received=rtcp.rxStat.pkt,
                    lost=rtcp.rxStat.loss,
                    jitter=rtcp.rxStat.jitterUsec.mean / 1e6,
                    far_lost=rtcp.txStat.loss,
                    far_jitter=rtcp.txStat.jitterUsec.mean / 1e6,
                    round_trip=rtcp.rttUsec.mean / 1e6,
                )
        return self.statistics or protocol.Stream(call=self.number, time=now)

    def refresh_media(self) -> None:
        """Connect what PJSIP has just made anew, and tell."""
        state = "none"
        info = self.getInfo()  # held: what it contains is freed with it
        for media in info.media:
            if media.type != pjsip.PJMEDIA_TYPE_AUDIO:
                continue
            # Held by a far end that speaks all the same: music on hold, an announcement.
            if self.sound and media.dir & pjsip.PJMEDIA_DIR_DECODING:
                self.sound.connect(self.getAudioMedia(media.index))
            if media.status == pjsip.PJSUA_CALL_MEDIA_ACTIVE:
                state = "active"
            elif media.status == pjsip.PJSUA_CALL_MEDIA_LOCAL_HOLD:
                state = "held"
            elif media.status == pjsip.PJSUA_CALL_MEDIA_REMOTE_HOLD:
                state = "held-by-far-end"
        self.phone.tell(
            protocol.Media(
                call=self.number,
                time=time.monotonic(),
                state=state,
                recording=self.sound.recording if self.sound else None,
                playing=self.sound.playing if self.sound else None,
            )
        )

    def replaced_by(self, call_id: int) -> Call:
        call = self.phone.new_call(self.account, call_id)
        call.sound = self.sound
        self.phone.tell(protocol.Replaced(call=self.number, time=time.monotonic(), by=call.number))
        return call

    def onCallState(self, prm: pjsip.OnCallStateParam) -> None:
        info = self.getInfo()
        ended = info.state == pjsip.PJSIP_INV_STATE_DISCONNECTED
        if ended:
            self.phone.tell(self.stream())
            self.phone.release(self)
        self.phone.tell(
            protocol.Changed(
                call=self.number,
                time=time.monotonic(),
                state=STATES[info.state],
                code=info.lastStatusCode,
                text=info.lastReason,
                call_id=info.callIdString,
                far=info.remoteUri,
            )
        )
        if ended:
            self.phone.forget(self)

    def onCallMediaState(self, prm: pjsip.OnCallMediaStateParam) -> None:
        self.statistics = self.stream()
        self.refresh_media()

    def onDtmfDigit(self, prm: pjsip.OnDtmfDigitParam) -> None:
        self.phone.tell(protocol.Digit(call=self.number, time=time.monotonic(), digit=prm.digit))

    def onCallTransferRequest(self, prm: pjsip.OnCallTransferRequestParam) -> None:
        prm.newCall = self.replaced_by(-1)

    def onCallTransferStatus(self, prm: pjsip.OnCallTransferStatusParam) -> None:
        self.phone.tell(
            protocol.Transferred(
                call=self.number,
                time=time.monotonic(),
                code=prm.statusCode,
                text=prm.reason,
                final=bool(prm.finalNotify),
            )
        )

    def onCallReplaced(self, prm: pjsip.OnCallReplacedParam) -> None:
        prm.newCall = self.replaced_by(prm.newCallId)
