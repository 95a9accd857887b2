"""What the tests stand on: real servers, clean databases, and the services put together in one process."""
