"""Find the document that answers a question: embed, search, rerank, judge."""
