"""Figures. They take transcripts and matrices as JSON and import no driver."""
