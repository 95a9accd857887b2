"""Chat: the messages of a deal, over Socket.IO."""
