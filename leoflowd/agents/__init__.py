"""The gRPC service that the agents of every executor call."""
