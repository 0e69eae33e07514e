"""A soft phone in a process of its own: commands on standard input, events on standard output.

PJSIP wants one thread for all that touches Python, and a crash of it must not be a crash of who
uses it: so it lives here, and `pbxctl.probe.softphone` owns this process. Run as
``python -m pbxctl.probe.phone``; it ends with its standard input.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

from pbxctl.probe import audio, pjsip, protocol
from pbxctl.probe.call import Call, Sound

CLOCK = 16000
POLL = 10
"""Milliseconds for which PJSIP may keep the thread: the longest a command waits."""

TRANSPORTS: dict[protocol.Transport, int] = {
    "udp": pjsip.PJSIP_TRANSPORT_UDP,
    "tcp": pjsip.PJSIP_TRANSPORT_TCP,
    "tls": pjsip.PJSIP_TRANSPORT_TLS,
}
ENCRYPTION: dict[protocol.Encryption, int] = {
    "none": pjsip.PJMEDIA_SRTP_DISABLED,
    "optional": pjsip.PJMEDIA_SRTP_OPTIONAL,
    "mandatory": pjsip.PJMEDIA_SRTP_MANDATORY,
}


class Account(pjsip.Account):
    def __init__(self, phone: Phone) -> None:
        super().__init__()
        self.phone = phone

    def onRegState(self, prm: pjsip.OnRegStateParam) -> None:
        text = prm.reason
        if prm.status:
            text = f"{text} ({self.phone.endpoint.utilStrError(prm.status)})"
        self.phone.tell(
            protocol.Registered(
                time=time.monotonic(), code=prm.code, text=text, expires=prm.expiration
            )
        )

    def onIncomingCall(self, prm: pjsip.OnIncomingCallParam) -> None:
        call = self.phone.new_call(self, prm.callId)
        info = call.getInfo()
        head = prm.rdata.wholeMsg.partition("\r\n\r\n")[0]
        headers = (line.partition(":") for line in head.splitlines()[1:])
        self.phone.tell(
            protocol.Called(
                call=call.number,
                time=time.monotonic(),
                caller=info.remoteUri,
                to=info.localUri,
                headers={name.strip(): value.strip() for name, _, value in headers},
            )
        )

    def onInstantMessage(self, prm: pjsip.OnInstantMessageParam) -> None:
        self.phone.tell(protocol.Received(time=time.monotonic(), far=prm.fromUri, text=prm.msgBody))

    def onInstantMessageStatus(self, prm: pjsip.OnInstantMessageStatusParam) -> None:
        self.phone.tell(
            protocol.Received(time=time.monotonic(), far=prm.toUri, text=prm.reason, code=prm.code)
        )


class Endpoint(pjsip.Endpoint):
    def __init__(self, phone: Phone) -> None:
        super().__init__()
        self.phone = phone

    def onTransportState(self, prm: pjsip.OnTransportStateParam) -> None:
        up = prm.state == pjsip.PJSIP_TP_STATE_CONNECTED
        problem = self.utilStrError(prm.lastError) if prm.lastError else ""
        if prm.type.startswith("TLS"):
            problem = "; ".join([*prm.tlsInfo.verifyMsgs, *([problem] if problem else [])])
        self.phone.tell(protocol.Connection(time=time.monotonic(), up=up, problem=problem))


class Phone:
    """Carries commands out."""

    def __init__(self, output: int) -> None:
        self.output = output
        self.endpoint = Endpoint(self)
        self.account: Account | None = None
        self.calls: dict[int, Call] = {}
        self.ended: list[int] = []
        self.closing: list[str] = []
        self.peers: dict[str, pjsip.Buddy] = {}
        self.last = 0
        self.start: protocol.Start | None = None
        self.transport = -1

    def tell(self, message: protocol.Line) -> None:
        """Send an event or reply."""
        os.write(self.output, msgspec.json.encode(message) + b"\n")

    def new_call(self, account: pjsip.Account, call_id: int = -1) -> Call:
        """A call with the next number; ``call_id`` is PJSIP's, -1 for one it has yet to make."""
        self.last += 1
        self.calls[self.last] = Call(self, account, self.last, call_id)
        return self.calls[self.last]

    def forget(self, call: Call) -> None:
        """Let go of a call that has ended, when PJSIP has done with it."""
        self.ended.append(call.number)

    def release(self, call: Call) -> None:
        """Close the files of a call that has ended, unless another goes on with them."""
        sound, call.sound = call.sound, None
        if sound and all(other.sound is not sound for other in self.calls.values()):
            sound.close()
            if sound.record:
                self.closing.append(sound.record)

    def serve(self, commands: int) -> None:
        """Until the commands end or `Quit` comes."""
        pending = b""
        decoder = msgspec.json.Decoder(protocol.Request)
        while True:
            if self.start:
                self.endpoint.libHandleEvents(POLL)
            for number in self.ended:
                self.calls.pop(number, None)
            self.ended.clear()
            self._report_recordings()
            if not select.select([commands], [], [], 0 if self.start else None)[0]:
                continue
            received = os.read(commands, 65536)
            if not received:
                return
            *lines, pending = (pending + received).split(b"\n")
            for line in lines:
                request = decoder.decode(line)
                if isinstance(request.command, protocol.Quit):
                    return
                self.tell(self._carry_out(request))

    def _report_recordings(self) -> None:
        for path in tuple(self.closing):
            with contextlib.suppress(ValueError):  # PJSIP writes its header last
                audio.read_wav(Path(path))
                self.closing.remove(path)
                self.tell(protocol.Recorded(path=path, time=time.monotonic()))

    def close(self) -> None:
        self.calls.clear()
        self.peers.clear()
        self.account = None
        if self.start:
            self.endpoint.libDestroy()

    def _carry_out(self, request: protocol.Request) -> protocol.Reply:
        try:
            return self._do(request.id, request.command)
        except pjsip.Error as error:
            text = f"{error.title}: {error.reason}"
        except KeyError as error:
            text = f"there is no call {error}"
        return protocol.Refused(re=request.id, time=time.monotonic(), text=text)

    def _do(self, re: int, command: protocol.Command) -> protocol.Reply:
        number: int | None = None
        stream: protocol.Stream | None = None
        match command:
            case protocol.Start():
                self._start(command)
            case protocol.Register():
                self._register(command)
            case protocol.Unregister():
                self._registered().setRegistration(False)
            case protocol.Dial():
                number = self._dial(command)
            case protocol.Answer():
                call = self.calls[command.call]
                if not call.sound and 183 <= command.code < 300:
                    call.sound = self._sound(command.send, command.record)
                options = pjsip.CallOpParam(True)
                options.statusCode, options.reason = command.code, command.reason
                call.answer(options)
            case protocol.Hangup():
                self.calls[command.call].hangup(pjsip.CallOpParam())
            case protocol.Hold():
                self.calls[command.call].setHold(pjsip.CallOpParam(True))
            case protocol.Resume():
                options = pjsip.CallOpParam(True)
                options.opt.flag |= pjsip.PJSUA_CALL_UNHOLD
                self.calls[command.call].reinvite(options)
            case protocol.Transfer(call=call, other=None):
                self.calls[call].xfer(command.uri, pjsip.CallOpParam(True))
            case protocol.Transfer(call=call, other=int(other)):
                self.calls[call].xferReplaces(self.calls[other], pjsip.CallOpParam(True))
            case protocol.Dtmf():
                digits = pjsip.CallSendDtmfParam()
                digits.digits = command.digits
                digits.method = (
                    pjsip.PJSUA_DTMF_METHOD_SIP_INFO
                    if command.info
                    else pjsip.PJSUA_DTMF_METHOD_RFC2833
                )
                self.calls[command.call].sendDtmf(digits)
            case protocol.Statistics():
                stream = self.calls[command.call].stream()
            case protocol.Message():
                self._message(command)
            case _:
                pass
        return protocol.Done(re=re, time=time.monotonic(), call=number, stream=stream)

    def _registered(self) -> Account:
        if self.account is None:
            raise KeyError("before Register")
        return self.account

    def _start(self, start: protocol.Start) -> None:
        self.endpoint.libCreate()
        config = pjsip.EpConfig()
        config.logConfig.level = config.logConfig.consoleLevel = start.log_level
        config.logConfig.msgLogging = int(start.log_level >= 4)
        config.uaConfig.threadCnt = 0
        config.uaConfig.mainThreadOnly = True
        config.uaConfig.userAgent = "pbxctl-probe"
        config.medConfig.clockRate = config.medConfig.sndClockRate = CLOCK
        config.medConfig.noVad = True
        config.medConfig.ecTailLen = 0
        self.endpoint.libInit(config)
        transport = pjsip.TransportConfig()
        transport.boundAddress = start.address
        transport.tlsConfig.CaListFile = start.ca_file
        transport.tlsConfig.verifyServer = start.verify
        self.transport = self.endpoint.transportCreate(TRANSPORTS[start.transport], transport)
        self.endpoint.libStart()
        self.endpoint.audDevManager().setNullDev()
        codecs = self.endpoint.codecEnum2()
        for codec in codecs:
            place = [n for n, name in enumerate(start.codecs) if codec.codecId.startswith(name)]
            self.endpoint.codecSetPriority(codec.codecId, 200 - place[0] if place else 0)
        self.silence = pjsip.AudioMediaPlayer()
        # PJSIP keeps the file open: a phone that is killed leaves none.
        with tempfile.NamedTemporaryFile(prefix="silence-", suffix=".wav") as file:
            audio.write_wav(Path(file.name), np.zeros(CLOCK, np.float32), CLOCK)
            self.silence.createPlayer(file.name)
        self.start = start

    def _register(self, command: protocol.Register) -> None:
        assert self.start is not None  # noqa: S101  (Start is the first command)
        config = pjsip.AccountConfig()
        config.idUri = command.aor
        config.regConfig.registrarUri = command.server
        config.regConfig.timeoutSec = command.expires
        # Asked once: whoever gave the command decides whether to ask again.
        config.regConfig.retryIntervalSec = config.regConfig.firstRetryIntervalSec = 0
        config.sipConfig.authCreds.append(
            pjsip.AuthCredInfo("digest", command.realm, command.username, 0, command.password)
        )
        config.sipConfig.proxies.append(f"{command.server};lr")
        config.sipConfig.transportId = self.transport
        config.mediaConfig.transportConfig.boundAddress = self.start.address
        config.mediaConfig.srtpUse = ENCRYPTION[command.encryption]
        config.mediaConfig.srtpSecureSignaling = 0
        config.callConfig.prackUse = (
            pjsip.PJSUA_100REL_OPTIONAL if command.prack else pjsip.PJSUA_100REL_NOT_USED
        )
        config.callConfig.timerUse = (
            pjsip.PJSUA_SIP_TIMER_OPTIONAL
            if command.session_timers
            else pjsip.PJSUA_SIP_TIMER_INACTIVE
        )
        if self.account:
            self.account.shutdown()
        self.account = Account(self)
        self.account.create(config)

    def _dial(self, command: protocol.Dial) -> int:
        call = self.new_call(self._registered())
        call.sound = self._sound(command.send, command.record)
        options = pjsip.CallOpParam(True)
        if command.late_offer:
            options.opt.flag |= pjsip.PJSUA_CALL_NO_SDP_OFFER
        for name, value in command.headers.items():
            header = pjsip.SipHeader()
            header.hName, header.hValue = name, value
            options.txOption.headers.append(header)
        try:
            call.makeCall(command.uri, options)
        except pjsip.Error:
            del self.calls[call.number]
            raise
        return call.number

    def _sound(self, send: str, record: str) -> Sound | None:
        return Sound(self.silence, send, record) if send or record else None

    def _message(self, command: protocol.Message) -> None:
        peer = self.peers.get(command.to)
        if peer is None:
            config = pjsip.BuddyConfig()
            config.uri, config.subscribe = command.to, False
            peer = self.peers[command.to] = pjsip.Buddy()
            peer.create(self._registered(), config)
        text = pjsip.SendInstantMessageParam()
        text.content = command.text
        peer.sendInstantMessage(text)


def main() -> None:
    # PJSIP writes to standard output before it can be told not to: that becomes standard error.
    output = os.dup(1)
    os.dup2(2, 1)
    # PJSIP's objects may only be destroyed where PJSIP runs, and when their calls have ended.
    gc.disable()
    phone = Phone(output)
    try:
        phone.serve(sys.stdin.fileno())
    finally:
        phone.close()


if __name__ == "__main__":
    main()
