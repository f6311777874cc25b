"""One self-contained page: tables, figures, films, and published returns to stand beside ours."""
