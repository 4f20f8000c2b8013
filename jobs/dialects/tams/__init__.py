"""The messages of POST /v1/jobs, a file per stage: each knows its spellings and its ranges, and makes its stage."""
