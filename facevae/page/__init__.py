"""The page that `app.py` serves: a tab a file. Nothing else in facevae knows of it or of Gradio."""
