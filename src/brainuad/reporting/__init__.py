"""Tables, figures and the HTML page, made from a run folder's files."""
