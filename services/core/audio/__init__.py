"""Sound for IVR, queue and meeting servers: see docs/audio.md.

async with AudioPlane("10.0.0.31", ports=(30000, 30007)) as plane:
    welcome = await plane.load("welcome.wav")
    with plane.leg() as leg:                      # leg.port goes into the answer
        leg.connect("10.0.0.21", 40000, codec="PCMA/8000", events_payload_type=101)
        playback = leg.play(welcome)
        async for event in leg.events():          # Digit("5", …)
            playback.stop()
"""

from services.core.audio.clips import Clip
from services.core.audio.errors import AudioError, CapacityError, ClipError
from services.core.audio.events import Digit, HeardAgain, LegEvent, Speech, Unheard
from services.core.audio.leg import Codec, Leg, Quality
from services.core.audio.plane import AudioPlane
from services.core.audio.playback import KeysSending, Playback, Played
from services.core.audio.recording import Ended, Recorded, Recording
from services.core.audio.room import Room

__all__ = [
    "AudioError",
    "AudioPlane",
    "CapacityError",
    "Clip",
    "ClipError",
    "Codec",
    "Digit",
    "Ended",
    "HeardAgain",
    "KeysSending",
    "Leg",
    "LegEvent",
    "Playback",
    "Played",
    "Quality",
    "Recorded",
    "Recording",
    "Room",
    "Speech",
    "Unheard",
]
