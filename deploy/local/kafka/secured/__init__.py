"""A cluster that lets nobody in without a login, and nobody do what no rule allows.

::

    listener     port                       who gets in
    SASL_SSL     the bootstrap servers      users with a password (SCRAM, PLAIN) or a token (OAUTHBEARER), over TLS
    SSL          a second port of each node whoever shows a certificate of the cluster's authority (mutual TLS)
    CONTROLLER   the nodes' own             the nodes, by their certificate
"""
