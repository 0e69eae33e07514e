"""What a Call Manager measures of itself, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from services.call_manager.call_log import CallLog
from services.call_manager.state import State
from services.call_manager.vip import Vip

STATES = ("up", "draining", "disabled", "down")


class Measured(Collector):
    """Reads `State` when it is asked; waits for nothing."""

    def __init__(self, state: State, call_log: CallLog, vip: Vip, now: Callable[[], float]) -> None:
        self._state = state
        self._vip = vip
        self._call_log = call_log
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """One family after the other."""
        state, view = self._state, self._call_log.view
        kamailio = state.kamailio
        answered = sum(call.answered is not None for call in view.up.values())
        calls = GaugeMetricFamily("pbx_calls", "Calls that are up", labels=["state"])
        calls.add_metric(["answered"], answered)
        calls.add_metric(["ringing"], len(view.up) - answered)
        yield calls
        ended = CounterMetricFamily("pbx_calls_ended", "Calls that ended", labels=["result"])
        ended.add_metric(["answered"], view.answered_total)
        ended.add_metric(["failed"], view.failed_total)
        yield ended
        led = CounterMetricFamily(
            "pbx_calls_led_anew", "Calls led to other media by re-INVITE", labels=["result"]
        )
        led.add_metric(["done"], state.led_anew)
        led.add_metric(["refused"], state.not_led)
        yield led
        media = GaugeMetricFamily("pbx_media_servers", "Media servers", labels=["state"])
        for name in STATES:
            media.add_metric([name], sum(server.state == name for server in state.media))
        yield media
        loads = GaugeMetricFamily("pbx_media_load", "Calls on a media server", labels=["server"])
        for server in state.media:
            loads.add_metric([server.name], state.loads.get(server.name, 0))
        yield loads
        trunks = GaugeMetricFamily(
            "pbx_trunk_registered", "1 while the trunk's registrar said so", labels=["trunk"]
        )
        for name, trunk in state.trunks.items():
            if trunk.registration != "none":
                trunks.add_metric([name], trunk.registration == "registered")
        yield trunks
        healthy = self._now() - state.checks.sip_at < 5
        for name, explanation, value in (
            ("pbx_vip", "1 while calls come to this Call Manager", self._vip.held),
            ("pbx_vip_since_seconds", "Unix time; 0 while it is not here", self._vip.since or 0),
            ("pbx_servers_down", "Servers that two managers cannot reach", len(self._vip.down)),
            ("pbx_registrations", "Contacts that are registered", kamailio.contacts),
            ("pbx_registered_users", "Users with a contact", kamailio.users),
            ("pbx_configuration_generation", "Pictures put in force", state.generation),
            ("pbx_problems", "Problems that /health tells", len(state.problems)),
            ("pbx_event_lag_bytes", "Events that the store lacks", self._call_log.lag()),
            ("pbx_sip_options_seconds", "The last OPTIONS to ourselves", state.checks.took),
            ("pbx_up", "1 while our own OPTIONS are answered", healthy),
            ("pbx_kamailio_up", "1 while Kamailio's RPC answers", kamailio.running),
            ("pbx_kamailio_uptime_seconds", "Since Kamailio's start", kamailio.uptime),
            ("pbx_kamailio_shm_bytes", "Shared memory", kamailio.shared_memory),
            ("pbx_kamailio_shm_used_bytes", "Of it used", kamailio.shared_memory_used),
            ("pbx_kamailio_dialogs", "Dialogs Kamailio tracks", kamailio.dialogs),
        ):
            yield GaugeMetricFamily(name, explanation, value=float(value))
        statistics = CounterMetricFamily(
            "pbx_kamailio_messages", "SIP messages, by Kamailio's own names", labels=["name"]
        )
        for name, value in kamailio.statistics.items():
            if name.startswith(("core:rcv_re", "core:err_", "core:drop_")):
                statistics.add_metric([name.removeprefix("core:")], value)
        yield statistics


def registry(
    state: State, call_log: CallLog, vip: Vip, now: Callable[[], float]
) -> CollectorRegistry:
    """A registry that holds `Measured` and nothing else."""
    found = CollectorRegistry()
    found.register(Measured(state, call_log, vip, now))
    return found
