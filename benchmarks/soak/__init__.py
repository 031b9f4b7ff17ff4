"""Mixed traffic for minutes: nothing may be left behind, and nothing may be answered wrongly."""
