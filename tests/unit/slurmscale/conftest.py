from fakes.connections import one_connection_for_each_thread
from fakes.log_stream import log_as_before

__all__ = ["log_as_before", "one_connection_for_each_thread"]
