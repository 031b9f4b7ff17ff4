"""Event-streams that outlive the connection of their client: their latest events are kept, and whoever comes back goes
on where the connection was lost."""
