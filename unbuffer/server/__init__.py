"""The process around the data plane: listeners, life cycle, admin port."""
