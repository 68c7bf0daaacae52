"""The bridge to JAX, behind ``rnncore.jax``: what a call is about, what it computes, and how JAX transforms it."""
