"""The app in Gradio Blocks: one tab a file."""
