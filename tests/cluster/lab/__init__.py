"""Hosts in network namespaces on one LAN, with real Consul and Nomad, and ways to fail them.

    with lab(consul=("cm1", "cm2", "cm3", "m1"), plain=("phones",)) as network:
        await network.consul_ready()
        agent = network["cm1"].start([sys.executable, "-m", "..."], env={"TOKEN": "..."})
        network["cm1"].power_off()

What happens at once is a plain function: it is done when it returns, in milliseconds, so the clock
of a measurement starts there. What waits is async, for trio, with a deadline that raises
trio.TooSlowError and says what it waited for. `lab` itself is not async, so that a fixture may
keep one for a whole module: `trio.run(network.consul_ready)` there.

| to fail | call |
|---|---|
| power | `Host.power_off`, `power_on` |
| cable, switch port | `Host.unplug`, `plug` |
| kernel or hypervisor stalls | `Host.pause`, `resume` |
| one process | `Process.kill`, `terminate`, `pause`, `resume` |
| network between two | `Host.partition`, `heal` |
| loss, delay | `Host.netem` |
| disk | `Host.small_disk`, then `disk_full` |
| wall clock | `Host.clock_step`, for processes with `environment(clock=True)` |

Hosts lie in a network that no other lab has; a test speaks with them from inside: `Host.socket`,
`Host.http`, `Host.run`, and `Host.command` or `Host.inside` for what starts processes itself.
"""

from tests.cluster.lab.host import Host
from tests.cluster.lab.laboratory import Lab, lab
from tests.cluster.lab.process import Process
from tests.cluster.lab.waiting import until

__all__ = ["Host", "Lab", "Process", "lab", "until"]
