"""Pages that work, each with a mistake that real shops have. The code is what one would write; the comment above the
mistake says what is wrong, and which finding of clew says so on the page's trace.
"""
