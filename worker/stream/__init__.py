"""From topic to topic, exactly once: slices are read, answered and delivered; nothing here knows a Kafka client."""
