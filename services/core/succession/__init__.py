"""The calls of an application server that has died go on at the others of its role.

Why so: `docs/decisions/0015-calls-outlive-their-server.md`. Nothing is re-exported, so that
`shares`, which routing inside Kamailio imports too, brings nothing else with it.

    succession = Succession(
        responder, registry, redis, password, adopt=adopt, drop=drop, ready=lambda: well
    )
    nursery.start_soon(succession.run)
    succession.journal.write(call_id, record)     # whenever it changes; returns at once
    succession.journal.erase(call_id)             # it is over

``adopt(call_id, record)`` goes on with another server's call, ``drop()`` forgets all calls without
a word to anybody. Where no managers probe there is no other server, and no `Succession`.

`shares`, `candidates` and `inheritance` are pure; `estates` is what Redis is asked, `journal` and
`succession` the shell.
"""
