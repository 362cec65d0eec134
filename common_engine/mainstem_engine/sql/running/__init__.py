"""Plans are run: inputs are scanned, programs executed in confined workers, answers streamed."""
