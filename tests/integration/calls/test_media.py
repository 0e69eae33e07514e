"""Media servers: choice by load, loss of one or all, and the kinds of media that are joined."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable

import pytest

from services.core.events import Started
from tests.integration.calls.lab import Lab
from tests.integration.calls.party import Call, Message, Party, connect, sdp
from tests.integration.calls.test_forwards import answered_by
from tests.support.hanging import hung, stop

Make = Callable[..., Party]
Carrier = Callable[[str], Party]

KEY = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n"
BROWSER = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 111 8\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n"
    "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 "
    + ":".join(["AB"] * 32)
    + "\r\na=setup:{setup}\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\n"
    "a=rtpmap:111 opus/48000/2\r\na=rtpmap:8 PCMA/8000\r\n"
    "a=candidate:1 1 udp 2113937151 127.0.0.1 50000 typ host\r\n"
)


def srtp(address: str, formats: str = "8") -> str:
    return sdp(address, formats=formats, extra=KEY).replace("RTP/AVP", "RTP/SAVP")


def end(caller: Call, callee: Party) -> None:
    caller.say("BYE")
    callee.reply(callee.expect("BYE"), 200)
    caller.party.expect_reply("BYE", 200)


def waited_for(lab: Lab) -> int:
    """How often a worker has asked a media server that gave no answer."""
    return sum("send_rtpp_command()" in line for line in lab.manager.log().splitlines())


def server_of(call: Call) -> str:
    return "media1" if ".21\r\n" in call.invite.body else "media2"


def test_calls_are_shared_by_load(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    calls = [connect(alice, bob) for _ in range(4)]
    names = [server_of(into) for _, into in calls]
    assert names.count("media1") == names.count("media2") == 2
    counters = lab.counters()
    assert (counters["m:media1"], counters["m:media2"]) == (2, 2)
    for out, _ in calls:
        end(out, bob)
    lab.idle()


@pytest.mark.parametrize("state", ["draining", "disabled", "down"])
def test_a_server_that_is_not_up_gets_no_new_calls(lab: Lab, party: Make, state: str) -> None:
    alice, bob = party("2001"), party("2002")
    old, _ = connect(alice, bob)
    first = "media1" if lab.counters().get("m:media1") else "media2"
    if first == "media1":
        lab.media(media1=state)
    else:
        lab.media(media2=state)
    new = [connect(alice, bob) for _ in range(2)]
    assert first not in [server_of(into) for _, into in new]
    # What it has it keeps.
    old.say("INVITE", sdp(alice.address, 40000, version=2))
    bob.reply(bob.expect("INVITE"), 200, sdp(bob.address, 42000))
    alice.expect_reply("INVITE", 200)
    old.ack()
    bob.expect("ACK")
    for out in (old, *(out for out, _ in new)):
        end(out, bob)
    lab.idle()


@pytest.mark.parametrize("how", ["killed", "hung"])
def test_a_server_that_is_lost_costs_one_call_a_moment(lab: Lab, party: Make, how: str) -> None:
    alice, bob = party("2001"), party("2002")
    if how == "killed":
        lab.kill_media("media1")
    else:
        stop(lab.engine("media1").pid)
    try:
        for attempt in range(4):
            asked = waited_for(lab)
            out, into = connect(alice, bob)
            # It is known to be out, whichever worker carries the call.
            assert attempt < 2 or waited_for(lab) == asked > 0
            assert server_of(into) == "media2"
            end(out, bob)
    finally:
        if how == "hung":
            lab.engine("media1").send_signal(signal.SIGCONT)
    started = [event for event in lab.events(12) if isinstance(event, Started)]
    assert {event.media for event in started} == {"media2"}
    lab.idle()


def test_with_no_server_left_calls_are_refused_at_once(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    lab.kill_media("media1")
    lab.kill_media("media2")
    alice.call("2002").expect(503)
    asked = waited_for(lab)
    assert asked
    alice.call("2002").expect(503)
    assert waited_for(lab) == asked
    bob.silent("INVITE", 0.1)
    assert bob.authenticated("REGISTER", "sip:sales.example", bob.aor).code == 200
    lab.idle()


def test_an_answer_waits_for_a_server_that_hangs(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    out = alice.call("2002")
    into = bob.invited()
    with hung(lab.engine(server_of(into)).pid):
        into.reply(183, sdp(bob.address, 42000))
        early = out.expect(183)
        # Never bob's own address: his media would go past the media server.
        assert early.body == ""
        assert not early.get("Content-Type")
        into.reply(200, sdp(bob.address, 42000))
        alice.silent("INVITE", 0.3)
        assert not [message for message in alice.heard if message.code == 200]
    lab.manager.rpc("htable.flush", "media_out")
    # As every phone does until it hears the ACK.
    answer = repeated(lambda: into.reply(200, sdp(bob.address, 42000)), out, 200)
    assert f"{lab.network}.2" in answer.body
    assert bob.address not in answer.body
    out.ack()
    bob.expect("ACK")
    end(out, bob)
    lab.idle()


def repeated(say: Callable[[], None], call: Call, code: int) -> Message:
    """The reply that a call hears once the other side has said it often enough."""
    for _ in range(20):
        say()
        try:
            return call.expect(code, 0.5)
        except AssertionError:
            continue
    raise AssertionError(f"no {code}")


def test_no_address_of_a_phone_leaks_when_a_server_dies(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    lab.media(media2="down")
    out = alice.call("2002")
    into = bob.invited()
    lab.kill_media("media1")
    into.reply(200, sdp(bob.address, 42000))
    answer = out.expect(200)
    assert bob.address not in answer.body
    assert "m=audio 0 RTP/AVP 8 0" in answer.body
    out.ack()
    bob.expect("ACK")
    end(out, bob)
    lab.idle()


def test_a_late_answer_waits_for_its_server(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    lab.media(media2="down")
    out = alice.call("2002", body="")
    into = bob.invited()
    into.reply(200, sdp(bob.address, 42000))
    assert ".21\r\n" in out.expect(200).body
    with hung(lab.engine("media1").pid):
        out.ack(sdp(alice.address, 40000))
        bob.silent("ACK", 1.5)
    lab.manager.rpc("htable.flush", "media_out")
    out.ack(sdp(alice.address, 40000))
    assert ".21\r\n" in bob.expect("ACK").body
    end(out, bob)
    lab.idle()


def test_sdp_that_nobody_can_read_harms_no_server(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    for body in ("v=0\r\nm=", "m=audio x y z\r\n", "v=0\r\n" * 500 + "m=audio 1 RTP/AVP 0\r\n"):
        out = alice.call("2002", body=body)
        reply = alice.wait(lambda m: m.code >= 300, "a refusal")
        assert reply.code in (400, 488, 503), reply.text
        alice.acknowledge(out.invite, reply)
    assert not lab.manager.rpc("htable.dump", "media_out")
    answered_by(alice.call("2002"), bob)
    lab.idle()


def test_a_mixture_of_phones_rings_each_in_its_own_way(lab: Lab, party: Make) -> None:
    alice = party("2001")
    desk, secure, browser = party("2002"), party("2002", over="tls"), party("2002", over="wss")
    out = alice.call("2002")
    plain, sdes, web = desk.invited(), secure.invited(), browser.invited()
    assert "RTP/AVP" in plain.invite.body
    assert "crypto" not in plain.invite.body
    assert "fingerprint" not in plain.invite.body
    assert "RTP/SAVP " in sdes.invite.body
    assert "a=crypto:" in sdes.invite.body
    assert "UDP/TLS/RTP/SAVPF" in web.invite.body
    for line in ("a=fingerprint:", "a=ice-ufrag:", "a=rtcp-mux", "a=candidate:"):
        assert line in web.invite.body
    for call in (plain, sdes):
        # Only a branch that has spoken can be cancelled (RFC 3261 section 9.1).
        call.reply(180)
        out.expect(180)
    web.reply(200, BROWSER.format(setup="active").replace("111 8", "8"))
    answer = out.expect(200)
    assert "RTP/AVP" in answer.body
    assert "fingerprint" not in answer.body
    assert "ice-" not in answer.body
    out.ack()
    browser.expect("ACK")
    for phone, call in ((desk, plain), (secure, sdes)):
        phone.reply(phone.expect("CANCEL"), 200)
        call.reply(487)
    end(out, browser)
    lab.idle()


def test_a_browser_calls_a_desk_phone(lab: Lab, party: Make) -> None:
    web, desk = party("2001", over="wss"), party("2002")
    out = web.call("2002", body=BROWSER.format(setup="actpass"))
    into = desk.invited()
    assert "RTP/AVP" in into.invite.body
    assert "ice-" not in into.invite.body
    # It offered G.711, so nothing is transcoded.
    assert "PCMU" not in into.invite.body
    into.reply(200, sdp(desk.address, 42000, "8"))
    answer = out.expect(200)
    assert "UDP/TLS/RTP/SAVPF" in answer.body
    for line in ("a=fingerprint:", "a=ice-ufrag:", "a=rtcp-mux"):
        assert line in answer.body
    out.ack()
    desk.expect("ACK")
    # A later change goes in the kinds that the call began with.
    into.say("INVITE", sdp(desk.address, 42000, "8", "a=sendonly\r\n", version=2))
    held = web.expect("INVITE")
    assert "UDP/TLS/RTP/SAVPF" in held.body
    assert "a=ice-ufrag:" in held.body
    web.reply(held, 200, BROWSER.format(setup="active"))
    assert "RTP/AVP" in desk.expect_reply("INVITE", 200).body
    into.party.send(into.request("ACK", same=True))
    web.expect("ACK")
    into.say("BYE")
    web.reply(web.expect("BYE"), 200)
    desk.expect_reply("BYE", 200)
    lab.idle()


def test_srtp_with_sdes_to_a_plain_phone(lab: Lab, party: Make) -> None:
    secure, desk = party("2001", over="tls"), party("2002")
    out = secure.call("2002", body=srtp(secure.address))
    into = desk.invited()
    assert "crypto" not in into.invite.body
    into.reply(200, sdp(desk.address, 42000, "8"))
    answer = out.expect(200)
    assert "RTP/SAVP" in answer.body
    assert "a=crypto:" in answer.body
    out.ack()
    desk.expect("ACK")
    end(out, desk)
    lab.idle()


def test_a_phone_on_tls_without_srtp_is_asked_again(lab: Lab, party: Make) -> None:
    alice, plain = party("2001"), party("2002", over="tls")
    out = alice.call("2002")
    into = plain.invited()
    assert "RTP/SAVP" in into.invite.body
    suites = re.findall(r"a=crypto:\d+ (\S+)", into.invite.body)
    assert "AES_CM_128_HMAC_SHA1_80" in suites
    assert not [suite for suite in suites if suite.startswith(("NULL", "F8"))]
    into.reply(488)
    plain.expect("ACK")
    again = plain.invited()
    assert "RTP/AVP" in again.invite.body
    again.reply(200, sdp(plain.address, 42000))
    out.expect(200)
    out.ack()
    plain.expect("ACK")
    end(out, plain)
    lab.idle()


def test_no_codec_in_common_is_transcoded_and_only_then(lab: Lab, party: Make) -> None:
    alice, bob = party("2001"), party("2002")
    out = alice.call("2002", body=sdp(alice.address, formats="8"))
    into = bob.invited()
    assert "opus" not in into.invite.body
    assert "PCMU" not in into.invite.body
    into.reply(488)
    bob.expect("ACK")
    # Its own refusal may not have left it yet.
    bob.invited().reply(482)
    bob.expect("ACK")
    again = bob.invited()
    assert "opus/48000/2" in again.invite.body
    body = again.invite.body
    number = next(line for line in body.split("\r\n") if "opus/48000/2" in line)[9:].split()[0]
    opus = sdp(bob.address, 42000, "96").replace("96", number)
    again.reply(200, opus)
    assert "PCMA" in out.expect(200).body
    out.ack()
    bob.expect("ACK")
    end(out, bob)
    # Opus alone gets G.711 beside it.
    out = alice.call("2002", body=sdp(alice.address, formats="96"))
    into = bob.invited()
    assert "PCMA/8000" in into.invite.body
    into.reply(486)
    out.expect(486)
    lab.idle()


def test_nothing_is_left_at_the_media_servers(lab: Lab, party: Make) -> None:
    before = {name: set(lab.calls_at(name)) for name in ("media1", "media2")}
    alice, bob = party("2001"), party("2002")
    out = alice.call("2002")
    bob.invited().reply(486)
    out.expect(486)
    out, _ = connect(alice, bob)
    end(out, bob)
    lab.idle()
    lab.wait(lambda: all(set(lab.calls_at(n)) <= b for n, b in before.items()), "no calls there")


def test_recording_by_rule(lab: Lab, party: Make) -> None:
    lab.change_user("2002", record=True)
    alice, bob, carol = party("2001"), party("2002"), party("2003")
    out, _ = connect(alice, bob)
    end(out, bob)
    about = "tenant=sales&caller=2001&callee=2002&tag="
    lab.wait(lambda: about in lab.recording_notes(), "a recording")
    before = lab.recording_notes()
    out, _ = connect(alice, carol)
    end(out, carol)
    assert lab.recording_notes() == before
    lab.idle()
