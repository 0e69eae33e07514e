// A browser as a phone: its own WebRTC, the microphone's samples out, the speaker's kept.
"use strict";

const state = { events: [], samples: [], rate: 0, client: null, peer: null, invite: null };
const happened = (name, detail = "") => state.events.push({ name, detail, time: Date.now() / 1000 });

// The microphone as it is: tones would be taken for noise or echo.
const MICROPHONE = {
  audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
};

async function start(options) {
  state.client = new SipClient(options);
  state.client.onInvite = (request) => { state.invite = request; happened("invite"); };
  state.client.onBye = () => { happened("ended", "by the far end"); state.peer?.close(); };
  state.client.onOffer = async (sdp) => {
    await state.peer.setRemoteDescription({ type: "offer", sdp });
    await state.peer.setLocalDescription(await state.peer.createAnswer());
    const answer = await gathered(state.peer);
    happened("changed", "by the far end");
    return answer;
  };
  // As SIP libraries do: an offer like any other, without a restart of ICE.
  state.client.onAsked = async () => {
    await state.peer.setLocalDescription(await state.peer.createOffer());
    return gathered(state.peer);
  };
  state.client.onAnswer = async (sdp) => {
    try {
      await state.peer.setRemoteDescription({ type: "answer", sdp });
      happened("changed", "as asked");
    } catch (error) {
      happened("refused", String(error));
    }
  };
  await state.client.connect();
  const status = await state.client.register();
  happened("registered", String(status));
  return status;
}

async function peer() {
  const connection = new RTCPeerConnection();
  state.peer = connection;
  connection.oniceconnectionstatechange = () => happened("ice", connection.iceConnectionState);
  connection.onconnectionstatechange = () => happened("connection", connection.connectionState);
  connection.ontrack = ({ track }) => listen(new MediaStream([track]));
  const microphone = await navigator.mediaDevices.getUserMedia(MICROPHONE);
  for (const track of microphone.getTracks()) connection.addTrack(track, microphone);
  return connection;
}

// Candidates go in the offer or answer: no trickling over plain SIP.
async function gathered(connection) {
  // After a restart of ICE it is "complete" until gathering begins again.
  const done = () => connection.iceGatheringState === "complete"
    && connection.localDescription.sdp.includes("a=candidate");
  if (!done()) {
    await new Promise((resolve) => {
      connection.onicegatheringstatechange = () => done() && resolve();
      setTimeout(resolve, 3000);
    });
  }
  return connection.localDescription.sdp;
}

async function listen(stream) {
  // Chromium decodes a remote track only if an element plays it.
  document.getElementById("speaker").srcObject = stream;
  const context = new AudioContext({ sampleRate: 48000 });
  state.rate = context.sampleRate;
  const worklet = `registerProcessor("keep", class extends AudioWorkletProcessor {
    process([[samples]]) { if (samples) this.port.postMessage(samples.slice()); return true; }
  });`;
  await context.audioWorklet.addModule(URL.createObjectURL(
    new Blob([worklet], { type: "application/javascript" })));
  const keep = new AudioWorkletNode(context, "keep");
  keep.port.onmessage = ({ data }) => state.samples.push(data);
  context.createMediaStreamSource(stream).connect(keep);
  keep.connect(context.destination);
}

async function dial(extension) {
  const connection = await peer();
  await connection.setLocalDescription(await connection.createOffer());
  const offer = await gathered(connection);
  const response = await state.client.invite(extension, offer, (progress) =>
    happened("progress", String(progress.status)));
  happened("answered", String(response.status));
  if (response.status < 300) {
    await connection.setRemoteDescription({ type: "answer", sdp: response.body });
  }
  return response.status;
}

async function accept() {
  const connection = await peer();
  await connection.setRemoteDescription({ type: "offer", sdp: state.invite.body });
  await connection.setLocalDescription(await connection.createAnswer());
  state.client.accept(state.invite, await gathered(connection));
  happened("accepted");
}

async function change() {
  if (state.client.answering || state.peer.signalingState !== "stable") return 491;
  state.client.offering = true;
  try {
    const response = await state.client.reinvite(await state.client.onAsked());
    if (response.status < 300) {
      await state.peer.setRemoteDescription({ type: "answer", sdp: response.body });
    } else {
      await state.peer.setLocalDescription({ type: "rollback" });
    }
    return response.status;
  } finally {
    state.client.offering = false;
  }
}

async function hangUp() {
  const status = await state.client.bye();
  state.peer.close();
  happened("ended", String(status));
  return status;
}

// The last `seconds` of what was heard, as base64 of float32 little-endian.
function heard(seconds) {
  const count = Math.round(seconds * state.rate);
  const all = state.samples.flatMap((block) => Array.from(block)).slice(-count);
  const bytes = new Uint8Array(new Float32Array(all).buffer);
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return { rate: state.rate, samples: btoa(text) };
}
