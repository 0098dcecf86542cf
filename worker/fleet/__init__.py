"""Several processes as one worker: one interpreter cannot keep two cores busy.

::

    python -m worker run --processes 2
     │  small: no model, no Kafka client
     ├── process 0 ── a worker as any other, member NAME of the group, transactions GROUP.NAME.0
     └── process 1 ── the same, NAME.1, GROUP.NAME.1

===========================  ======================================================================
what happens                 what follows
===========================  ======================================================================
a process dies               it is started again, after a pause that doubles while it keeps dying
it ends by an error that no  the others finish what they have read, and the worker ends with
restart cures                status 1: `supervisor.HOPELESS`
SIGTERM or Ctrl-C            every process is told the same, and finishes; a second one ends all
the parent dies              the kernel ends the processes: `worker.process.parentage`
a page is asked for          the processes' own pages, merged: `pages`
an administrator's order     every process is told, those that are started later, too
===========================  ======================================================================
"""
