"""What the service says of itself and of the AppHubs: metrics and health."""
