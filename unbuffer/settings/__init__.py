"""What a user may set: the shape with its defaults (`model`) and how it is read (`load`)."""
