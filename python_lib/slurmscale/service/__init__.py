"""The service: an HTTP API over the library, with users, tokens, roles and an audit trail."""
