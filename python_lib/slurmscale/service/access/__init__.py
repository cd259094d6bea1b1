"""Who uses the service and what they may do: accounts, authentication, permissions, limits, keys, what is sealed."""
