"""All of Limelight on one machine: real Kafka brokers and every program as child processes of one command."""
