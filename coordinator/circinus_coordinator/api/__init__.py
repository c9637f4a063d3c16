"""The HTTP API of the coordinator: the application, and the client that speaks to it."""
