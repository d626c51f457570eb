"""From records to tables. Reads records only and never imports torch."""
