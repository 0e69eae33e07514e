"""User agents that answer every call, for bench/sip.py: `python -m bench.answering KIND ADDRESS`.

Both answer with a G.711 session description. PJSIP opens RTP sockets for it, which our user agent
leaves to the audio plane.
"""

from __future__ import annotations

import gc
import sys

PORT = 5060


def ours(address: str) -> None:
    """`services.core.sip`, a task for each call."""
    import trio

    from services.core.sip import Invitation, UserAgent, sdp

    async def answer(invitation: Invitation) -> None:
        assert invitation.offer is not None
        text, _ = sdp.answer(invitation.offer, address, 40000)
        async with invitation.accept(text):
            await trio.sleep_forever()

    async def main() -> None:
        async with UserAgent(address, PORT) as agent:
            print("ready", flush=True)
            await agent.serve(answer)

    gc.freeze()
    trio.run(main)


def pjsua2(address: str) -> None:
    """PJSIP by its Python binding, one thread, no sound device."""
    from pbxctl.probe import pjsip

    calls: dict[int, pjsip.Call] = {}
    over: list[int] = []

    class Call(pjsip.Call):
        def onCallState(self, prm: pjsip.OnCallStateParam) -> None:  # noqa: ARG002, N802
            if self.getInfo().state == pjsip.PJSIP_INV_STATE_DISCONNECTED:
                over.append(self.getId())

    class Account(pjsip.Account):
        def onIncomingCall(self, prm: pjsip.OnIncomingCallParam) -> None:  # noqa: N802
            call = calls[prm.callId] = Call(self, prm.callId)
            options = pjsip.CallOpParam(True)
            options.statusCode = 200
            call.answer(options)

    endpoint = pjsip.Endpoint()
    endpoint.libCreate()
    config = pjsip.EpConfig()
    config.logConfig.level = config.logConfig.consoleLevel = 0
    config.uaConfig.threadCnt = 0
    config.uaConfig.mainThreadOnly = True
    config.uaConfig.maxCalls = 32
    endpoint.libInit(config)
    transport = pjsip.TransportConfig()
    transport.boundAddress, transport.port = address, PORT
    endpoint.transportCreate(pjsip.PJSIP_TRANSPORT_UDP, transport)
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    account_config = pjsip.AccountConfig()
    account_config.idUri = f"sip:menu@{address}"
    account_config.mediaConfig.transportConfig.boundAddress = address
    account = Account()
    account.create(account_config)
    print("ready", flush=True)
    gc.disable()  # PJSIP's objects may only go where PJSIP runs
    while True:
        endpoint.libHandleEvents(10)
        while over:
            calls.pop(over.pop(), None)


if __name__ == "__main__":
    {"ours": ours, "pjsua2": pjsua2}[sys.argv[1]](sys.argv[2])
