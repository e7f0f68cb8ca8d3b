"""Reports: text tables, figures and one offline HTML file. Reads audits and run directories, never a model."""
