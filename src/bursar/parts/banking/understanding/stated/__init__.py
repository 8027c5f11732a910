"""What people state about their books: rules, the largest error they accept, the share that is audited blind."""
