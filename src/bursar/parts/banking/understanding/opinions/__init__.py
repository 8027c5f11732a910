"""What a language model thinks that rows were for which nothing here knows: asked by group, kept by content, never believed.

Invariants: only an organisation that opted in asks; nothing that names a person or an account leaves; equal content is
asked once; an answer can only be one of the organisation's own categories or none; it is a feature of the local model and
a suggestion, and makes nothing automatic until people's verdicts have measured it. Deliberately absent: waiting for it. Without
a key, without money or without a network the books are the same, with more left to people.
"""
