"""Brokers that look at access rules, and have none: everybody may do everything until a case forbids something.

The nodes talk to each other as a user of their own. They need rights before there is anybody who could look at rules,
and whoever is above all rules could be forbidden nothing: so that may not be everybody.
"""

LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
PROPERTIES = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
    "super.users": "User:node",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
    "sasl.enabled.mechanisms": "PLAIN",
    "sasl.mechanism.controller.protocol": "PLAIN",
    "listener.name.controller.plain.sasl.jaas.config": (
        f'{LOGIN} required username="node" password="on-loopback-only" user_node="on-loopback-only";'
    ),
}
"""Of every node of `deploy.local.kafka.cluster.Cluster`."""
