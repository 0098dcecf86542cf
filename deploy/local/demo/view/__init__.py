"""What a person sees of a demo: a live picture on a terminal, plain lines elsewhere, an SVG for a page."""
