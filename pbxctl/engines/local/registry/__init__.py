"""The embedded registry: the part of Consul's HTTP API that services use, in one process.

`state` decides (requests and the time in; answers, changes and deadlines out), `api` speaks
Consul's JSON, `storage` keeps it, `probes` run checks, `server` carries it all on trio.
"""
