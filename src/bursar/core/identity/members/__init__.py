"""Members of an organisation, their roles, and invitations to become one."""
