"""The explorer: one static page with the geometry of wide networks as curves, computed in the browser by the formulas.

`page.page()` writes it. The activations and their formulas are derived here and printed as JavaScript and MathML; the
fold over the layers, curvature, distance and embedding stand once, in geometry.js.
"""
