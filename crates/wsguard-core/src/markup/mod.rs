//! What markup in a string would do in a browser, judged by an HTML parser.
