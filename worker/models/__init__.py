"""Models that change while the worker runs: a registry, and what follows it.

::

    operator                        registry                                worker
    ────────                        ────────                                ──────
    models publish ──────────────>  <name>/<version>/  bundles  ──────────> CACHE_DIR, verified
    models promote, canary, ──────> <name>/deployment.json  <── polled ──── follower ── swap ──> the next slice
           shadow, rollback         {generation, current, canary, shadow}

`deployment` is the file and how it changes, `registry` where it lives on a `store`; `cache` brings a version to this
machine, `following` swaps it in, `serving` chooses a version for each record, `shadow` tries one on the side.
"""
