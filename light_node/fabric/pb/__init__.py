"""Generated protobuf modules; the ``.proto`` files beside them are the source (``make proto``)."""
