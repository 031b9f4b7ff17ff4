"""A FastAPI app with the classic streaming mistakes, and the show that runs it with unbuffer in front."""
