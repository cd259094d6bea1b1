"""What requests and answers hold, whatever the route."""
