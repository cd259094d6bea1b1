"""Progress as it happens: whoever watches is told, and no viewer asks the database."""
