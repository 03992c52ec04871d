"""A reconciliation and a forecast as files for people: Markdown and HTML."""
