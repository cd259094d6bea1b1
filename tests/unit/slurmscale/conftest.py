from fakes.log_stream import log_as_before

__all__ = ["log_as_before"]
