"""A real Apache Kafka on this machine, from packages alone: no Java, Maven or Docker has to be installed."""
