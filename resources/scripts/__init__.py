"""Scripts that compute what lies in ``resources``; run by hand, their output is committed."""
