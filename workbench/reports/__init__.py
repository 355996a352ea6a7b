"""Records become the papers' tables, figures and claims, and a small site that shows them."""
