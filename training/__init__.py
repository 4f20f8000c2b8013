"""How the bundled model is made: scenes, their captions and pictures, and the training of each part.

Nothing of the service imports this package. `python -m training` runs the whole recipe; each stage resumes.
"""
