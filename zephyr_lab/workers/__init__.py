"""Work that is done elsewhere: by the executor that the caller has, whichever it is, or by a pool of processes.

`pool` sends pieces of work and gets their results, also when a worker is killed; `packed` is what travels there; `kept`
is what a worker keeps from piece to piece, its lab above all; `cluster` connects with Dask, and has its workers open
and close their labs. No scheduler is the lab's own: who runs what is up to the executor.
"""
