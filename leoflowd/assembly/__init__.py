"""What the tree is made of: an edition's parts, constructed and handed to each other. `daemon.py` starts them."""
