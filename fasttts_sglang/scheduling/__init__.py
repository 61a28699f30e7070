"""Pure: what to decode next and which speculation is worth a slot."""
