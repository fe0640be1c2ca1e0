"""Animation: pose parameters or rows of a table in, frames of a still picture out."""
