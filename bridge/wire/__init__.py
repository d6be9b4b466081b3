"""Messages as bytes: the codec, the JSON schemas, and the bodies of every kind of message."""
