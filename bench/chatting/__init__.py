"""How fast the chat is beside the Node servers that one would otherwise write, measured in one run."""
