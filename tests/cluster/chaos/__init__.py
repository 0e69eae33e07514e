"""Things fail while calls are up, many times over; a table says what it cost.

    python -m tests.cluster.chaos [--trials N] [--only WORDS] [--results FILE] [--minutes M]
    python -m tests.cluster.chaos --soak MINUTES [--seed N]

`figures` makes trials into tables and is pure; `results` keeps them from run to run; `vip`, `media`
and `vrrp` fail things on a lab's hosts; `calls` are the phones' calls over it; `soak` goes on for
minutes under load.
"""
