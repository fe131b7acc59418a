"""What is kept: tables, the connection to the database, sealed secrets."""
