"""Delay between a host and the LAN, by a process that holds frames back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cluster.lab.commands import ip
from tests.cluster.lab.switch import Switch

RELAY = Path(__file__).with_name("relay.py")


class Delay:
    """Puts the relay between the host's cable and its port; ``delay`` and ``jitter`` in seconds.

    The port of the switch is still named like the host, so that cuts and losses go on to hold: the
    cable's end is renamed and taken out of the bridge, and a new port takes its name.
    """

    def __init__(self, switch: Switch, host: str, delay: float, jitter: float) -> None:
        self._switch = switch
        self._host = host
        cable, inner = f"{host}~c", f"{host}~i"
        ip(
            f"link set dev {host} nomaster",
            f"link set dev {host} down",
            f"link set dev {host} name {cable}",
            f"link set dev {cable} up promisc on",
            f"link add name {host} type veth peer name {inner}",
            f"link set dev {inner} up promisc on",
            f"link set dev {host} master lan up",
            namespace=switch.namespace,
        )
        self._relay = subprocess.Popen(
            [
                *("ip", "netns", "exec", switch.namespace),
                *(sys.executable, str(RELAY), cable, inner, str(delay), str(jitter)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._relay.stdout is not None
        if self._relay.stdout.readline() != "ready\n":
            raise RuntimeError(f"the relay of {host} did not start")

    def end(self) -> None:
        """The cable goes back into its port."""
        self._relay.kill()
        self._relay.communicate()
        cable = f"{self._host}~c"
        ip(
            f"link delete dev {self._host}",
            f"link set dev {cable} down",
            f"link set dev {cable} name {self._host}",
            f"link set dev {self._host} promisc off",
            f"link set dev {self._host} master lan up",
            namespace=self._switch.namespace,
        )
