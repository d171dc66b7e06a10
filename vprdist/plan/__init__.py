"""What a sweep would do, said without doing it. It builds what would be submitted with the code that submits it."""
