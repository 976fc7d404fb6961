"""Learning on the fly: what to label first, when the potential is unsure, when it is good enough."""
