"""The processes of a service: the server and the workers."""
