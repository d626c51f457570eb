"""The report as one page of HTML, which needs neither a network nor a server."""
