"""The application: database, HTTP service, pages and the `adsurvey` command."""
