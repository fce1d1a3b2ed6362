"""Sessions in any language, with any driver: their round trips take turns at sockets of the lab's own."""
