"""Figures, HTML and widgets. They take transcripts, matrices and words as data and import no driver."""
