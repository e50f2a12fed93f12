"""What a run keeps as files: text, tables, figures, images and directories, each turned into a name and bytes."""
