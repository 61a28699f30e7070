"""`fasttts eval`: problems with known answers, graded, resumable, with confidence intervals."""
