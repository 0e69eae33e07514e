"""Units of Consul and Nomad. They take the place of those in HashiCorp's packages."""

from __future__ import annotations

CONSUL = """\
[Unit]
Description=Consul: who is there, and locks
Documentation=https://developer.hashicorp.com/consul/docs
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
User=consul
Group=consul
ExecStart=/usr/bin/consul agent -config-dir=/etc/consul.d
ExecReload=/bin/kill --signal HUP $MAINPID
KillMode=process
KillSignal=SIGTERM
Restart=always
RestartSec=1
TimeoutStopSec=10
LimitNOFILE=65536
# Gossip answers within 100 ms or its host counts as dead.
Nice=-10
CPUWeight=1000
OOMScoreAdjust=-900
NoNewPrivileges=yes
ProtectSystem=full
ProtectHome=yes

[Install]
WantedBy=multi-user.target
"""

NOMAD = """\
[Unit]
Description=Nomad: runs the servers of the PBX
Documentation=https://developer.hashicorp.com/nomad/docs
Wants=network-online.target consul.service
After=network-online.target consul.service
StartLimitIntervalSec=0

[Service]
Type=exec
# Clients run programs as root.
User=root
ExecStart=/usr/bin/nomad agent -config=/etc/nomad.d
ExecReload=/bin/kill --signal HUP $MAINPID
# Calls go on while the agent restarts: its tasks are left alone, and it finds them again.
KillMode=process
KillSignal=SIGINT
Restart=always
RestartSec=2
TimeoutStopSec=10
# What its tasks inherit.
LimitNOFILE=1048576
LimitNPROC=infinity
LimitMEMLOCK=infinity
LimitRTPRIO=99
TasksMax=infinity
OOMScoreAdjust=-900

[Install]
WantedBy=multi-user.target
"""
