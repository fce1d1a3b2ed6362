"""Pictures. They read the JSON forms of transcripts and matrices and import no driver."""
