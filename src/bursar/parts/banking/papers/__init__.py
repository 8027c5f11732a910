"""Papers that payments are matched with: the invoices that vendors' bills and invoice details in the lake state.

Invariants: derived from the lake's visible files and nothing else, so a bill taken back takes its invoices with it; totals are
exact. Whoever writes lines of the schemas ``invoice_detail`` or ``cost`` brings papers. Deliberately absent: reading PDFs.
"""
